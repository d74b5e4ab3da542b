import { beforeEach, describe, expect, test } from "bun:test";
import { abortGraceMs, onStopMs, onStopTriesMax, retryBackoffMs } from "../../src/limits.ts";
import { nothing } from "../support/broker-bench.ts";
import { drive, push, SafetyBench, tasks } from "../support/safety-bench.ts";

let bench: SafetyBench;
beforeEach(() => {
  bench = new SafetyBench();
});

describe("a run of onStop", () => {
  test("is handed to a worker that is idle, and to no other", () => {
    bench.ready("w1", tasks);
    bench.ready("w2", tasks);
    bench.learn("w1", "count");
    for (let count = 0; count < 6; count++) bench.ask(`busy${count}`, "count");
    bench.ready("w3", [drive]);
    bench.ask("a", "drive");
    bench.die("w3", bench.jobsOf("w3")[0] ?? 0);
    expect([...bench.safesOf("w1"), ...bench.safesOf("w2")]).toEqual([]);
    for (const id of bench.jobsOf("w1")) bench.done("w1", id);
    expect(bench.safesOf("w1")).toEqual(["drive"]);
    bench.ask("behind", "count");
    bench.ask("behind too", "count");
    expect(bench.headersOf("w1").at(-1)?.type).toBe("SAFE");
  });

  test("gets a worker also where short jobs stream to all of them without end, and so does a job of such a task", () => {
    bench.ready("w3", [drive]);
    bench.ask("a", "drive");
    bench.ready("w1", tasks);
    bench.learn("w1", "count");
    for (let count = 0; count < 200; count++) bench.ask(`c${count}`, "count");
    bench.die("w3", 1);
    bench.ask("blink", "blink", { priority: 6 });
    // As many short ones come as are done.
    for (let round = 0; round < 100 && bench.safesOf("w1").length === 0; round++) {
      bench.done("w1", bench.jobsOf("w1")[round] ?? 0);
      bench.ask(`d${round}`, "count");
    }
    expect(bench.safesOf("w1")).toEqual(["drive"]);
    bench.made("w1", "safe");
    expect(bench.headersOf("w1").at(-1)).toMatchObject({ type: "JOBS", serials: ["blink"] });
  });

  test("gets the worker that will be idle first", () => {
    bench.ready("w3", [drive]);
    bench.ask("a", "drive");
    bench.ready("w1", ["long", drive]);
    bench.ask("long", "long");
    bench.ready("w2", tasks);
    bench.learn("w2", "count");
    for (let count = 0; count < 40; count++) bench.ask(`c${count}`, "count");
    bench.die("w3", 1);
    for (let round = 0; round < 40 && bench.safesOf("w2").length === 0; round++) {
      bench.done("w2", bench.jobsOf("w2")[round] ?? 0);
      bench.ask(`d${round}`, "count");
    }
    expect(bench.safesOf("w2")).toEqual(["drive"]);
  });

  test("goes before what would take from others, however long that has waited", () => {
    bench.ready("w3", [drive]);
    bench.ask("a", "drive");
    bench.ready("w1", [...tasks, { name: "grip", resources: ["arm"] }]);
    bench.ask("busy", "count");
    bench.ask("b", "grip", { priority: 9, preempt: true });
    bench.pass(60_000);
    bench.die("w3", 1);
    bench.done("w1", 2);
    expect(bench.headersOf("w1").at(-1)?.type).toBe("SAFE");
  });

  test("goes before all that waits", () => {
    bench.ready("w1", tasks);
    bench.ready("w2", tasks);
    for (let count = 0; count < 6; count++) bench.ask(`c${count}`, "count", { priority: 9 });
    bench.ready("w3", [drive]);
    bench.ask("a", "drive", { priority: 0 });
    bench.die("w3", bench.jobsOf("w3")[0] ?? 0);
    bench.pass(60_000);
    bench.done("w2", bench.jobsOf("w2")[0] ?? 0);
    expect(bench.headersOf("w2").at(-1)?.type).toBe("SAFE");
  });

  test("has its time, then its worker is killed and it is tried elsewhere", () => {
    bench.ready("w1", tasks);
    bench.ready("w2", [{ ...drive, onStopMs: 300 }]);
    bench.ask("a", "drive");
    const [first, second] = bench.jobsOf("w1").length > 0 ? (["w1", "w2"] as const) : (["w2", "w1"] as const);
    bench.die(first, 1);
    const limit = onStopMs + abortGraceMs;
    bench.pass(limit - 1);
    expect(bench.kills).toEqual([]);
    bench.pass(1);
    expect(bench.kills).toEqual([Number(second.slice(1))]);
    bench.die(second, 2);
    expect(bench.safings).toEqual(["drive waiting 1 INTERRUPTED"]);
    bench.ready("w3", tasks);
    bench.pass(retryBackoffMs);
    expect(bench.safesOf("w3")).toEqual(["drive"]);
  });

  test("in the job's own worker has its time too, be it that the job threw or was told to end", () => {
    for (const isTold of [true, false]) {
      bench = new SafetyBench();
      bench.handle({ type: "tasks", tasks: [{ ...drive, onStopMs: 3000 }] });
      bench.ready("w1", [{ ...drive, onStopMs: 3000 }]);
      bench.ask("a", "drive", { timeoutMs: 50 });
      if (isTold) bench.pass(50);
      bench.say("w1", { type: "SAFING", job: 1 });
      bench.pass(3000 + abortGraceMs - 1);
      expect(bench.kills).toEqual([]);
      expect(bench.abortsOf("w1")).toEqual(isTold ? ["1: TIMEOUT"] : []);
      bench.pass(1);
      expect(bench.kills).toEqual([1]);
      bench.die("w1", 1);
      expect(bench.ends).toEqual([isTold ? "a: TIMEOUT" : "a: INTERRUPTED"]);
      expect(bench.resources).toEqual(["motors: drive safing"]);
    }
  });

  test("that is announced twice, for another's job or for a task without it, gains no time", () => {
    bench.ready("w1", tasks);
    bench.ask("a", "push");
    bench.cancel("a");
    bench.say("w1", { type: "SAFING", job: 1 });
    bench.say("w1", { type: "SAFING", job: 77 });
    bench.pass(abortGraceMs);
    expect(bench.kills).toEqual([1]);
    bench = new SafetyBench();
    bench.ready("w1", tasks);
    bench.ask("a", "drive");
    bench.say("w1", { type: "SAFING", job: 1 });
    bench.pass(onStopMs);
    bench.say("w1", { type: "SAFING", job: 1 });
    bench.pass(abortGraceMs);
    expect(bench.kills).toEqual([1]);
  });

  test("cannot be cancelled, and goes on in emergency stop and when the engine stops", () => {
    bench.cutOff();
    bench.estop();
    bench.handle({ type: "drain" });
    bench.handle({ type: "abort" });
    expect(bench.abortsOf("w2")).toEqual([]);
    expect(bench.wishes).toEqual(["estop"]);
    bench.made("w2", "safe");
    expect(bench.wishes).toEqual(["estop", "drained"]);
    expect(bench.leftovers).toEqual(nothing);
  });

  test("begins in emergency stop, too", () => {
    bench.ready("w1", tasks);
    bench.ready("w2", tasks);
    bench.ask("a", "drive");
    bench.estop();
    bench.die("w1", 1);
    expect(bench.headersOf("w2").at(-1)).toMatchObject({ type: "SAFE", code: "STOPPED" });
  });

  test("that waits is waited for when the engine stops, as long as somebody could do it", () => {
    bench.ready("w1", [drive]);
    bench.ready("w2", tasks);
    bench.ask("busy", "count");
    bench.ask("a", "drive");
    bench.die("w1", 2);
    bench.handle({ type: "drain" });
    bench.done("w2", 1);
    expect(bench.wishes).toEqual([]);
    bench.made("w2", "unsafe");
    expect(bench.wishes).toEqual([]);
    bench.pass(retryBackoffMs);
    bench.made("w2", "safe");
    expect(bench.wishes).toEqual(["drained"]);
  });

  test("that nobody can do, or that has failed for good, does not keep the engine from its stop", () => {
    bench.ready("w1", [drive]);
    bench.ask("a", "drive");
    bench.die("w1", 1);
    bench.handle({ type: "drain" });
    expect(bench.wishes).toEqual(["drained"]);
    bench = new SafetyBench();
    bench.cutOff();
    bench.failAll("w2");
    bench.handle({ type: "drain" });
    expect(bench.wishes).toEqual(["drained"]);
  });

  test("that its worker gives back holds what it held", () => {
    bench.handle({ type: "tasks", tasks: [drive, push] });
    bench.cutOff();
    bench.ask("b", "push");
    bench.say("w2", { type: "LEAVE" });
    bench.say("w2", { type: "RETURN", jobs: [2] });
    expect(bench.resources).toEqual(["motors: drive safing +1"]);
    bench.ready("w3", tasks);
    expect(bench.safesOf("w3")).toEqual(["drive"]);
    expect(bench.jobsOf("w3")).toEqual([]);
  });

  test("whose worker dies before it has begun holds what it held, and that is no try", () => {
    bench.handle({ type: "tasks", tasks: [drive] });
    bench.cutOff();
    bench.die("w2", 0);
    expect(bench.safings).toEqual(["drive waiting 0 INTERRUPTED"]);
    expect(bench.resources).toEqual(["motors: drive safing"]);
    bench.ready("w3", tasks);
    bench.made("w3", "safe");
    expect(bench.leftovers).toEqual(nothing);
  });

  test("whose worker dies of it is tried again, and given up in the end", () => {
    bench.cutOff();
    for (let pid = 2; pid < 2 + onStopTriesMax; pid++) {
      bench.die(`w${pid}`, 2);
      bench.ready(`w${pid + 1}`, tasks);
      bench.pass(2 * retryBackoffMs);
    }
    expect(bench.safings).toEqual([`drive failed ${onStopTriesMax - 1} INTERRUPTED`]);
    expect(bench.logs.filter((line) => line.startsWith("onStop of drive has failed"))).toHaveLength(1);
  });

  test("says that it has succeeded only if its worker does not name it unsafe in the same breath", () => {
    bench.cutOff();
    const body = Buffer.from('{"data":null,"pack":1}');
    bench.say("w2", { type: "DONE", jobs: [2], ms: [1], unsafe: [2] }, [body]);
    expect(bench.safings).toEqual(["drive waiting 1 INTERRUPTED"]);
  });

  test("does for all jobs that are cut off before it begins", () => {
    const both = [{ name: "blink", onStop: true }];
    for (const key of ["w1", "w2"]) bench.ready(key, both);
    bench.ask("a", "blink");
    bench.ask("b", "blink");
    bench.die("w1", 1);
    bench.die("w2", 2);
    expect(bench.safings).toEqual(["blink waiting 0 INTERRUPTED"]);
    bench.ready("w3", both);
    bench.made("w3", "safe");
    expect(bench.safesOf("w3")).toEqual(["blink"]);
    expect(bench.leftovers).toEqual(nothing);
  });

  test("does not do for one that is cut off after it has begun", () => {
    const both = [{ name: "blink", onStop: true }];
    for (const key of ["w1", "w2", "w3"]) bench.ready(key, both);
    bench.ask("a", "blink");
    bench.ask("b", "blink");
    bench.die("w1", 1);
    expect(bench.safesOf("w3")).toEqual(["blink"]);
    bench.die("w2", 2);
    bench.ask("c", "blink");
    bench.made("w3", "safe");
    expect(bench.safesOf("w3")).toEqual(["blink", "blink"]);
    expect(bench.jobsOf("w3")).toEqual([]);
    bench.made("w3", "safe");
    expect(bench.jobsOf("w3")).toEqual([5]);
  });

  test("of a task keeps jobs of it from being handed over behind one that runs", () => {
    bench.ready("w1", tasks);
    bench.learn("w1", "blink");
    bench.ask("a", "blink");
    bench.ask("b", "blink");
    bench.failUnsafe("w1", 2);
    expect(bench.jobsOf("w1")).toEqual([2]);
    bench.made("w1", "safe");
    expect(bench.jobsOf("w1")).toEqual([2, 3]);
  });
});
