/** Which socket for local programs a port has, and who comes in there. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, existsSync, statSync, writeFileSync } from "node:fs";
import { warn } from "../../src/process/log.ts";
import { formerUser, ownerUser } from "../../src/security/access.ts";
import { Frontend } from "../../src/security/frontend.ts";
import { Gate } from "../../src/security/gate.ts";
import { makeKeyPair } from "../../src/security/keys.ts";
import { ShmClient } from "../../src/transport/shm/client.ts";
import { memoryBytes } from "../../src/transport/shm/memory.ts";
import { saysLost } from "../../src/transport/transport.ts";
import { makeKeys } from "../support/keys.ts";
import { socketsOf } from "../support/local-sockets.ts";
import { freePorts } from "../support/ports.ts";
import { until } from "../support/stoppable.ts";
import { tempFolder } from "../support/temp-folder.ts";

setDefaultTimeout(60_000); // on a busy machine

const isRoot = process.geteuid?.() === 0;

/** A frontend, and the users whose messages it gets. */
const opened = (gate: Gate, host: string, socket: string | null, port = freePorts(1)) => {
  const users: (string | null)[] = [];
  const frontend = new Frontend(gate, (next) => {
    for (let arrival = next(); arrival !== null; arrival = next()) {
      if (arrival.type === "request") users.push(arrival.user);
    }
  });
  frontend.bind({ host, port, socket });
  frontend.open();
  return { users, port, [Symbol.dispose]: () => frontend.close() };
};

const withKeys = (lines: string[] = []): Gate => new Gate(makeKeys().security, (line) => lines.push(line));

const dial = (path: string, port: number, ...keys: string[]): ShmClient | null =>
  ShmClient.at(path, "127.0.0.1", port, [`127.0.0.1:${port}`, ...keys].join(" "));

test.each(["127.0.0.1", "0.0.0.0"])(
  "a port on %s of an engine with keys has a file for the engine's own user, who comes in as the owner",
  async (host) => {
    using folder = tempFolder();
    using gate = withKeys();
    const path = folder.at("front.sock");
    writeFileSync(path, "left by a killed engine");
    using port = opened(gate, host, path);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(socketsOf(port.port).listening).toBe(0);
    const client = dial(path, port.port);
    client?.trySend(["{}"]);
    await until("the message is there", () => port.users.length > 0);
    expect(port.users).toEqual([ownerUser]);
    client?.close();
  },
);

test("a program with keys has the rights of its key, and none where they do not fit, until its line is gone", async () => {
  using folder = tempFolder();
  const { engine, laptop, security } = makeKeys();
  using gate = new Gate(security, warn);
  using port = opened(gate, "127.0.0.1", folder.at("front.sock"));
  const cut = new Set<ShmClient>();
  const dialWith = (...keys: string[]): ShmClient => {
    const client = dial(folder.at("front.sock"), port.port, ...keys);
    if (client === null) throw new Error("no connection");
    client.onReadable(() => {
      if (saysLost(client.tryReceive() ?? [])) cut.add(client);
    });
    return client;
  };
  const other = makeKeyPair().publicKey;
  const strangers = [dialWith(other, laptop.publicKey), dialWith(engine.publicKey, other), dialWith("x")];
  await until("all of them are cut", () => cut.size === strangers.length);
  const owner = dialWith(engine.publicKey, engine.publicKey);
  const clients = [dialWith(engine.publicKey, laptop.publicKey), owner];
  const say = async (): Promise<(string | null)[]> => {
    port.users.length = 0;
    for (const [index, client] of clients.entries()) {
      client.trySend(["{}"]);
      await until("the message is there", () => port.users.length === index + 1);
    }
    return port.users;
  };
  expect(await say()).toEqual(["laptop", ownerUser]);
  gate.admit(`${other} laptop send\n`);
  expect(await say()).toEqual([formerUser, ownerUser]);
  await until("the other is cut", () => cut.size === strangers.length + 1);
  expect(cut.has(owner)).toBe(false);
  owner.close();
});

test("a socket file is only for the address at which its engine listens, since another's port may be a tunnel's", async () => {
  using folder = tempFolder();
  using gate = withKeys();
  const path = folder.at("front.sock");
  using port = opened(gate, "127.0.0.2", path);
  const at = (host: string, target = port.port) => ShmClient.at(path, host, target, `${host}:${target}`);
  // Nobody listens at one of these ports; the other is another machine's.
  expect(at("127.0.0.1")).toBeNull();
  expect(at("192.0.2.1")).toBeNull();
  const socket = { data: () => undefined };
  const tunnel = Bun.listen({ hostname: "127.0.0.1", port: port.port, socket });
  const wrong = at("127.0.0.1");
  const isCut = Promise.withResolvers<boolean>();
  wrong?.onReadable(() => isCut.resolve(saysLost(wrong.tryReceive() ?? [])));
  expect(await isCut.promise).toBe(true);
  const right = at("127.0.0.2");
  right?.trySend(["{}"]);
  await until("the message is there", () => port.users.length > 0);
  right?.close();
  tunnel.stop(true);
});

test("an engine on all addresses is not taken for one at another machine's address", () => {
  using folder = tempFolder();
  using gate = withKeys();
  using port = opened(gate, "0.0.0.0", folder.at("front.sock"));
  expect(ShmClient.at(folder.at("front.sock"), "192.0.2.1", port.port, `192.0.2.1:${port.port}`)).toBeNull();
});

test("a path at which nobody listens any more, and one that is too long, are none", () => {
  using folder = tempFolder();
  using gate = withKeys();
  const ended = opened(gate, "127.0.0.1", folder.at("front.sock"));
  ended[Symbol.dispose]();
  expect(existsSync(folder.at("front.sock"))).toBe(false);
  writeFileSync(folder.at("front.sock"), "");
  for (const path of [folder.at("front.sock"), folder.at("x".repeat(200))]) {
    expect(dial(path, ended.port)).toBeNull();
  }
});

/** Connects as a client does, and says whether it may stay. */
const knock = `
import fcntl, os, socket, sys
path, name, size, patience = sys.argv[1], "\\0test-" + sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
def connected(suffix):
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    peer.bind(name + suffix)
    peer.connect(path)
    return peer
memory = os.memfd_create("test", os.MFD_ALLOW_SEALING)
os.ftruncate(memory, size)
fcntl.fcntl(memory, 1033, 7)
try:
    socket.send_fds(connected(""), [b"0" + sys.argv[5].encode()], [memory])
    bell = connected("/bell")
    bell.settimeout(patience)
    bell.recv(1)
    print("ended")
except TimeoutError:
    print("served")
except ConnectionError:
    print("ended")
`;

const asNobody = ["setpriv", "--reuid=65534", "--clear-groups"];

// Another user's process can only be made by root.
test.skipIf(!isRoot)("another user is cut off, even if the file lets everybody in", async () => {
  using folder = tempFolder();
  using gate = withKeys();
  const path = folder.at("front.sock");
  using port = opened(gate, "127.0.0.1", path);
  chmodSync(folder.path, 0o755);
  chmodSync(path, 0o666);
  const knocked = async (user: readonly string[], patienceSeconds: number): Promise<string> => {
    const [name, introduction] = [`${process.pid}-${patienceSeconds}`, `127.0.0.1:${port.port}`];
    const python = ["/usr/bin/python3", "-c", knock, path, name, `${memoryBytes}`, `${patienceSeconds}`, introduction];
    return (await Bun.spawn([...user, ...python], { stdout: "pipe" }).stdout.text()).trim();
  };
  expect(await knocked(asNobody, 20)).toBe("ended");
  expect(await knocked([], 0.5)).toBe("served");
});

const squat = `
import socket, sys
taken = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
taken.bind(sys.argv[1])
taken.listen()
print("taken", flush=True)
sys.stdin.read()
`;

test.skipIf(!isRoot)("a socket of another user than the port's is left alone", async () => {
  using folder = tempFolder();
  chmodSync(folder.path, 0o777);
  const path = folder.at("front.sock");
  const command = [...asNobody, "/usr/bin/python3", "-c", squat, path];
  const squatter = Bun.spawn(command, { stdin: "pipe", stdout: "pipe" });
  await squatter.stdout.getReader().read();
  const port = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
  expect(dial(path, port.port)).toBeNull();
  port.stop(true);
  squatter.stdin.end();
  await squatter.exited;
});

test("a port without keys has the abstract name on a loopback address alone, and no file", () => {
  using folder = tempFolder();
  using gate = new Gate(null, warn);
  using loopback = opened(gate, "127.0.0.1", folder.at("front.sock"));
  using everywhere = opened(gate, "0.0.0.0", folder.at("front.sock"));
  expect(socketsOf(loopback.port).listening).toBe(1);
  expect(socketsOf(everywhere.port).listening).toBe(0);
  expect(existsSync(folder.at("front.sock"))).toBe(false);
});

test("a path that is too long for a socket is warned of, and the port goes without", () => {
  using folder = tempFolder();
  const lines: string[] = [];
  using gate = withKeys(lines);
  const long = folder.at("x".repeat(108));
  using port = opened(gate, "127.0.0.1", long);
  expect(socketsOf(port.port).listening).toBe(0);
  expect(existsSync(long)).toBe(false);
  expect(lines).toEqual([expect.stringContaining(`the path ${long} is too long for a socket`)]);
});

test("a file that cannot be made is an error of one line, with the path and a remedy", () => {
  using folder = tempFolder();
  using gate = withKeys();
  const path = folder.at("missing/front.sock");
  expect(() => opened(gate, "127.0.0.1", path)).toThrow(
    new RegExp(`^the socket ${path} cannot be made: .*; fix it, or name another folder with --state$`),
  );
});
