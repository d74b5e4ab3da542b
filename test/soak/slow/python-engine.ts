/** An engine with task files in both languages: its Python processes under the same guarantees as the others. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Client, connect } from "../../../src/client/client.ts";
import { type Engine, oneWorker, startEngine } from "../../support/engine.ts";
import { python } from "../../support/manager.ts";
import { Motor } from "../../support/motor.ts";
import { freePorts } from "../../support/ports.ts";
import { type TempFolder, tempFolder } from "../../support/temp-folder.ts";

setDefaultTimeout(120_000);

const flags = [...oneWorker, "--grace-ms", "300", "--python", python];

const drive = `
import ctypes, os, time
from task_engine import sleep, source, task

def turn(speed):
    with open(os.environ["MOTOR"], "w") as motor:
        motor.write(str(speed))

def off():
    turn(0)

policy = dict(resources=["motors"], on_stop=off, grace_ms=100)

@task(**policy)
def drive(seconds: float = 60):
    turn(1)
    sleep(seconds)
    turn(0)
    return "there"

@task(timeout_ms=200, **policy)
def spin():
    while True:
        turn(1)

@task(**policy)
def hold():
    turn(1)
    ctypes.PyDLL(None).sleep(60)  # C code that keeps the interpreter's lock

@task(moves=False, schedule={"cron": "@yearly", "zone": "UTC"})
def photo():
    pass

@source(every_ms=20, topic="front/distance")
def distance():
    return 0.7

def task_pid():
    return os.getpid()

def task_count(*args, **kwargs):
    return sum(args) + 1000
`;

let folder: TempFolder;
let engine: Engine;
let client: Client;
let motor: Motor;

beforeAll(async () => {
  folder = tempFolder({
    "tasks/wave.ts": `export const task_wave = () => "wave"; export const task_ts = () => process.pid;`,
    "tasks/drive.py": drive,
    motor: "0",
  });
  motor = new Motor(folder.at("motor"));
  writeFileSync(folder.at("task-engine.toml"), `[env]\nMOTOR = "${motor.path}"\n`);
  engine = await startEngine({ cwd: folder.path, flags });
  client = connect(engine.endpoint);
});

afterAll(async () => {
  await client?.[Symbol.asyncDispose]();
  await engine?.[Symbol.asyncDispose]();
  folder?.[Symbol.dispose]();
});

const code = (job: Promise<unknown>): Promise<unknown> =>
  job.then(
    (value) => value,
    (failure: { code?: unknown }) => failure.code ?? failure,
  );

const pythonWorker = async (): Promise<number> => {
  const { workers } = await client.status();
  const [worker, ...others] = workers.filter(({ role, language }) => role === "task" && language === "python");
  if (worker === undefined || others.length > 0) throw new Error("there is not one Python worker");
  return worker.pid;
};

test("a task file in Python is served beside one in TypeScript, each by workers of its own", async () => {
  expect(await client.call("wave")).toBe("wave");
  expect(await client.call("pid")).toBe(await pythonWorker());
  const { tasks } = await client.status();
  expect(tasks.map(({ name, workers }) => `${name} ${workers}`)).toEqual([
    "count 1",
    "drive 1",
    "hold 1",
    "photo 1",
    "pid 1",
    "spin 1",
    "ts 1",
    "wave 1",
  ]);
  expect(engine.pidsOf("task worker (Python)")).toEqual([await pythonWorker()]);
});

test("a source in Python is called by a process of its own", async () => {
  const { sources } = await client.status();
  const [pid] = engine.pidsOf("source worker (Python)");
  expect(sources).toMatchObject([{ name: "distance", topic: "front/distance", everyMs: 20, worker: `SOURCE-${pid}` }]);
  expect(engine.pidsOf("source worker")).toEqual([]);
});

test("a task of the user takes the place of the built-in one of the same name, and the log says so", async () => {
  expect(await client.call("count", [1, 2])).toBe(1003);
  await engine.line(/^\[ENGINE\] The task count of Python takes the place of the built-in one$/);
});

test("a job whose worker is killed ends as INTERRUPTED, its task is made safe, and another worker follows", async () => {
  const job = code(client.call("drive"));
  await motor.turns();
  const pid = await pythonWorker();
  process.kill(pid, "SIGKILL");
  expect(await job).toBe("INTERRUPTED");
  await motor.stands();
  expect(await client.call("drive", [0])).toBe("there");
  expect(await pythonWorker()).not.toBe(pid);
});

test("a task has a schedule of its own, by which the engine runs it", async () => {
  expect((await engine.run("schedule", "run", "photo", "--router", engine.endpoint)).exitCode).toBe(0);
  const listed = async () => (await engine.run("schedule", "list", "--json", "--router", engine.endpoint)).stdout;
  let list = await listed();
  while (!list.includes('"done"')) list = await listed();
  expect(list).toMatch(/"photo".*"@yearly".*"UTC"/s);
});

test("an endless loop ends at its time limit without the end of its worker", async () => {
  const pid = await pythonWorker();
  expect(await code(client.call("spin"))).toBe("TIMEOUT");
  await motor.stands();
  expect(await client.call("pid")).toBe(pid);
});

test("C code that keeps the interpreter's lock is killed after the grace, and its task is made safe", async () => {
  const pid = await pythonWorker();
  const cancel = new AbortController();
  const job = code(client.call("hold", [], {}, { signal: cancel.signal }));
  await motor.turns();
  cancel.abort();
  expect(await job).toBe("CANCELLED");
  await motor.stands();
  expect(await client.call("pid")).not.toBe(pid);
});

test("an emergency stop ends what Python runs, and a reset lets it run again", async () => {
  const job = code(client.call("drive"));
  await motor.turns();
  await client.estop("somebody is in the way");
  expect(await job).toBe("STOPPED");
  await motor.stands();
  await client.reset();
  expect(await client.call("drive", [0])).toBe("there");
});

const reload = () => engine.run("reload", "--router", engine.endpoint);

test("a reload with a mistake names file and line and leaves the workers as they are", async () => {
  const pid = await pythonWorker();
  const mistakes = [
    ["tasks/bad.py", "def task_bad(:\n", /bad\.py:1/],
    [
      "tasks/bad.py",
      "from task_engine import task\n@task(moves=False, schedule='61 * * * *')\ndef bad(): pass\n",
      /bad\.py: bad has a wrong schedule: \S/,
    ],
    [
      "tasks/bad.ts",
      "export const task_pid = () => 1;",
      /bad\.ts: task_pid names the task pid, which a Python file defines already/,
    ],
  ] as const;
  for (const [name, text, message] of mistakes) {
    writeFileSync(folder.at(name), text);
    const { exitCode, stderr } = await reload();
    rmSync(folder.at(name));
    expect(stderr).toMatch(message);
    expect(exitCode).toBe(1);
  }
  expect(await client.call("pid")).toBe(pid);
});

test("a reload starts a Python worker with the first Python file, and ends it with the last", async () => {
  rmSync(folder.at("tasks/drive.py"));
  expect(await reload()).toMatchObject({ exitCode: 0 });
  for (const role of ["task worker (Python)", "source worker (Python)"]) expect(engine.pidsOf(role)).toEqual([]);
  expect(await code(client.call("pid"))).toBe("UNKNOWN_TASK");
  expect(await client.call("count", [1, 2])).toBe(3);
  writeFileSync(folder.at("tasks/drive.py"), drive);
  expect(await reload()).toMatchObject({ exitCode: 0 });
  expect(await client.call("pid")).toBe(await pythonWorker());
});

test("a stop of the engine ends its Python jobs and makes their tasks safe", async () => {
  const job = code(client.call("drive"));
  await motor.turns();
  engine.signal("SIGTERM");
  expect(await job).toBe("SHUTTING_DOWN");
  expect(await engine.ended()).toBe(0);
  expect(motor.speed).toBe(0);
});

test("the task of `on-stop` may be of Python: it runs at an emergency stop and after the supervisor's death", async () => {
  const park = `
import os

def task_park(code, message):
    with open(os.environ["PARKED"], "w") as file:
        file.write(code)
`;
  using other = tempFolder({ "tasks/park.py": park, parked: "" });
  writeFileSync(other.at("task-engine.toml"), `[env]\nPARKED = "${other.at("parked")}"\n`);
  await using parking = await startEngine({ cwd: other.path, flags: [...flags, "--on-stop", "park"] });
  await using asker = connect(parking.endpoint);
  const parkedFor = async (code: string): Promise<void> => {
    while (readFileSync(other.at("parked"), "utf8") !== code) await Bun.sleep(10);
  };
  await asker.estop("somebody is in the way");
  await parkedFor("STOPPED");
  await asker.reset();
  parking.signal("SIGKILL");
  await parkedFor("INTERRUPTED");
  expect(await parking.ended()).toBe("SIGKILL");
});

test("where the path of the socket for Python's workers is too long, a reload with a first Python file fails in one line", async () => {
  using other = tempFolder({ "tasks/wave.ts": "export const task_wave = () => 1;" });
  const first = freePorts(5);
  // It has room for `work.sock`, and for nothing longer.
  const state = other.at("s".repeat(107 - `${other.path}//${first}/work.sock`.length));
  const serving = { cwd: other.path, first, flags: [...flags, "--state", state] };
  await using long = await startEngine({ ...serving, env: { TASK_ENGINE_STATE: state } });
  writeFileSync(other.at("tasks/drive.py"), drive);
  const { exitCode, stderr } = await long.run("reload", "--router", long.endpoint);
  expect(stderr).toMatch(/no Python file can be served: the path .*python\.sock has 109 bytes, and Linux allows 107/);
  expect(exitCode).toBe(1);
  expect(await long.run("send", "wave", "--router", long.endpoint)).toMatchObject({ stdout: "1\n" });
});

test("without a Python file there is no Python process and no socket for one", async () => {
  await using plain = await startEngine({ flags });
  expect(plain.lines.filter((line) => /python/i.test(line))).toEqual([]);
  expect(existsSync(join(plain.state, `${plain.ports.frontend}`, "python.sock"))).toBe(false);
});

test("where no interpreter will do, tasks of Python are unavailable with the reason, and the others run", async () => {
  using other = tempFolder({ "tasks/wave.ts": "export const task_wave = () => 1;", "tasks/drive.py": drive });
  await using without = await startEngine({ cwd: other.path, flags: [...oneWorker, "--python", other.at("python3")] });
  await using asker = connect(without.endpoint);
  expect(await asker.call("wave")).toBe(1);
  const why = `${other.at("python3")} cannot be read: there is no such file or folder`;
  await expect(asker.call("drive")).rejects.toThrow(`drive cannot be run here: ${why}`);
  expect(await code(asker.call("pid"))).toBe("UNAVAILABLE");
  expect(without.errorLines).toContain(`[ENGINE] Python files are left out: ${why}`);
});
