/** What could not be made safe, and engines that begin not knowing what is. */
import { beforeEach, describe, expect, test } from "bun:test";
import { abortGraceMs, beatSilenceMs, onStopTriesMax, retryBackoffMs } from "../../src/limits.ts";
import { nothing } from "../support/broker-bench.ts";
import { blink, drive, push, SafetyBench, tasks } from "../support/safety-bench.ts";

let bench: SafetyBench;
beforeEach(() => {
  bench = new SafetyBench();
});

describe("what could not be made safe", () => {
  beforeEach(() => {
    bench.ready("w1", tasks);
    bench.ask("a", "drive");
    bench.failUnsafe("w1", 1);
  });

  test("is tried again with growing pauses, and stays locked in between", () => {
    bench.made("w1", "unsafe");
    expect(bench.safings).toEqual(["drive waiting 1 TASK_ERROR"]);
    bench.pass(retryBackoffMs / 2 - 1);
    expect(bench.safesOf("w1")).toHaveLength(1);
    bench.pass(1);
    expect(bench.safesOf("w1")).toHaveLength(2);
    bench.made("w1", "unsafe");
    bench.pass(retryBackoffMs - 1);
    expect(bench.safesOf("w1")).toHaveLength(2);
    bench.pass(1);
    expect(bench.safesOf("w1")).toHaveLength(onStopTriesMax);
    expect(bench.resources).toEqual(["motors: drive safing"]);
    expect(bench.logs).toEqual([]);
  });

  test("stays locked, and says so in the log once and in status", () => {
    bench.failAll("w1");
    bench.ask("b", "push");
    bench.ask("c", "drive");
    bench.ask("d", "count");
    bench.passWith(["w1"], 60_000);
    expect(bench.jobsOf("w1").at(-1)).toBe(5);
    expect(bench.logs).toHaveLength(1);
    expect(bench.logs[0]).toContain("onStop of drive has failed 3 times (TASK_ERROR), and motors stay locked");
    expect(bench.resources).toEqual(["motors: drive unsafe"]);
    expect(bench.ends.slice(1)).toEqual(["b: UNAVAILABLE", "c: UNAVAILABLE"]);
    expect(bench.safings).toEqual(["drive failed 2 TASK_ERROR"]);
    expect(bench.status.safings).toMatchObject([{ why: { code: "TASK_ERROR", message: expect.any(String) } }]);
  });

  test("is tried anew after a reset, and free when that succeeds", () => {
    bench.failAll("w1");
    bench.control({ command: "reset" });
    expect(bench.wishes).toEqual(["reset"]);
    bench.resume();
    expect(bench.safings).toEqual(["drive running 0 TASK_ERROR"]);
    bench.ask("b", "push");
    expect(bench.jobsOf("w1")).toEqual([1]);
    bench.made("w1", "safe");
    expect(bench.jobsOf("w1")).toEqual([1, 3]);
    bench.done("w1", 3);
    expect(bench.leftovers).toEqual(nothing);
  });

  test("may fail anew after a reset, which is said anew", () => {
    bench.failAll("w1");
    bench.resume();
    bench.failAll("w1");
    expect(bench.logs).toHaveLength(2);
    expect(bench.safesOf("w1")).toHaveLength(2 * onStopTriesMax);
    expect(bench.resources).toEqual(["motors: drive unsafe"]);
  });

  test("ends jobs that wait for it at once, be it that they came before, and says what to do", () => {
    bench.ask("b", "push", { ttlMs: 60_000 });
    bench.failAll("w1");
    bench.ask("c", "drive");
    const message =
      "resource motors is locked: onStop of drive has failed 3 times, after TASK_ERROR (its onStop failed where it had run); " +
      "make it safe by hand, fix it, then run task-engine reset";
    for (const { reply } of bench.answers.slice(1))
      expect(reply).toMatchObject({ error: { code: "UNAVAILABLE", message } });
    expect(bench.ends.slice(1)).toEqual(["b: UNAVAILABLE", "c: UNAVAILABLE"]);
    expect(bench.resources).toEqual(["motors: drive unsafe"]);
  });

  test("keeps a job that waits for it from keeping other things from others", () => {
    bench.ready("w2", [
      { name: "carry", resources: ["motors", "arm"] },
      { name: "grip", resources: ["arm"] },
    ]);
    bench.ask("b", "carry");
    bench.ask("c", "grip");
    expect(bench.jobsOf("w2")).toEqual([]);
    bench.failAll("w1");
    expect(bench.jobsOf("w2")).toEqual([4]);
  });

  test("cannot be taken by a job of higher priority", () => {
    bench.ask("b", "push", { priority: 9, preempt: true });
    bench.failAll("w1");
    expect(bench.abortsOf("w1")).toEqual([]);
    expect(bench.ends.at(-1)).toBe("b: UNAVAILABLE");
    expect(bench.resources).toEqual(["motors: drive unsafe"]);
  });
});

describe("an engine that begins without knowing what is safe", () => {
  test("makes everything safe before a job of those tasks, or one that needs what they hold, begins", () => {
    bench.handle({ type: "tasks", tasks: [drive, push, blink, { name: "count" }], isUnsafe: true });
    for (const [index, task] of ["drive", "push", "blink", "count"].entries()) bench.ask(`${index}`, task);
    expect(bench.resources).toEqual(["motors: drive safing +2"]);
    bench.ready("w1", tasks);
    expect(bench.safesOf("w1")).toEqual(["drive"]);
    expect(bench.headersOf("w1").at(-1)).toMatchObject({ code: "INTERRUPTED" });
    bench.ready("w2", tasks);
    expect(bench.safesOf("w2")).toEqual(["blink"]);
    bench.ready("w3", tasks);
    expect(bench.jobsOf("w3")).toEqual([6]);
    bench.made("w1", "safe");
    expect(bench.jobsOf("w1")).toEqual([3]);
    bench.done("w1", 3);
    expect(bench.jobsOf("w1")).toEqual([3, 4]);
    bench.made("w2", "safe");
    expect(bench.jobsOf("w2")).toEqual([5]);
  });

  test("and in emergency stop makes safe all the same", () => {
    bench.handle({ type: "stopped", stopped: { reason: "", since: 1 } });
    bench.handle({ type: "tasks", tasks: [drive], isUnsafe: true });
    bench.ready("w1", tasks);
    bench.made("w1", "safe");
    expect(bench.leftovers).toEqual(nothing);
  });

  test("knows it for one that begins anew", () => {
    bench.handle({ type: "tasks", tasks: [drive, blink] });
    expect(bench.safings).toEqual([]);
  });
});

describe("orphaned", () => {
  test("it answers all that waits or runs, tries nothing again, takes in nothing, and knows which tasks are at risk", () => {
    const twice = { ...blink, idempotent: true };
    bench.ready("w1", [drive, twice]);
    bench.ready("f2", [drive, twice], { supervised: false });
    bench.dataWorker("d9");
    bench.ask("a", "drive");
    bench.ask("b", "blink");
    bench.ask("c", "drive");
    bench.put("d", "volts", 1);
    expect([...bench.broker.tasksAtRisk].sort()).toEqual(["blink", "drive"]);
    bench.handle({ type: "orphaned" });
    expect(bench.ends.sort()).toEqual(["a: INTERRUPTED", "b: INTERRUPTED", "c: INTERRUPTED", "d: INTERRUPTED"]);
    expect([...bench.broker.tasksAtRisk].sort()).toEqual(["blink", "drive"]);
    bench.ask("e", "drive");
    expect(bench.ends.at(-1)).toBe("e: UNAVAILABLE");
    bench.passWith([], 60_000);
    expect(bench.ends).toHaveLength(5);
    expect(bench.status.workers).toHaveLength(0);
  });

  test("it answers those who wait for the end of an emergency stop", () => {
    bench.estop();
    bench.control({ command: "reset" });
    bench.handle({ type: "orphaned" });
    expect(bench.ends).toEqual(["estop: ACK", "reset: INTERRUPTED"]);
  });

  test("those are at risk whose onStop has not succeeded, and no others", () => {
    bench.ready("w1", tasks);
    bench.ask("a", "count");
    expect(bench.broker.tasksAtRisk).toEqual([]);
    bench.done("w1", 1);
    bench.ask("b", "drive");
    bench.failUnsafe("w1", 2);
    expect(bench.broker.tasksAtRisk).toEqual(["drive"]);
    bench.made("w1", "safe");
    expect(bench.broker.tasksAtRisk).toEqual([]);
  });
});

describe("a job of a worker that nobody can kill, whose rights are taken back,", () => {
  beforeEach(() => {
    bench.users.set("f1", "arm");
    bench.authorize("arm worker");
    bench.ready("f1", [drive, push, "count"], { supervised: false });
  });

  test("may go on, so what it holds is held until somebody has looked and resets, and is made safe then", () => {
    bench.ready("w2", tasks);
    bench.ask("a", "drive");
    bench.authorize("arm read");
    expect(bench.headersOf("f1").at(-1)).toMatchObject({ type: "REFUSED" });
    bench.handle({ type: "disconnected", key: "f1" });
    bench.ask("b", "push");
    bench.passWith(["w2"], 10 * beatSilenceMs);
    expect(bench.ends).toEqual(["a: INTERRUPTED", "b: UNAVAILABLE"]);
    expect(bench.resources).toEqual(["motors: drive unsafe"]);
    const told = bench.logs.filter((line) => line.startsWith("motors stay locked: client arm lacks the right worker"));
    expect(told).toEqual([expect.stringContaining("may go on with drive; end it where it runs, then run task-engine")]);
    bench.reset();
    bench.ask("c", "push");
    expect(bench.safesOf("w2")).toEqual(["drive"]);
    expect(bench.jobsOf("w2")).toEqual([]);
    bench.made("w2", "safe");
    expect(bench.jobsOf("w2")).toEqual([4]);
    bench.done("w2", 4);
    expect(bench.leftovers).toEqual(nothing);
  });

  test("though it was given up before", () => {
    bench.ready("w2", tasks);
    bench.ask("a", "push");
    bench.cancel("a");
    bench.passWith(["f1", "w2"], abortGraceMs + beatSilenceMs);
    bench.authorize("arm read");
    bench.passWith(["w2"], 10 * beatSilenceMs);
    expect(bench.resources).toEqual(["motors: push unsafe"]);
    bench.reset();
    expect(bench.resources).toEqual([]);
  });

  test("that holds nothing locks nothing", () => {
    bench.ask("a", "count");
    bench.authorize("arm read");
    expect(bench.ends).toEqual(["a: INTERRUPTED"]);
    expect(bench.leftovers).toEqual(nothing);
    expect(bench.logs.filter((line) => line.includes("locked"))).toEqual([]);
  });
});
