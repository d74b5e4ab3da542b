/** A real task worker, whose router and supervisor are the test: what it says to each, and when, of what is to be made safe. */
import { expect, setDefaultTimeout } from "bun:test";
import { test } from "../support/concurrent.ts";
import { dealerTo, metaFrame, taskFrame } from "../support/raw-requestor.ts";
import { startTaskWorker, TaskWorker } from "../support/task-worker.ts";

setDefaultTimeout(300_000); // they wait for one another

/** `drive` goes on until it is told to end; its `onStop` does what `HOW` says, and each notes what it does. */
const tasks = (how = "ok") => ({
  "drive.ts": `
    import { appendFileSync, existsSync } from "node:fs";
    const note = (line) => appendFileSync(process.env.NOTES, line + "\\n");
    const aborted = (signal) => new Promise((resolve) => signal.addEventListener("abort", resolve));
    export const task_drive = {
      run: async ([how], kwargs, { signal }) => {
        note("drives");
        if (how === "throw") throw new Error("the wheel is stuck");
        await aborted(signal);
        note("lets go");
        return "arrived";
      },
      onStop: async ({ signal, jobSerial }, { code }) => {
        note("onStop " + code + " " + jobSerial);
        if ("${how}" === "throw") throw new Error("no bus");
        if ("${how}" === "hang") { await aborted(signal); note(String(signal.reason.message)); }
        if ("${how}" === "gate") while (!existsSync(process.env.NOTES + ".open")) await Bun.sleep(5);
        note("safe");
      },
      onStopMs: ${how === "gate" ? 30_000 : 50},
      resources: ["motors"],
    };
    export const task_watch = { run: async (args, kwargs, { signal }) => { note("watches"); await aborted(signal); } };
    export const task_lamp = { run: () => "lit", allowedWhenStopped: true };
    export const task_tail = { run: () => 1, resources: ["tail"] };
    export const task_held = { run: () => 1, deadmanMs: 100 };
    export const task_add = ([a, b]) => a + b;`,
});

const abort = { type: "ABORT", code: "CANCELLED", message: "its requestor cancelled it" } as const;

test("READY says that there is an onStop, and keeps it to itself", async () => {
  await using worker = await startTaskWorker(tasks());
  const { tasks: served } = await worker.heard("READY");
  expect(served).toContainEqual({ name: "drive", onStop: true, onStopMs: 50, resources: ["motors"] });
});

test("a job that throws is followed by SAFING, its onStop, and then the answer", async () => {
  await using worker = await startTaskWorker(tasks());
  worker.runAll([1, "drive", ["throw"]], [2, "add", [2, 3]]);
  expect(await worker.heard("FAIL", 1)).toMatchObject({
    jobs: [1],
    data: [{ code: "TASK_ERROR", message: "the wheel is stuck" }],
  });
  expect(await worker.heard("DONE", 2)).toMatchObject({ data: [5] });
  const said = worker.said.map(({ type }) => type).filter((type) => type !== "LOG");
  expect(said).toEqual(["READY", "SAFING", "FAIL", "DONE"]);
  expect(await worker.noted("safe")).toEqual(["drives", "onStop TASK_ERROR s-1", "safe"]);
  expect(await worker.heard("FAIL", 1)).not.toHaveProperty("unsafe");
});

test("a job that is aborted is so, even if it returns its result", async () => {
  await using worker = await startTaskWorker(tasks());
  worker.run(7, "drive");
  await worker.noted("drives");
  worker.hand({ ...abort, job: 7 });
  expect(await worker.heard("FAIL", 7)).toMatchObject({ data: [{ code: "CANCELLED", message: abort.message }] });
  expect(worker.said.map(({ type }) => type)).toEqual(["READY", "SAFING", "FAIL"]);
  expect(await worker.noted("safe")).toEqual(["drives", "lets go", "onStop CANCELLED s-7", "safe"]);
});

test("a job that is told to end since the engine stops has begun all the same, and is not given back", async () => {
  await using worker = await startTaskWorker(tasks());
  worker.run(1, "watch");
  await worker.noted("watches");
  worker.hand({ type: "ABORT", job: 1, code: "SHUTTING_DOWN", message: "the engine is stopping" });
  expect(await worker.heard("FAIL", 1)).toMatchObject({ data: [{ code: "SHUTTING_DOWN" }] });
});

test("an onStop that throws makes its job unsafe, and so does one that is told that its time is over", async () => {
  for (const how of ["throw", "hang"]) {
    await using worker = await startTaskWorker(tasks(how));
    worker.run(1, "drive");
    await worker.noted("drives");
    worker.hand({ ...abort, job: 1 });
    expect(await worker.heard("FAIL", 1)).toMatchObject({ jobs: [1], unsafe: [1] });
    if (how === "hang") await worker.noted("TIMEOUT: it took longer than 50 ms");
  }
});

test("a worker that has lost its router ends what it runs, makes it safe, and answers nobody", async () => {
  await using worker = await startTaskWorker(tasks("gate"));
  worker.run(1, "drive");
  await worker.noted("drives");
  await worker.replaceRouter();
  await worker.noted("onStop INTERRUPTED s-1");
  // The new router counts from 1 again: the answer is to its own job, not to the old one.
  while (worker.said.filter(({ type }) => type === "READY").length < 2) await Bun.sleep(5);
  worker.run(1, "add", [2, 3]);
  await Bun.write(`${worker.notesFile}.open`, "");
  expect(await worker.heard("DONE", 1)).toMatchObject({ data: [5] });
  expect(worker.said.map(({ type }) => type)).toEqual(["READY", "READY", "DONE"]);
});

test("SAFE runs an onStop alone, is noted as begun, and is answered as a job", async () => {
  await using worker = await startTaskWorker(tasks());
  worker.hand({ type: "SAFE", job: 12, task: "drive", code: "INTERRUPTED", message: "its worker died" });
  expect(await worker.heard("DONE", 12)).toMatchObject({ jobs: [12], data: [null] });
  expect(await worker.noted("safe")).toEqual(["onStop INTERRUPTED ", "safe"]);
  expect(worker.begun).toBe(12);
  worker.hand({ type: "SAFE", job: 13, task: "fly", code: "INTERRUPTED", message: "its worker died" });
  expect(await worker.heard("FAIL", 13)).toMatchObject({ data: [{ code: "UNKNOWN_TASK" }] });
});

test("a SAFE that fails says so, and one that comes while something runs waits its turn, before what waits", async () => {
  await using worker = await startTaskWorker(tasks("throw"));
  worker.run(1, "watch");
  worker.run(2, "add", [2, 3]);
  await worker.noted("watches");
  worker.hand({ type: "SAFE", job: 3, task: "drive", code: "STOPPED", message: "" });
  worker.hand({ ...abort, job: 1 });
  expect(await worker.heard("FAIL", 3)).toMatchObject({ data: [{ code: "TASK_ERROR", message: "no bus" }] });
  await worker.heard("DONE", 2);
  expect(worker.said.map((said) => ("jobs" in said ? said.jobs : []))).toEqual([[], [1], [3], [2]]);
});

test("a halted worker is still before its onStop is over, and has answered all that was to end", async () => {
  await using worker = await startTaskWorker(tasks("gate"));
  worker.runAll([1, "drive"], [2, "add", [2, 3]], [3, "lamp"]);
  await worker.noted("drives");
  worker.order({ type: "stopped", stopped: { reason: "child on the track", since: 1_700_000_000 } });
  worker.order({ type: "halt", halt: 4, code: "STOPPED", message: "child on the track", spares: true });
  await worker.toldSupervisor("still", 4);
  expect(await worker.noted("onStop STOPPED s-1")).not.toContain("safe");
  const stopped = [{ code: "STOPPED", message: "child on the track" }];
  expect(await worker.heard("FAIL", 2)).toMatchObject({ data: stopped });
  await Bun.write(`${worker.notesFile}.open`, "");
  expect(await worker.heard("FAIL", 1)).toMatchObject({ data: stopped });
  expect(await worker.heard("DONE", 3)).toMatchObject({ data: ["lit"] });

  // What comes now does not begin here, and may elsewhere: the router has the word.
  worker.run(5, "add", [1, 1]);
  expect(await worker.heard("RETURN", 5)).toMatchObject({ jobs: [5] });
  worker.hand({ type: "SAFE", job: 6, task: "drive", code: "STOPPED", message: "" });
  await worker.heard("DONE", 6);
  worker.order({ type: "stopped", stopped: null });
  worker.order({ type: "halt", halt: 5, code: "INTERRUPTED", message: "the router died", spares: false });
  await worker.toldSupervisor("still", 5);
  worker.run(7, "add", [1, 1]);
  expect(await worker.heard("DONE", 7)).toMatchObject({ data: [2] });
});

test("a worker's own port runs nothing in an emergency stop but what is allowed, and ends what it runs", async () => {
  await using worker = await startTaskWorker(tasks());
  using requestor = dealerTo(worker.endpoint);
  const ask = (serial: string, task: string, more = {}): void =>
    requestor.send("", metaFrame({ version: 0.2, serial }), taskFrame([2, 3], { task, ...more }));
  ask("runs", "watch");
  ask("waits", "add");
  requestor.send("", metaFrame({ version: 0.2, serial: "ping" }));
  // It overtakes both.
  expect(await requestor.reply()).toMatchObject({ meta: { type: "ACK", serial: "ping" } });
  await worker.noted("watches");
  worker.order({ type: "stopped", stopped: { reason: "child on the track", since: 1_700_000_000 } });
  worker.order({ type: "halt", halt: 1, code: "STOPPED", message: "child on the track", spares: true });
  const error = (serial: string, code: string, message: string) => ({
    meta: { type: "ERR", serial },
    data: { code, message },
  });
  expect(await requestor.reply()).toMatchObject(error("waits", "STOPPED", "child on the track"));
  expect(await requestor.reply()).toMatchObject(error("runs", "STOPPED", "child on the track"));
  await worker.toldSupervisor("still", 1);
  ask("later", "add");
  expect(await requestor.reply()).toMatchObject(
    error(
      "later",
      "STOPPED",
      "in emergency stop since 2023-11-14T22:13:20.000Z (child on the track); task-engine reset ends it",
    ),
  );
  ask("lamp", "lamp");
  expect(await requestor.reply()).toMatchObject({ meta: { type: "ACK", serial: "lamp" }, data: "lit" });
});

test("a worker's own port refuses what the router alone can keep", async () => {
  await using worker = await startTaskWorker(tasks());
  using requestor = dealerTo(worker.endpoint);
  const refusals = [
    ["drive", {}, "onStop"],
    ["tail", {}, "resources"],
    ["held", {}, "deadmanMs"],
    ["add", { deadmanMs: 100 }, "deadmanMs"],
    ["add", { latest: "course" }, "latest"],
    ["add", { preempt: true }, "preempt"],
    ["add", { timeoutMs: 10 }, "timeoutMs"],
    ["add", { priority: 9 }, "priority"],
  ] as const;
  for (const [task, options, what] of refusals) {
    requestor.send("", metaFrame({ version: 0.2, serial: what }), taskFrame([2, 3], { task, options }));
    expect(await requestor.reply()).toMatchObject({
      meta: { serial: what },
      data: { code: "UNAVAILABLE", message: `only the router enforces ${what} of ${task}; send it there` },
    });
  }
});

test("a worker that is still loading its tasks is still, and knows of the stop once it serves", async () => {
  const slow = `
    import { existsSync } from "node:fs";
    while (!existsSync(process.env.NOTES + ".open")) await Bun.sleep(5);`;
  await using worker = new TaskWorker({ ...tasks(), "a.ts": slow });
  worker.order({ type: "stopped", stopped: { reason: "", since: 1 } });
  worker.order({ type: "halt", halt: 1, code: "STOPPED", message: "", spares: true });
  await worker.toldSupervisor("still", 1);
  expect(worker.said).toEqual([]);
  await Bun.write(`${worker.notesFile}.open`, "");
  await worker.heard("READY");
  worker.run(1, "add", [2, 3]);
  await worker.heard("RETURN", 1);
});
