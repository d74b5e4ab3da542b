/** The Python client against real engines. client.py has most checks, many in one process; each is a test here. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Engine, oneWorker, runCommand, startEngine } from "../../support/engine.ts";
import { taskEngine } from "../../support/executable.ts";
import { type TempFolder, tempFolder } from "../../support/temp-folder.ts";

setDefaultTimeout(120_000);

const python = "/usr/bin/python3";
const has = (module: string): boolean =>
  existsSync(python) && Bun.spawnSync([python, "-c", `import ${module}`]).success;
// The gate has them all.
const isGate = process.env.CI !== undefined;
const hasNumpy = has("numpy");
const hasPyzmq = has("zmq");

const root = join(import.meta.dir, "../../..");
const program = join(root, "src/python/task_engine.py");
const script = join(root, "test/python/client.py");

const tasks = `
  const rest = async ([seconds = 60], _, { signal }) => {
    for (const end = performance.now() + 1000 * seconds; performance.now() < end; await Bun.sleep(10)) signal.throwIfAborted();
    return "rested";
  };
  export const task_rest = rest;
  export const task_rest_guarded = { deadmanMs: 500, run: rest };
  export const task_echo = (args, kwargs) => ({ args, kwargs });
  export const task_fail = ([message]) => { throw new Error(message); };
  export const task_report = async (_args, _kwargs, { progress }) => {
    for (const step of [0, 1]) {
      progress({ step });
      await Bun.sleep(150);
    }
    return "reported";
  };
  export const task_photo = { moves: false, run: (args, _kwargs, { log }) => (log("click"), args) };
  export const task_wait = { moves: false, run: rest };
  export const task_yearly = { moves: false, schedule: "@yearly", run: () => 1 };
  let patrols = 0;
  export const task_patrol = {
    resumesAfterRestart: true,
    durable: true,
    run: () => {
      if (patrols++ % 2 === 0) throw new Error("the gate is closed");
      return "patrolled";
    },
  };
  export const task_picture = () => ({ contentType: "image/jpeg", bytes: new Uint8Array([255, 216, 0]) });
  export const task_matrix = () => ({ bytes: new Float32Array([0, 1, 2, 3, 4, 5]), shape: [2, 3] });
`;

/** What the engine's own workers publish as bytes, which go by no router. */
const publishing = `
import array
from task_engine import publish, source

def task_look():
    publish("own/picture", b"\\xff\\xd8", content_type="image/jpeg")
    publish("own/array", memoryview(array.array("h", [1])))

@source(every_ms=50, topic="own/source")
def look():
    return b"\\0"
`;

/** Runs it to its end and returns what it has printed. */
const runPython = async (...args: readonly string[]): Promise<string> => {
  const env = { PATH: process.env.PATH ?? "", HOME: "/nonexistent", PYTHONDONTWRITEBYTECODE: "1" };
  const { stdout, stderr } = await runCommand([python], args, { env });
  return stdout + stderr;
};

/** A program that has imported all of the client. */
const inProgram = (text: string, ...args: readonly string[]): Promise<string> =>
  runPython("-c", `import sys; sys.path.insert(0, ${JSON.stringify(join(program, ".."))})\n${text}`, ...args);

const checks = [...readFileSync(script, "utf8").matchAll(/^@check\("([^"]+)"/gm)].map(([, name = ""]) => name);

describe.skipIf(!hasNumpy && !isGate)("client.py", () => {
  let folder: TempFolder;
  let engine: Engine;
  let said = "";

  beforeAll(async () => {
    folder = tempFolder({ "tasks/rest.ts": tasks });
    engine = await startEngine({ cwd: folder.path, workers: 5, flags: ["--task-workers", "4"] });
    for (const name of ["me", "engine"]) await engine.run("keygen", name, "--dir", folder.path);
    const files = [folder.at("me.key_secret"), folder.at("engine.key")];
    const run = (group: string) => runPython(script, engine.endpoint, ...files, group);
    said = (await Promise.all([run("quick"), run("waiting")])).join("");
    said += await run("stop");
  });
  afterAll(async () => {
    await engine[Symbol.asyncDispose]();
    folder[Symbol.dispose]();
  });

  test.each(checks)("%s", (name) => {
    const line = said.split("\n").find((each) => each.startsWith(`ok ${name} (`));
    if (line === undefined) throw new Error(`it did not pass; the scripts printed:\n${said}`);
  });

  test("says nothing else", () => {
    expect(said.split("\n").filter((line) => line !== "" && !line.startsWith("ok "))).toEqual([]);
    expect(checks.length).toBeGreaterThan(25);
  });
});

test("requests on a lost connection end as INTERRUPTED, and later ones reach the new router", async () => {
  await using engine = await startEngine({ flags: oneWorker, workers: 1 });
  const child = Bun.spawn(
    [
      python,
      "-B",
      "-c",
      `
import sys; sys.path.insert(0, ${JSON.stringify(join(program, ".."))})
from task_engine import connect
with connect(${JSON.stringify(engine.endpoint)}, wait_ms=20_000) as engine:
    jobs = [engine.submit("count", number) for number in range(100)]
    print(sum(job.result() for job in jobs), flush=True)
    def ask():
        try:
            while True: engine.call("count")
        except Exception as error:
            return error.code
    print(ask(), flush=True)
    print(engine.call("count", 2, 3), flush=True)
`,
    ],
    { stdout: "pipe", stderr: "inherit" },
  );
  let said = "";
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    said += text;
    if (said === "4950\n") for (const pid of engine.pidsOf("router")) process.kill(pid, "SIGKILL");
  }
  expect(said).toBe("4950\nINTERRUPTED\n5\n");
});

test.skipIf(!hasPyzmq && !isGate)("a client with keys uses pyzmq, and each refusal has one line", async () => {
  using folder = tempFolder({ "tasks/rest.ts": tasks, "tasks/look.py": publishing });
  const keygen = (...args: string[]) =>
    runCommand(taskEngine, ["keygen", ...args, "--dir", folder.path], { env: { PATH: process.env.PATH ?? "" } });
  await keygen("engine");
  const { stdout: line } = await keygen("laptop", "--rights", "send read write control");
  await keygen("stranger");
  await Bun.write(folder.at("authorized"), line);
  const flags = ["--task-workers", "1", "--python", python, "--key", folder.at("engine.key_secret")];
  await using engine = await startEngine({ cwd: folder.path, workers: 2, flags });
  const said = await inProgram(
    `
from task_engine import TaskEngineError, connect
import threading
endpoint, folder = sys.argv[1:3]
def attempt(**keys):
    try:
        with connect(endpoint, server_key=folder + "/engine.key", **keys) as engine:
            print(engine.call("count", 2, 3))
            jobs = [engine.submit("count", number) for number in range(300)]
            print(sum(job.result() for job in jobs), sum(engine.map("count", [[1]] * 2000)))
            results = []
            threads = [threading.Thread(target=lambda: results.append(engine.call("count", 1))) for _ in range(8)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            print(sum(results), engine.options(deadman_ms=500).call("rest", 0.8))
            engine.publish("arm", b"\\xff", confirm=True)
            with engine.subscribe("arm") as values:
                print(next(values).data, engine.get("arm").data)
            with engine.subscribe("own/") as values:
                engine.call("look")
                seen = {}
                while len(seen) < 3:
                    value = next(values)
                    seen[value.topic] = bytes(value.data)
            print(sorted(seen.items()))
            engine.call("fly")
    except TaskEngineError as error:
        assert "\\n" not in str(error)
        print(error)
attempt(key=folder + "/laptop.key_secret")
attempt(key=folder + "/stranger.key_secret")
attempt(key="none")
`,
    engine.endpoint,
    folder.path,
  );
  expect(said.replaceAll(engine.endpoint, "tcp://robot:9000").replaceAll(folder.path, "FOLDER").split("\n")).toEqual([
    "5",
    "44850 2000",
    "8 rested",
    "b'\\xff' b'\\xff'",
    "[('own/array', b'\\x01\\x00'), ('own/picture', b'\\xff\\xd8'), ('own/source', b'\\x00')]",
    'UNKNOWN_TASK: no task "fly" is registered; `task-engine tasks` lists those that are',
    "NO_ANSWER: no connection to tcp://robot:9000: the engine there does not admit this key; " +
      "is the engine running, with the key in FOLDER/engine.key, and is FOLDER/stranger.key_secret authorized?",
    "NO_ANSWER: no connection to tcp://robot:9000: the engine there has keys; name its own and yours (server_key, key)",
    "",
  ]);
});

test("task-engine python prints the file that is here, whole", async () => {
  const { exitCode, stdout, stderr } = await runCommand(taskEngine, ["python"], {
    env: { PATH: process.env.PATH ?? "" },
  });
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
  expect(stdout).toBe(readFileSync(program, "utf8"));
});

test("task_engine.py has the syntax of Python 3.9, imports little, and nothing that Debian has not", async () => {
  const said = await inProgram(
    `
import ast
ast.parse(open(sys.argv[1]).read(), feature_version=(3, 9))
import json, select, socket, struct, threading
before = set(sys.modules)
import task_engine
new = {name.split(".")[0] for name in set(sys.modules) - before}
print(sorted(new & {"asyncio", "concurrent", "typing", "inspect", "dataclasses", "logging", "hashlib", "numpy", "zmq"}))
`,
    program,
  );
  expect(said).toBe("[]\n");
});
