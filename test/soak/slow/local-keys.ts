/** Which way a client goes to an engine with keys on its own machine, and what it may do there. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { connect } from "task-engine";
import { LocalEngine } from "../../../src/client/local.ts";
import { decodeStreamReply, encodeStreamRequest } from "../../../src/protocol/stream.ts";
import { readKeyPair, readPublicKey, writeCertificate } from "../../../src/security/certificate.ts";
import { makeKeyPair } from "../../../src/security/keys.ts";
import type { MessageFrame } from "../../../src/transport/transport.ts";
import { type Engine, startEngine } from "../../support/engine.ts";
import { freePorts } from "../../support/ports.ts";
import { rejection } from "../../support/rejection.ts";
import { until } from "../../support/stoppable.ts";
import { type TempFolder, tempFolder } from "../../support/temp-folder.ts";

setDefaultTimeout(60_000); // on a busy machine

const module = join(import.meta.dir, "../../../src/client/client.ts");

/** Asks in a process of its own; says also whether it may ask for the status, and whether libzmq is in it. */
const script = `
  import { readFileSync } from "node:fs";
  import { connect } from ${JSON.stringify(module)};
  const [endpoint, options = "{}"] = process.argv.slice(2);
  const engine = connect(endpoint, { ...JSON.parse(options), waitMs: 20_000 });
  const codeOf = ({ code, message }) => code === "NO_ANSWER" ? message : code;
  const sum = await engine.call("count", [2, 3]).catch(codeOf);
  const status = await engine.status().then(() => "status", codeOf);
  const way = readFileSync("/proc/self/maps", "utf8").includes("addon.node") ? "zmq" : "local";
  console.log(JSON.stringify([sum, status, way]));
  await engine.close();
`;

/** A home with the keys of an engine, and of a client that may send. */
const homeWithKeys = (): TempFolder => {
  const home = tempFolder({ "ask.ts": script, "empty/x": "" });
  const client = makeKeyPair();
  const folder = home.at(".config/task-engine");
  writeCertificate(folder, "engine", makeKeyPair(), false);
  writeCertificate(folder, "client", client, false);
  writeFileSync(`${folder}/authorized`, `${client.publicKey} client send\n`);
  return home;
};

const fileOf = (home: TempFolder, name: string): string => home.at(`.config/task-engine/${name}`);

interface Place {
  readonly state?: string;
  readonly first?: number;
  readonly flags?: readonly string[];
  readonly env?: Record<string, string>;
}

const startIn = (home: TempFolder, { flags = [], ...place }: Place = {}): Promise<Engine> => {
  const key = ["--key", fileOf(home, "engine.key_secret"), "--authorized", fileOf(home, "authorized")];
  return startEngine({ flags: [...key, ...flags], workers: 1, ...place });
};

/** Few processes: one task worker alone. */
const small = { flags: ["--task-workers", "1", "--data-workers", "0"] };

const ask = async (
  home: TempFolder,
  engine: Engine,
  env: Record<string, string>,
  options: Record<string, string> = {},
): Promise<unknown> => {
  const command = [process.execPath, home.at("ask.ts"), engine.endpoint, JSON.stringify(options)];
  const child = Bun.spawn(command, { env: { PATH: process.env.PATH ?? "", ...env }, stdout: "pipe" });
  return JSON.parse(await child.stdout.text());
};

const needsKeys = expect.stringContaining(
  "the engine there has keys; name its own and yours by --server-key and --key",
);

test("the engine's own user needs no key and no libzmq and may do everything; with a key it may do what that allows", async () => {
  using home = homeWithKeys();
  await using engine = await startIn(home, small);
  const state = { TASK_ENGINE_STATE: engine.state };
  const [HOME, empty] = [home.path, home.at("empty")];
  expect(await ask(home, engine, { HOME: empty, ...state })).toEqual([5, "status", "local"]);
  expect(await ask(home, engine, { HOME: empty }, { state: engine.state })).toEqual([5, "status", "local"]);
  expect(await ask(home, engine, { HOME, ...state })).toEqual([5, "UNAUTHORIZED", "local"]);
  const own = { key: fileOf(home, "engine.key_secret") };
  expect(await ask(home, engine, { HOME, ...state }, own)).toEqual([5, "status", "local"]);
  // Who does not find the socket needs a key, as on another machine.
  const elsewhere = { TASK_ENGINE_STATE: home.path };
  expect(await ask(home, engine, { HOME, ...elsewhere })).toEqual([5, "UNAUTHORIZED", "zmq"]);
  expect(await ask(home, engine, { HOME: empty, ...elsewhere })).toEqual([needsKeys, needsKeys, "zmq"]);
  // Who says that it has none gets none of the owner's rights.
  expect(await ask(home, engine, { HOME, ...state }, { key: "none" })).toEqual([needsKeys, needsKeys, "zmq"]);
});

test("a command goes the same way, and the engine says that its owner has stopped the robot", async () => {
  using home = homeWithKeys();
  await using engine = await startIn(home, { ...small, env: { PATH: process.env.PATH ?? "", HOME: home.at("empty") } });
  const run = (...args: string[]) => engine.run(...args, "--router", engine.endpoint);
  expect((await run("send", "count", "2", "3")).stdout).toBe("5\n");
  const refused = expect.stringContaining("UNAVAILABLE: the engine has no data worker");
  expect(await run("data", "watch")).toMatchObject({ exitCode: 1, stderr: refused });
  const stop = `await (await import(process.argv[1])).connect(process.argv[2], JSON.parse(process.argv[3])).estop("smoke");`;
  const options = JSON.stringify({ state: engine.state });
  const env = { PATH: process.env.PATH ?? "", HOME: home.at("empty") };
  await Bun.spawn([process.execPath, "-e", `${stop} process.exit()`, module, engine.endpoint, options], { env }).exited;
  await engine.line(/EMERGENCY STOP by \(owner\): smoke/);
  expect((await run("reset")).stdout).toContain("takes jobs again");
});

test("a client finds its engine again that was killed with its socket left behind, and one that starts while it waits", async () => {
  using home = homeWithKeys();
  using state = tempFolder();
  const first = freePorts(3);
  const keys = { serverKey: fileOf(home, "engine.key"), key: fileOf(home, "client.key_secret") };
  const endpoint = `tcp://127.0.0.1:${first}`;
  await using waiting = connect(endpoint, { state: state.path, waitMs: 30_000 });
  const early = waiting.call("count", [1, 2]);
  const engine = await startIn(home, { state: state.path, first, ...small });
  expect(await early).toBe(3);
  for (const pid of [engine.pid, ...engine.childPids]) process.kill(pid, "SIGKILL");
  await engine.ended();
  expect(existsSync(`${state.path}/${first}/front.sock`)).toBe(true);
  await using impatient = connect(endpoint, { state: state.path, ...keys });
  expect((await rejection(impatient.call("count", [1, 2]))).message).toContain("nobody listens there (ECONNREFUSED)");
  const later = waiting.call("count", [3, 4], {}, { waitMs: 30_000 });
  await using again = await startIn(home, { state: state.path, first, ...small });
  expect(await later).toBe(7);
  const [router = 0] = again.pidsOf("router");
  process.kill(router, "SIGKILL");
  await until("there is another router", () => again.pidsOf("router").some((pid) => pid !== router));
  expect(await waiting.call("count", [4, 5], {}, { waitMs: 30_000 })).toBe(9);
  expect((await waiting.status()).security).toBe("curve");
});

test("each of several engines of one user is found by its port, and one in too long a folder by its key alone", async () => {
  using home = homeWithKeys();
  using state = tempFolder();
  const first = freePorts(3);
  // `stop.sock` just fits there, and `front.sock` does not.
  const deep = home.at("x".repeat(96 - home.at(`/${first}`).length));
  await using one = await startIn(home, { state: state.path, ...small });
  await using other = await startIn(home, { state: state.path, ...small });
  await using far = await startIn(home, { state: deep, first, ...small });
  expect(await far.line(/front\.sock is too long for a socket/)).toContain(deep);
  for (const engine of [one, other]) {
    await using client = connect(engine.endpoint, { state: state.path });
    const pids = (await client.status()).workers.map(({ pid }) => pid);
    expect(pids).toEqual(engine.pidsOf("task worker"));
  }
  const keys = { serverKey: fileOf(home, "engine.key"), key: fileOf(home, "client.key_secret") };
  await using client = connect(far.endpoint, { state: deep, ...keys });
  expect(await client.call("count", [2, 3])).toBe(5);
});

test("a client whose keys are another engine's, or not authorized, is told so as on any machine", async () => {
  using home = homeWithKeys();
  await using engine = await startIn(home, small);
  const strangers = home.at("strangers");
  writeCertificate(strangers, "stranger", makeKeyPair(), false);
  const keysOf = [
    { serverKey: `${strangers}/stranger.key`, key: fileOf(home, "client.key_secret") },
    { serverKey: fileOf(home, "engine.key"), key: `${strangers}/stranger.key_secret` },
  ];
  for (const keys of keysOf) {
    await using client = connect(engine.endpoint, { state: engine.state, waitMs: 500, ...keys });
    const { code, message } = await rejection(client.call("count", [2, 3]));
    expect([code, message]).toEqual(["NO_ANSWER", expect.stringContaining("is the engine running, with the key in")]);
  }
});

test("a data worker's stream port has a socket, too, for the owner and for the rights of a key", async () => {
  using home = homeWithKeys();
  await using engine = await startIn(home, { flags: ["--task-workers", "0", "--data-workers", "1"] });
  const { publicKey } = readKeyPair(fileOf(home, "client.key_secret"));
  const keys = [readPublicKey(fileOf(home, "engine.key")), publicKey];
  const ask = async (publicKeys: readonly string[]): Promise<unknown> => {
    const local = new LocalEngine(engine.endpoint, { options: {}, ifSilent: "", publicKeys }, engine.state);
    const link = local.dialData(`tcp://127.0.0.1:${engine.ports.data}`);
    const answered = Promise.withResolvers<readonly MessageFrame[]>();
    link?.onReadable(() => answered.resolve(link.tryReceive() ?? []));
    link?.trySend(encodeStreamRequest("CONTROL", "1", { command: "topics" }));
    const [, meta = "", data = ""] = await answered.promise;
    link?.drop();
    return decodeStreamReply(Buffer.from(meta), Buffer.from(data));
  };
  expect(await ask([])).toMatchObject({ type: "ACK", data: { topics: [] } });
  expect(await ask(keys)).toMatchObject({ type: "ERR", data: { code: "UNAUTHORIZED" } });
  const run = (...args: string[]) => engine.run(...args, "--router", engine.endpoint);
  expect(await run("data", "put", "pose", "5")).toMatchObject({ exitCode: 0 });
  expect((await run("data", "get", "pose")).stdout).toBe("5\n");
});
