/** The other roles of Python: the scan of the task files, safe stops in a fresh process, sources; and values on their way. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { type Client, connect } from "../../src/client/client.ts";
import { type Engine, startEngine } from "../support/engine.ts";
import { tempFolder } from "../support/temp-folder.ts";

setDefaultTimeout(120_000); // emulation is slow

const robot = `
import os, time
from task_engine import publish, source, task, log

def note(line):
    with open(os.environ.get("NOTES", "/dev/null"), "a") as notes:
        notes.write(line + "\\n")

def off(code, message):
    note(f"off {code} {message}")

def broken():
    raise OSError("no bus")

def hang():
    time.sleep(60)

@task(on_stop=off, resources=["motors"])
def drive(speed: float):
    pass

@task(on_stop=broken)
def arm():
    pass

@task(on_stop=hang, on_stop_ms=50)
def lamp():
    pass

def task_home(code: str, message: str):
    note(f"home {code}")

calls = 0

@source(every_ms=20, topic="front/distance", stale_ms=100)
def distance():
    global calls
    calls += 1
    return {"calls": calls}

@source(every_ms=50, topic="broken")
async def source_broken():
    raise OSError("no such bus")

@source(every_ms=50, topic="camera")
def camera():
    return b"\\xff\\xd8"

def task_frame():
    return publish("frame", b"\\x00\\xff", content_type="image/jpeg") and publish("note", "text", content_type="text/plain")
`;

const folder = tempFolder({ "tasks/robot.py": robot });
const program = [
  process.env.PYTHON ?? "/usr/bin/python3",
  "-I",
  "-B",
  join(import.meta.dir, "../../src/python/task_engine.py"),
];

const run = async (...args: readonly string[]) => {
  const env = { PATH: process.env.PATH ?? "", NOTES: folder.at("notes") };
  const child = Bun.spawn([...program, ...args], { env, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [exitCode, stdout, stderr] = await Promise.all([child.exited, child.stdout.text(), child.stderr.text()]);
  return { exitCode, stdout, stderr: stderr.replaceAll(/\[SAFE-\d+\]/g, "[SAFE]") };
};

const safe = (...args: readonly string[]) =>
  run("safe", "--tasks", folder.at("tasks"), "--code=STOPPED", "--message=a hand", ...args);

let engine: Engine;
let client: Client;
beforeAll(async () => {
  engine = await startEngine({ cwd: folder.path });
  client = connect(engine.endpoint, { waitMs: 10_000 });
});
afterAll(async () => {
  await client.close();
  await engine[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

test("a scan prints the tasks with their policies, and the sources", async () => {
  const { exitCode, stdout } = await run("scan", "--tasks", folder.at("tasks"));
  const [tasks, sources] = stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(exitCode).toBe(0);
  expect(tasks.map(({ name }: { name: string }) => name)).toEqual(["arm", "drive", "frame", "home", "lamp"]);
  expect(tasks[1]).toMatchObject({ name: "drive", resources: ["motors"], onStop: true });
  expect(sources).toEqual([
    { name: "broken", topic: "broken", everyMs: 50 },
    { name: "camera", topic: "camera", everyMs: 50 },
    { name: "distance", topic: "front/distance", everyMs: 20 },
  ]);
});

test("a scan names a file without a task, unless another one imports something of it", async () => {
  using other = tempFolder({
    "tasks/drive.py": "from motors import turn\nimport pins\n\ndef task_drive():\n    turn(pins.LEFT)\n",
    "tasks/motors.py": "def turn(pin):\n    pass\n",
    "tasks/pins.py": "LEFT = 4\n",
    "tasks/idle.py": "def drive():\n    pass\n",
  });
  const { stderr } = await run("scan", "--tasks", other.at("tasks"));
  expect(stderr.trimEnd().split("\n")).toEqual([expect.stringContaining("idle.py has no task: ")]);
});

test("a scan of a broken file names it, and exits with 1", async () => {
  using broken = tempFolder({ "tasks/a.py": "def task_a(:\n" });
  const { exitCode, stdout, stderr } = await run("scan", "--tasks", broken.at("tasks"));
  expect({ exitCode, stdout, stderr }).toEqual({
    exitCode: 1,
    stdout: "",
    stderr: `task-engine: ${broken.at("tasks/a.py")}:1:12 cannot be loaded: invalid syntax\n`,
  });
});

test("the safe process runs each on_stop and the task of on-stop, and says what has failed", async () => {
  expect(await safe("--on-stop=drive", "--run", "home")).toEqual({ exitCode: 0, stdout: "", stderr: "" });
  const notes = (await Bun.file(folder.at("notes")).text()).trimEnd().split("\n");
  expect(notes.sort()).toEqual(["home STOPPED", "off STOPPED a hand"]);
  const failed = await safe("--on-stop=arm", "--on-stop=lamp", "--on-stop=home", "--on-stop=nothing");
  expect(failed.exitCode).toBe(1);
  expect(failed.stderr.trimEnd().split("\n").sort()).toEqual([
    "[SAFE] The onStop of arm has failed (try 1 of 3): no bus",
    "[SAFE] The onStop of arm has failed (try 2 of 3): no bus",
    "[SAFE] The onStop of arm has failed (try 3 of 3): no bus",
    "[SAFE] The onStop of home cannot be run: the task has none",
    "[SAFE] The onStop of lamp has failed (try 1 of 3): it took longer than 50 ms",
    "[SAFE] The onStop of lamp has failed (try 2 of 3): it took longer than 50 ms",
    "[SAFE] The onStop of lamp has failed (try 3 of 3): it took longer than 50 ms",
    "[SAFE] The onStop of nothing cannot be run: there is no such task",
  ]);
});

test("sources are called at their rates, and status shows how they fare", async () => {
  await using subscription = client.subscribe("front/");
  const { value } = await subscription.next();
  expect(value?.data).toEqual({ calls: expect.any(Number) });
  for (;;) {
    const { sources = [] } = await client.status();
    const of = (name: string) => sources.find((source) => source.name === name);
    const [distance, broken] = [of("distance"), of("broken")];
    if (distance?.hz && broken?.errors) {
      expect(distance).toMatchObject({ topic: "front/distance", everyMs: 20, errors: 0 });
      expect(await engine.line(/The source broken has failed .*no such bus/)).toContain(
        "the same again is only counted",
      );
      return;
    }
    await Bun.sleep(100);
  }
});

test("tasks and sources publish bytes, and text of a type", async () => {
  await using frames = client.subscribe(["frame", "note", "camera"]);
  const seen = new Map<string, unknown>();
  while (seen.size < 3) {
    if (!seen.has("frame")) expect(await client.call("frame", [])).toBe(true);
    const { value } = await frames.next();
    if (value !== undefined) seen.set(value.topic, [value.contentType, [...value.bytes]]);
  }
  expect(seen.get("frame")).toEqual(["image/jpeg", [0, 255]]);
  expect(seen.get("camera")).toEqual(["application/octet-stream", [255, 216]]);
  expect(seen.get("note")).toEqual(["text/plain", [...Buffer.from("text")]]);
});
