/** Which way a client goes to an engine on its own machine. */
import { afterAll, beforeAll, expect, setDefaultTimeout } from "bun:test";
import { join } from "node:path";
import { connect } from "task-engine";
import { localRequestorsMax } from "../../../src/limits.ts";
import { encodeReplyMeta } from "../../../src/protocol/replies.ts";
import { reactor } from "../../../src/transport/reactor.ts";
import { portOwner } from "../../../src/transport/shm/port-owner.ts";
import { closeLine, dial, localName } from "../../../src/transport/shm/unix.ts";
import { test } from "../../support/concurrent.ts";
import { type Engine, oneWorker, startEngine } from "../../support/engine.ts";
import { handRouter } from "../../support/hand-router.ts";
import { KeepingPort } from "../../support/local-router.ts";
import { socketsOf } from "../../support/local-sockets.ts";
import { freePorts } from "../../support/ports.ts";
import { until } from "../../support/stoppable.ts";
import { type TempFolder, tempFolder } from "../../support/temp-folder.ts";

setDefaultTimeout(60_000); // they wait for one another

const client = join(import.meta.dir, "../../../src/client/client.ts");

/** Notes each run. */
const note = `
  import { appendFileSync } from "node:fs";
  export const task_note = ([text]) => appendFileSync(import.meta.dir + "/notes", text + " ");
`;

let home: TempFolder;
let engine: Engine;
beforeAll(async () => {
  home = tempFolder({ "tasks/note.ts": note, "tasks/notes": "" });
  engine = await startEngine({ cwd: home.path, flags: oneWorker });
});
afterAll(async () => {
  await engine[Symbol.asyncDispose]();
  home[Symbol.dispose]();
});

/** Asks in a process of its own; says also whether libzmq is in that. */
const script = `
  import { readFileSync } from "node:fs";
    import { connect } from ${JSON.stringify(client)};
  const engine = connect(process.argv[2]);
  const result = await engine.call("count", [2, 3]);
  console.log(result, readFileSync("/proc/self/maps", "utf8").includes("addon.node"));
  await engine.close();
`;

test.serial(
  "a client on the engine's own machine needs no libzmq, neither to its router nor to a worker's port, and any other does",
  async () => {
    using folder = tempFolder({ "ask.ts": script });
    using other = handRouter();
    void other.serve((arrived) => arrived.ack(5));
    const ask = async (endpoint: string): Promise<string> =>
      (await Bun.spawn([process.execPath, folder.at("ask.ts"), endpoint]).stdout.text()).trim();
    expect(await ask(engine.endpoint)).toBe("5 false");
    expect(await ask(`tcp://localhost:${engine.ports.frontend}`)).toBe("5 false");
    expect(await ask(`tcp://127.0.0.1:${engine.ports.worker}`)).toBe("5 false");
    expect(await ask(other.endpoint)).toBe("5 true");
  },
);

test.serial("who finds no room past libzmq goes by the port", async () => {
  const port = engine.ports.frontend;
  const lines = Array.from({ length: localRequestorsMax }, () => dial(localName("127.0.0.1", port)));
  await until("all are there", () => socketsOf(port).connected === localRequestorsMax);
  await using asking = connect(engine.endpoint);
  expect(await asking.call("count", [2, 3])).toBe(5);
  expect(socketsOf(port).connected).toBe(localRequestorsMax);
  for (const line of lines) if (line !== null) closeLine(line);
  await asking.close();
  await until("nothing is left", () => socketsOf(port).connected === 0);
});

test.serial(
  "a router that was started anew is found past libzmq again, and nothing is left of a client that has gone",
  async () => {
    const port = engine.ports.frontend;
    const asking = connect(engine.endpoint);
    expect(await asking.call("count", [2, 3])).toBe(5);
    expect(socketsOf(port)).toEqual({ listening: 1, connected: 1 });
    const [router = 0] = engine.pidsOf("router");
    process.kill(router, "SIGKILL");
    await until("there is another", () => engine.pidsOf("router").some((pid) => pid !== router));
    expect(await asking.call("count", [3, 4], {}, { waitMs: 20_000 })).toBe(7);
    expect(socketsOf(port)).toEqual({ listening: 1, connected: 1 });
    await asking.close();
    await until("nothing is left", () => socketsOf(port).connected === 0);
  },
);

/** Asks in a program that lets nothing else of it run until it is noted. */
const busy = (endpoint: string, notes: string, stopped: string): string => `
  import { existsSync, readFileSync } from "node:fs";
  import { connect } from ${JSON.stringify(client)};
  const engine = connect(${JSON.stringify(endpoint)});
  const until = (isSo) => { while (!isSo()) Bun.sleepSync(5); };
  await engine.call("note", ["begun"]);
  const ignore = () => undefined;
  for (const text of ["first", "second", "third"]) engine.call("note", [text]).catch(ignore);
  until(() => readFileSync(${JSON.stringify(notes)}, "utf8").includes("third"));
  engine.call("note", ["last"]).catch(ignore);
  engine.estop("now").catch(ignore);
  until(() => existsSync(${JSON.stringify(stopped)}));
  console.log("all of it went out");
  process.exit();
`;

test.serial(
  "what a program asks goes out at once, be it that nothing else of it has its turn for long",
  async () => {
    using folder = tempFolder();
    const stopped = `${engine.state}/${engine.ports.frontend}/stopped`;
    await Bun.write(folder.at("busy.ts"), busy(engine.endpoint, home.at("tasks/notes"), stopped));
    const child = Bun.spawn([process.execPath, folder.at("busy.ts")], { stdout: "pipe" });
    const timer = setTimeout(() => child.kill("SIGKILL"), 20_000);
    expect((await child.stdout.text()).trim()).toBe("all of it went out");
    clearTimeout(timer);
  },
  30_000,
);

test("who listens past libzmq and says nothing does not keep a client from who serves at the port", async () => {
  using router = handRouter();
  void router.serve((arrived) => arrived.ack("from the port"));
  const port = Number(router.endpoint.split(":").at(-1));
  const silent = Bun.listen({ unix: localName("127.0.0.1", port), socket: { data: () => undefined } });
  await using asking = connect(router.endpoint);
  expect(await asking.call("count")).toBe("from the port");
  silent.stop(true);
});

const squat = `
import socket, sys, time
taken = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
taken.bind(sys.argv[1].replace("@", "\\0"))
taken.listen()
print("taken", flush=True)
time.sleep(60)
`;

// Another user's process can only be made by root.
test.skipIf(process.geteuid?.() !== 0)("a Unix socket of another user than the port's is left alone", async () => {
  using router = handRouter();
  const port = Number(router.endpoint.split(":").at(-1));
  const name = localName("127.0.0.1", port).replace("\0", "@");
  const python = ["/usr/bin/python3", "-c", squat, name];
  const child = Bun.spawn(["setpriv", "--reuid=65534", "--clear-groups", ...python], { stdout: "pipe" });
  await child.stdout.getReader().read();
  await using asking = connect(router.endpoint);
  const answered = asking.call("count");
  (await router.next()).ack("from the port");
  expect(await answered).toBe("from the port");
  expect(socketsOf(port)).toEqual({ listening: 1, connected: 0 });
  child.kill("SIGKILL");
  await child.exited;
});

/** Has no descriptor left when it connects, and some again a little later. */
const short = (first: string, second: string): string => `
  import { closeSync, openSync } from "node:fs";
  import { connect } from ${JSON.stringify(client)};
  const one = connect(${JSON.stringify(first)});
  await one.call("count");
  const open = [];
  try { for (;;) open.push(openSync("/dev/null", "r")); } catch (error) { if (error.code !== "EMFILE") throw error; }
  const other = connect(${JSON.stringify(second)}, { waitMs: 20_000 });
  const refused = await other.call("count", [], {}, { waitMs: 100 }).catch(({ message }) => message);
  for (const descriptor of open) closeSync(descriptor);
  console.log(refused.slice(refused.indexOf(": ") + 2));
  console.log(await other.call("count"));
  process.exit();
`;

test("a client that has no descriptor left for a connection says so to who asks, and connects once there are some", async () => {
  using router = handRouter();
  using other = handRouter();
  for (const each of [router, other]) void each.serve((arrived) => arrived.ack("there"));
  using folder = tempFolder({ "short.ts": short(router.endpoint, other.endpoint) });
  const shell = ["sh", "-c", 'ulimit -n 64; exec "$0" "$1"', process.execPath, folder.at("short.ts")];
  const text = await Bun.spawn(shell, { stdout: "pipe" }).stdout.text();
  expect(text.split("\n")).toEqual(["zmq_socket(dealer): Too many open files", "there", ""]);
});

test("a client that is closed while its router does not read lets its program go on, and ends soon", async () => {
  const port = freePorts(1);
  using router = new KeepingPort(localName("127.0.0.1", port));
  router.onMessage = (connection) => {
    connection.trySend([encodeReplyMeta("ROUTER-1", "ACK", 0.2, "ping")]);
    reactor.pause(connection);
  };
  const client = connect(`tcp://127.0.0.1:${port}`, { key: "none", waitMs: 20_000 });
  const picture = "x".repeat(100_000);
  const calls = Array.from({ length: 10 }, () => client.call("count", [picture]).catch(({ code }) => code));
  await until("the router has been asked", () => router.received.length > 0);
  await Bun.sleep(50);
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  await client.close();
  clearInterval(timer);
  expect(turns).toBeGreaterThan(3);
  expect(new Set(await Promise.all(calls))).toEqual(new Set(["CLOSED"]));
});

test("a port's owner is who listens there, on that address or on all", () => {
  const port = freePorts(1);
  for (const hostname of ["127.0.0.1", "0.0.0.0"]) {
    const listener = Bun.listen({ hostname, port, socket: { data: () => undefined } });
    expect(portOwner("127.0.0.1", port)).toBe(process.geteuid?.() ?? -1);
    listener.stop(true);
    expect(portOwner("127.0.0.1", port)).toBeNull();
  }
});

for (const [whose, offset, who] of [
  ["the router's", 0, "the router's frontend"],
  ["a worker's", 2, "a task worker"],
] as const) {
  test(`an engine does not start where somebody else has the name of ${whose} port, and says so in one line`, async () => {
    const first = freePorts(3);
    const taken = Bun.listen({ unix: localName("127.0.0.1", first + offset), socket: { data: () => undefined } });
    const failure = await startEngine({ first, flags: oneWorker }).catch((error: Error) => error.message);
    expect(failure).toContain(
      `${who} cannot use 127.0.0.1:${first + offset}: the Unix socket of that name is taken; stop what uses it`,
    );
    taken.stop(true);
  });
}
