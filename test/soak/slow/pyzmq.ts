/**
 * Requestors in another language, written from the protocol's description alone, and the worker for Python beside them. They need Debian's `python3-zmq`; where it
 * is missing these tests are left out, except in continuous integration.
 */
import { afterAll, beforeAll, expect } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type CallOptions, type Client, connect } from "task-engine";
import {
  decodeFromWorker,
  encodeBackend,
  type RouterHeader,
  type WorkerHeader,
} from "../../../src/protocol/backend.ts";
import { ProtocolError } from "../../../src/protocol/errors.ts";
import { Router } from "../../../src/transport/zmq/socket.ts";
import { test } from "../../support/concurrent.ts";
import { type Engine, oneWorker, startEngine } from "../../support/engine.ts";
import { json } from "../../support/raw-requestor.ts";
import { rejection } from "../../support/rejection.ts";
import { type TempFolder, tempFolder } from "../../support/temp-folder.ts";

const root = join(import.meta.dir, "../../..");
const scripts = join(root, "test/interop");
const python = "/usr/bin/python3";
const hasPyzmq = existsSync(python) && Bun.spawnSync([python, "-c", "import zmq"]).success;

/** What it prints. */
const runScript = async (name: string, ...args: string[]): Promise<string> => {
  const script = Bun.spawn([python, join(scripts, name), ...args], { stdout: "pipe", stderr: "pipe" });
  const [exitCode, stdout, stderr] = await Promise.all([script.exited, script.stdout.text(), script.stderr.text()]);
  if (exitCode !== 0) throw new Error(`${name} failed, after\n${stdout}with\n${stderr}`);
  expect(stdout).not.toBe("");
  return stdout;
};

/** One that runs for so many seconds, else for long; and one more that demands to be kept alive. */
const napTasks = `
  const run = async ([seconds = 60], _, { signal, log }) => {
    log("begins");
    for (let tenth = 0; tenth < 10 * seconds; tenth++) {
      signal.throwIfAborted();
      await Bun.sleep(100);
    }
    return "rested";
  };
  export const task_rest = run;
  export const task_rest_guarded = { deadmanMs: 1200, run };
`;

const limitMs = 300_000; // they wait for one another

/** What these tests leave as it is. */
let folder: TempFolder;
let napFolder: TempFolder;
let engine: Engine;
beforeAll(async () => {
  folder = tempFolder({ "tasks/rest.ts": napTasks });
  napFolder = tempFolder({ "nap.py": readFileSync(join(scripts, "nap.py"), "utf8") });
  engine = await startEngine({ cwd: folder.path, workers: 4, flags: ["--task-workers", "3"] });
});
afterAll(async () => {
  await engine[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
  napFolder[Symbol.dispose]();
});

test.skipIf(!hasPyzmq && process.env.CI === undefined)(
  "pyzmq requestors of version 0.1 are served by the router and by a worker's own port",
  async () => {
    await runScript("requestor.py", engine.endpoint);
    await runScript("requestor.py", `tcp://127.0.0.1:${engine.ports.worker + 2}`);
  },
  limitMs,
);

test.skipIf(!hasPyzmq && process.env.CI === undefined)(
  "a pyzmq subscriber gets what a pyzmq requestor puts",
  async () => {
    await runScript("data.py", engine.endpoint, `tcp://127.0.0.1:${engine.ports.worker + 3}`);
  },
  limitMs,
);

/** The worker for Python, as on another machine, with the tasks of nap.py. */
const spawnWorker = (backend: string) =>
  Bun.spawn(
    [
      python,
      "-B",
      join(root, "src/python/task_engine.py"),
      "worker",
      "--router",
      backend,
      "--key",
      "none",
      napFolder.path,
    ],
    { env: { PATH: process.env.PATH ?? "" }, stdout: "pipe", stderr: "pipe" },
  );

/** One that has joined the engine. */
const startWorker = async (engine: Engine) => {
  const child = spawnWorker(`tcp://127.0.0.1:${engine.ports.backend}`);
  await using client = connect(engine.endpoint);
  while (!(await client.status()).workers.some(({ pid }) => pid === child.pid)) await Bun.sleep(10);
  return {
    child,
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
};

/** A job that runs, by its first progress. */
const startNap = async (client: Client, seconds: number, options: CallOptions = {}) => {
  const { promise: begun, resolve } = Promise.withResolvers<void>();
  const result = client.call("nap", [seconds], {}, { ...options, onProgress: () => resolve() });
  await Promise.race([begun, result]);
  return { result };
};

const workers: Readonly<Record<string, (engine: Engine, client: Client) => Promise<void>>> = {
  "joins, is listed, serves its own tasks, and obeys cancel, ttlMs and timeoutMs": async (engine, client) => {
    await using worker = await startWorker(engine);
    expect(await client.tasks()).toMatchObject([
      { name: "add", workers: 1 },
      { name: "count", workers: 1 },
      { name: "nap", workers: 1 },
    ]);
    expect((await client.request("task_add", [2, 3])).meta.id).toBe(`TASK-${worker.child.pid}`);
    const sums = await client.map(
      "add",
      Array.from({ length: 300 }, (_, index) => [index, 1]),
    );
    expect(sums.map(({ data }) => data)).toEqual(Array.from({ length: 300 }, (_, index) => index + 1));
    expect((await rejection(client.call("add", ["x", 1]))).code).toBe("TASK_ERROR");

    const stop = new AbortController();
    const { result } = await startNap(client, 60, { signal: stop.signal });
    const waiting = rejection(client.call("nap", [60], {}, { ttlMs: 100 }));
    expect((await waiting).code).toBe("EXPIRED");
    stop.abort();
    expect((await rejection(result)).code).toBe("CANCELLED");
    expect((await rejection(client.call("nap", [60], {}, { timeoutMs: 200 }))).code).toBe("TIMEOUT");
    expect(await client.call("nap", [0.1])).toBe("rested");
  },
  "is killed: its job is INTERRUPTED, and what waits for one goes to the next": async (engine, client) => {
    await using worker = await startWorker(engine);
    const { result } = await startNap(client, 60);
    await using _ = await startWorker(engine);
    const { result: elsewhere } = await startNap(client, 0.5);
    const waiting = client.call("nap", [0.1]);
    worker.child.kill("SIGKILL");
    expect(await rejection(result)).toMatchObject({
      code: "INTERRUPTED",
      message: expect.stringContaining(`TASK-${worker.child.pid}`),
    });
    expect(await Promise.all([elsewhere, waiting])).toEqual(["rested", "rested"]);
  },
  "is told to end: it finishes its job, gives back what waits, and leaves": async (engine, client) => {
    await using worker = await startWorker(engine);
    const { result } = await startNap(client, 1);
    worker.child.kill("SIGTERM");
    expect(await result).toBe("rested");
    expect(await worker.child.exited).toBe(0);
    expect((await rejection(client.call("nap", [1]))).code).toBe("UNAVAILABLE");
  },
};

test.skipIf(!hasPyzmq && process.env.CI === undefined)(
  `a worker elsewhere, in Python, ${Object.keys(workers).join("; another ")}`,
  async () => {
    await using engine = await startEngine({ flags: oneWorker });
    await using client = connect(engine.endpoint);
    for (const pass of Object.values(workers)) await pass(engine, client);
  },
  limitMs,
);

test.skipIf(!hasPyzmq && process.env.CI === undefined)(
  "a worker elsewhere, in Python, brings about its safe state, when a job is told to end and when it is asked to alone",
  async () => {
    using router = new Router();
    router.bind("tcp://127.0.0.1:*");
    await using child = spawnWorker(router.lastEndpoint);
    const [key = new Uint8Array(0)] = await router.receive();
    const say = (header: RouterHeader, ...bodies: Uint8Array[]) =>
      router.trySend([key, ...encodeBackend(header, bodies)]);
    /** The next message of one of these types. */
    const heard = async (...types: WorkerHeader["type"][]): Promise<WorkerHeader> => {
      for (;;) {
        const [, ...frames] = await router.receive();
        const message = decodeFromWorker(frames);
        if (message instanceof ProtocolError) throw new Error(message.message);
        if (types.includes(message.header.type)) return message.header;
      }
    };
    say({ type: "WELCOME" });
    say({ type: "JOBS", jobs: [1], serials: [""] }, json({ task: "nap", args: [60], kwargs: {}, pack: 1 }));
    await heard("PROGRESS");
    say({ type: "ABORT", job: 1, code: "STOPPED", message: "child on the track" });
    expect(await heard("DONE", "FAIL")).toMatchObject({ type: "FAIL", jobs: [1] });
    say({ type: "SAFE", job: 2, task: "nap", code: "INTERRUPTED", message: "its worker died" });
    expect(await heard("DONE", "FAIL")).toMatchObject({ type: "DONE", jobs: [2] });
    child.kill("SIGTERM");
    await heard("LEAVE");
    say({ type: "GOODBYE" });
    expect((await child.stdout.text()).split("\n").filter((line) => line.endsWith("nap: awake"))).toHaveLength(2);
    expect(await child.exited).toBe(0);
  },
  limitMs,
);

test.skipIf(!hasPyzmq && process.env.CI === undefined)(
  "a pyzmq requestor keeps a job alive by KEEPALIVE; one that stops doing so has it ended",
  async () => {
    const [kept, guarded, quiet] = await Promise.all([
      runScript("keep_alive.py", engine.endpoint, "rest", "2"),
      runScript("keep_alive.py", engine.endpoint, "rest_guarded", "2"),
      runScript("keep_alive.py", engine.endpoint, "rest"),
    ]);
    expect(JSON.parse(kept)).toEqual({ type: "ACK", data: "rested", deadmanMs: 1500 });
    expect(JSON.parse(guarded)).toEqual({ type: "ACK", data: "rested", deadmanMs: 1200 });
    expect(JSON.parse(quiet)).toMatchObject({ type: "ERR", data: { code: "DEADMAN" } });
  },
  limitMs,
);

test.skipIf(!hasPyzmq && process.env.CI === undefined)(
  "a few lines of Python stop the engine in an emergency, until it is reset",
  async () => {
    await using engine = await startEngine({ cwd: folder.path, flags: oneWorker });
    await using client = connect(engine.endpoint);
    const running = rejection(client.call("rest"));
    await engine.line(/rest: begins/);
    expect(await runScript("estop.py", engine.endpoint, "a hand is in the arm")).toBe("ACK a hand is in the arm\n");
    expect(await running).toMatchObject({ code: "STOPPED", message: expect.stringContaining("a hand is in the arm") });
    expect((await rejection(client.call("rest"))).code).toBe("STOPPED");
    const { stopped } = await client.status();
    expect(stopped).toEqual({ reason: "a hand is in the arm", since: expect.any(Number), durable: true });
    expect(await client.estop("again")).toMatchObject({ ...stopped, durable: true });
    await client.reset();
    expect((await client.status()).stopped).toBeNull();
    expect(await client.call("rest", [0.1])).toBe("rested");
  },
  limitMs,
);
