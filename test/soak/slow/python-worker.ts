/** A real task worker of Python, whose router and supervisor are the test. */
import { expect, setDefaultTimeout } from "bun:test";
import { test } from "../../support/concurrent.ts";
import { startPythonWorker } from "../../support/task-worker.ts";

setDefaultTimeout(300_000); // they wait for one another

/** Each notes what it does; `drive` goes on until it is told to end. */
const tasks = {
  "drive.py": `
import os, sys, time, asyncio, subprocess, socket, weakref
from task_engine import Aborted, log, progress, publish, sleep, task

def note(line):
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(line + "\\n")

def off(code, message):
    note("on_stop " + code)
    if os.path.exists(os.environ["NOTES"] + ".broken"):
        raise OSError("no bus")
    if os.path.exists(os.environ["NOTES"] + ".slow"):
        time.sleep(0.1)
    note("safe")

@task(resources=["motors"], on_stop=off, on_stop_ms=50, grace_ms=300)
def drive(how: str = "sleep", swallow: bool = False):
    note("drives")
    try:
        if how == "raise":
            raise ValueError("the wheel is stuck") from OSError("no bus")
        if how == "loop":
            while True:
                pass
        if how == "sleep":
            sleep(60)
        if how == "thread":
            time.sleep(60)
        if how == "process":
            subprocess.run(["sleep", "60"])
        if how == "socket":
            a, b = socket.socketpair()
            a.recv(1)
        if how == "output":
            while True:
                print("x" * 1000)
                progress(1)
                publish("x", 1)
                time.sleep(0.0001)
    except Aborted as aborted:
        note("lets go " + aborted.code)
        if swallow:
            return "arrived"
        raise
    return "arrived"

class Slow:
    def __del__(self):
        note("finalizes")
        time.sleep(60)

class Plain:
    pass

def slowly(_):
    note("finalizes")
    time.sleep(60)

class Broken:
    def __del__(self):
        raise OSError("no bus")

class SlowErrors:
    def write(self, text):
        note("finalizes")
        time.sleep(0.05)
    def flush(self):
        pass

@task(on_stop=off)
def finalize(how: str):
    try:
        if how == "a finalizer":
            Slow()
        if how == "a weakref's callback":
            plain = Plain()
            kept = weakref.ref(plain, slowly)
            del plain
        if how == "two of them":
            pair = [Slow(), Slow()]
            del pair
        if how == "the report of another":
            sys.stderr, errors = SlowErrors(), sys.stderr
            Broken()
            sys.stderr = errors
        time.sleep(60)
    except Aborted as aborted:
        note("lets go " + aborted.code)
        raise

async def task_wait(seconds):
    note("waits")
    await asyncio.sleep(seconds)
    return "waited"

def task_add(a: float, b: float = 1.0):
    return a + b

def task_count(*args, **kwargs):
    return sum(args)

def task_report():
    log("half way")
    print("printed")
    progress({"done": 0.5})
    return publish("arm/left", {"deg": 90})

def task_picture():
    return b"\\x00\\xff"

class Array:
    class dtype:
        name, byteorder = "int16", "<"
    shape = (1, 2)
    def tobytes(self):
        return b"\\x01\\x00\\x02\\x00"

def task_array():
    return Array()

def task_nan():
    return {"speed": float("nan")}

def task_exit():
    import sys
    sys.exit(3)

def task_fork():
    if os.fork() == 0:
        progress("of a copy")
        print("of a copy")
        return "of a copy"
    os.wait()
    return "of the worker"

def task_kill():
    os.kill(os.getpid(), 9)

@task(allowed_when_stopped=True)
def lamp():
    return "lit"
`,
};

const abort = { type: "ABORT", code: "CANCELLED", message: "its requestor cancelled it" } as const;

test("READY names the tasks with their policies and the schemas of their arguments", async () => {
  await using worker = await startPythonWorker(tasks);
  const { tasks: served } = await worker.heard("READY");
  expect(served).toContainEqual({
    name: "add",
    schema: {
      args: {
        type: "array",
        prefixItems: [
          { title: "a", type: "number" },
          { title: "b", type: "number", default: 1 },
        ],
        minItems: 1,
        items: false,
      },
      kwargs: { type: "object", properties: {}, required: [] },
    },
  });
  expect(served).toContainEqual(
    expect.objectContaining({ name: "drive", onStop: true, onStopMs: 50, graceMs: 300, resources: ["motors"] }),
  );
  await worker.toldSupervisor("online");
});

test("jobs get their results, errors and refusals", async () => {
  await using worker = await startPythonWorker(tasks);
  worker.runAll([1, "add", [2, 3]], [2, "task_count", [1, 2, 3]], [3, "add", ["far"]], [4, "nothing"], [5, "nan"]);
  expect(await worker.heard("DONE", 1)).toMatchObject({ data: expect.arrayContaining([5]) });
  expect(await worker.heard("DONE", 2)).toMatchObject({ data: expect.arrayContaining([6]) });
  const failed = async (job: number) => {
    const { jobs, data } = await worker.heard("FAIL", job);
    return data[jobs.indexOf(job)];
  };
  expect(await failed(3)).toEqual({ code: "BAD_ARGS", message: 'a: expected float, got "far"' });
  expect(await failed(4)).toEqual({ code: "UNKNOWN_TASK", message: 'this worker has no task "nothing"' });
  expect(await failed(5)).toEqual({
    code: "TASK_ERROR",
    message: "result.speed is nan, which JSON cannot express",
  });
  worker.run(6, "exit");
  expect(await failed(6)).toEqual({ code: "TASK_ERROR", message: "the task called sys.exit(3)" });
  worker.run(7, "wait", [0]);
  expect(await worker.heard("DONE", 7)).toMatchObject({ data: ["waited"] });
});

test("a task logs, reports its progress and publishes", async () => {
  await using worker = await startPythonWorker(tasks);
  await worker.toldSupervisor("online");
  worker.order({ type: "watchLog", isWatched: true });
  worker.order({ type: "ping" });
  await worker.toldSupervisor("pong");
  worker.run(1, "report");
  expect(await worker.heard("DONE", 1)).toMatchObject({ data: [true] });
  expect(await worker.heard("PROGRESS", 1)).toMatchObject({ data: [{ done: 0.5 }] });
  expect(await worker.heard("PUBLISH")).toMatchObject({ topic: "arm/left", task: "report", data: [{ deg: 90 }] });
  // Its own log has the same lines.
  const own = worker.said.flatMap((said) => (said.type === "LOG" && said.job === 1 ? said.data : []));
  expect(own).toEqual([
    { level: "info", text: "half way" },
    { level: "info", text: "printed" },
  ]);
  const log = await worker.toldSupervisor("log");
  const tag = `[WORKER-${(await worker.heard("READY")).pid}(TASK)]`;
  expect(log).toMatchObject({
    lines: [
      { level: "info", text: `${tag} report: half way`, job: 1 },
      { level: "info", text: `${tag} report: printed`, job: 1 },
    ],
  });
});

test("bytes and arrays are binary results", async () => {
  await using worker = await startPythonWorker(tasks);
  worker.run(1, "picture");
  expect(await worker.heard("DONE", 1)).toMatchObject({
    contentTypes: [{ contentType: "application/octet-stream" }],
    bodies: [new Uint8Array([0, 255])],
  });
  worker.run(2, "array");
  expect(await worker.heard("DONE", 2)).toMatchObject({
    contentTypes: [{ contentType: "application/octet-stream", dtype: "int16", shape: [1, 2] }],
    bodies: [new Uint8Array([1, 0, 2, 0])],
  });
});

test("a job that raises is followed by SAFING, its on_stop, and then the answer", async () => {
  await using worker = await startPythonWorker(tasks);
  worker.runAll([1, "drive", ["raise"]], [2, "add", [2, 3]]);
  expect(await worker.heard("FAIL", 1)).toMatchObject({
    jobs: [1],
    data: [{ code: "TASK_ERROR", message: "the wheel is stuck (caused by: no bus)" }],
  });
  expect(await worker.heard("DONE", 2)).toMatchObject({ data: [5] });
  const types = worker.said.map(({ type }) => type);
  expect(types.filter((type) => type !== "LOG")).toEqual(["READY", "SAFING", "FAIL", "DONE"]);
  expect(worker.said.find(({ type }) => type === "LOG")).toMatchObject({
    job: 1,
    data: [{ level: "error", text: "the wheel is stuck (caused by: no bus)" }],
  });
  expect(await worker.noted("safe")).toEqual(["drives", "on_stop TASK_ERROR", "safe"]);
});

for (const how of ["loop", "sleep", "thread", "process", "socket", "output"]) {
  test(`an abort ends a job that is in: ${how}`, async () => {
    await using worker = await startPythonWorker(tasks);
    worker.run(7, "drive", [how]);
    await worker.noted("drives");
    worker.hand({ ...abort, job: 7 });
    expect(await worker.heard("FAIL", 7)).toMatchObject({ data: [{ code: "CANCELLED", message: abort.message }] });
    expect(await worker.noted("safe")).toEqual(["drives", "lets go CANCELLED", "on_stop CANCELLED", "safe"]);
    worker.run(8, "add", [2, 3]);
    expect(await worker.heard("DONE", 8)).toMatchObject({ data: [5] });
  });
}

for (const how of ["a finalizer", "a weakref's callback", "two of them", "the report of another"]) {
  test(`an abort in code whose exceptions Python ignores comes again: ${how}`, async () => {
    await using worker = await startPythonWorker(tasks);
    worker.run(7, "finalize", [how]);
    await worker.noted("finalizes");
    worker.hand({ ...abort, job: 7 });
    expect(await worker.heard("FAIL", 7)).toMatchObject({ data: [{ code: "CANCELLED" }] });
    const notes = await worker.noted("safe");
    expect(notes.filter((note) => note !== "finalizes")).toEqual(["lets go CANCELLED", "on_stop CANCELLED", "safe"]);
    worker.run(8, "add", [2, 3]);
    expect(await worker.heard("DONE", 8)).toMatchObject({ data: [5] });
  });
}

test("short jobs that follow one another, and a long one after them, are run and aborted", async () => {
  await using worker = await startPythonWorker(tasks);
  for (let job = 100; job < 400; job++) {
    worker.run(job, "add", [job, 1]);
    expect(await worker.heard("DONE", job)).toMatchObject({ data: [job + 1] });
  }
  for (const job of [1, 2]) {
    worker.run(job, "wait", [60]);
    await worker.noted("waits");
    worker.run(job + 10, "add", [job, 1]);
    worker.hand({ ...abort, job });
    expect(await worker.heard("FAIL", job)).toMatchObject({ data: [{ code: "CANCELLED" }] });
    expect(await worker.heard("DONE", job + 10)).toMatchObject({ data: [job + 1] });
  }
});

test("a job that is aborted is so, even if it returns its result; a coroutine ends, too", async () => {
  await using worker = await startPythonWorker(tasks);
  worker.run(7, "drive", ["sleep", true]);
  await worker.noted("drives");
  worker.hand({ ...abort, job: 7 });
  expect(await worker.heard("FAIL", 7)).toMatchObject({ data: [{ code: "CANCELLED" }] });
  worker.run(8, "wait", [60]);
  await worker.noted("waits");
  worker.hand({ ...abort, job: 8 });
  expect(await worker.heard("FAIL", 8)).toMatchObject({ data: [{ code: "CANCELLED" }] });
});

test("an on_stop that raises or takes too long makes its job unsafe", async () => {
  for (const how of ["broken", "slow"]) {
    await using worker = await startPythonWorker(tasks);
    await Bun.write(`${worker.notesFile}.${how}`, "");
    worker.run(1, "drive", ["raise"]);
    expect(await worker.heard("FAIL", 1)).toMatchObject({ unsafe: [1], data: [{ code: "TASK_ERROR" }] });
    worker.hand({ type: "SAFE", job: 2, task: "drive", code: "INTERRUPTED", message: "TASK-1 has died" });
    const message = how === "broken" ? "no bus" : "it took longer than 50 ms";
    expect(await worker.heard("FAIL", 2)).toMatchObject({ data: [{ message }] });
  }
});

test("SAFE goes before waiting jobs, and is answered when all is safe", async () => {
  await using worker = await startPythonWorker(tasks);
  worker.run(1, "drive");
  await worker.noted("drives");
  worker.run(2, "add", [1, 2]);
  worker.hand({ type: "SAFE", job: 3, task: "drive", code: "INTERRUPTED", message: "TASK-1 has died" });
  worker.hand({ ...abort, job: 1 });
  await worker.heard("DONE", 2);
  expect(worker.said.filter(({ type }) => type === "DONE" || type === "FAIL")).toMatchObject([
    { type: "FAIL", jobs: [1] },
    { type: "DONE", jobs: [3] },
    { type: "DONE", jobs: [2] },
  ]);
});

test("a waiting job is ended by ABORT, and one that comes too late does not begin", async () => {
  await using worker = await startPythonWorker(tasks);
  worker.run(1, "drive");
  await worker.noted("drives");
  worker.run(2, "add", [1, 2]);
  worker.hand({ ...abort, job: 2 });
  expect(await worker.heard("FAIL", 2)).toMatchObject({ ms: [0], data: [{ code: "CANCELLED" }] });
  const body = new TextEncoder().encode('{"task":"add","args":[1],"kwargs":{},"pack":1}');
  worker.hand({ type: "JOBS", jobs: [3], serials: [""], ttlMs: [1], at: 1 }, [body]);
  await Bun.sleep(20);
  worker.hand({ ...abort, job: 1 });
  expect(await worker.heard("FAIL", 3)).toMatchObject({ data: [{ code: "EXPIRED" }] });
});

test("a copy of the process that a task forks answers nothing", async () => {
  await using worker = await startPythonWorker(tasks);
  worker.run(1, "fork");
  expect(await worker.heard("DONE", 1)).toMatchObject({ data: ["of the worker"] });
  worker.run(2, "add", [1]);
  await worker.heard("DONE", 2);
  expect(worker.said.map(({ type }) => type)).toEqual(["READY", "DONE", "DONE"]);
});

test("the record names the job that has begun, and the task that ran when the process died", async () => {
  await using worker = await startPythonWorker(tasks);
  worker.run(41, "add", [1]);
  await worker.heard("DONE", 41);
  expect(worker.record).toMatchObject({ job: 41, task: "add", runs: false });
  worker.run(42, "kill");
  expect(await worker.ended()).toBe("SIGKILL");
  expect(worker.record).toMatchObject({ job: 42, task: "kill", runs: true });
});

test("a halt ends the jobs, and the supervisor hears when none runs; what is allowed goes on", async () => {
  await using worker = await startPythonWorker(tasks);
  worker.runAll([1, "drive"], [2, "add", [1]]);
  await worker.noted("drives");
  worker.order({ type: "stopped", stopped: { reason: "a hand", since: 1 } });
  worker.order({ type: "halt", halt: 5, code: "STOPPED", message: "stopped", spares: true });
  await worker.toldSupervisor("still", 5);
  expect(await worker.heard("FAIL", 1)).toMatchObject({ data: [{ code: "STOPPED" }] });
  expect(await worker.heard("FAIL", 2)).toMatchObject({ data: [{ code: "STOPPED" }] });
  worker.runAll([3, "lamp"], [4, "add", [1]]);
  expect(await worker.heard("DONE", 3)).toMatchObject({ data: ["lit"] });
  expect(await worker.heard("RETURN", 4)).toMatchObject({ jobs: [4] });
});

test("a worker whose router is gone ends its job, makes it safe, and joins again", async () => {
  await using worker = await startPythonWorker(tasks);
  worker.run(1, "drive");
  await worker.noted("drives");
  await worker.replaceRouter();
  expect(await worker.noted("safe")).toEqual(["drives", "lets go INTERRUPTED", "on_stop INTERRUPTED", "safe"]);
  await worker.joinedAgain();
  worker.run(1, "add", [2, 3]);
  expect(await worker.heard("DONE", 1)).toMatchObject({ data: [5] });
  expect(worker.said.filter(({ type }) => type === "FAIL")).toEqual([]);
});

test("a worker that is told to stop ends its job, returns the others and leaves", async () => {
  await using worker = await startPythonWorker(tasks);
  worker.run(1, "wait", [0.2]);
  await worker.noted("waits");
  worker.run(2, "add", [1]);
  worker.order({ type: "stop" });
  expect(await worker.heard("RETURN", 2)).toMatchObject({ jobs: [2] });
  expect(await worker.heard("DONE", 1)).toMatchObject({ data: ["waited"] });
  worker.hand({ type: "GOODBYE" });
  expect(await worker.ended()).toBe(0);
  expect(worker.told).toContainEqual({ type: "recycle", why: "it was told to end" });
});
