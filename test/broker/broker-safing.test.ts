import { beforeEach, describe, expect, test } from "bun:test";
import { abortGraceMs, beatSilenceMs, killMs, onStopMs, retryBackoffMs, verdictMs } from "../../src/limits.ts";
import { nothing } from "../support/broker-bench.ts";
import { blink, drive, push, SafetyBench, tasks } from "../support/safety-bench.ts";

let bench: SafetyBench;
beforeEach(() => {
  bench = new SafetyBench();
});

describe("what a cut-off job drove is made safe elsewhere", () => {
  test("and only then is what it held free, and a job of its task begins", () => {
    bench.cutOff();
    expect(bench.ends).toEqual(["a: INTERRUPTED"]);
    expect(bench.headersOf("w2").at(-1)).toMatchObject({ type: "SAFE", task: "drive", code: "INTERRUPTED" });
    bench.ready("w3", tasks);
    bench.ask("b", "drive");
    bench.ask("c", "push");
    expect(bench.jobsOf("w3")).toEqual([]);
    expect(bench.resources).toEqual(["motors: drive safing +2"]);
    bench.made("w2", "safe");
    expect([...bench.jobsOf("w2"), ...bench.jobsOf("w3")]).toEqual([3]);
    bench.done("w2", 3);
    bench.done("w2", 4);
    expect(bench.ends.slice(1)).toEqual(["b: ACK", "c: ACK"]);
    expect(bench.leftovers).toEqual(nothing);
  });

  test("though its requestor waits for no more than the job, which is answered at once", () => {
    bench.cutOff();
    expect(bench.ends).toEqual(["a: INTERRUPTED"]);
    expect(bench.safings).toEqual(["drive running 0 INTERRUPTED"]);
  });

  test("for the reason that it was told to end for", () => {
    bench.ready("w1", tasks);
    bench.ready("w2", tasks);
    bench.ask("a", "drive");
    bench.cancel("a");
    bench.pass(abortGraceMs);
    bench.die("w1", 1);
    expect(bench.headersOf("w2").at(-1)).toMatchObject({ type: "SAFE", code: "CANCELLED" });
  });

  test("also where the task has no resources: then none of its jobs begins before", () => {
    bench.cutOff("blink");
    bench.ready("w3", tasks);
    bench.ask("b", "blink");
    bench.ask("c", "count");
    expect(bench.jobsOf("w3")).toEqual([4]);
    bench.done("w3", 4);
    expect(bench.jobsOf("w3")).toEqual([4]);
    bench.made("w2", "safe");
    expect([...bench.jobsOf("w2"), ...bench.jobsOf("w3")].sort()).toEqual([3, 4]);
  });

  test("not where the job had provably not begun", () => {
    bench.handle({ type: "tasks", tasks: [drive] });
    bench.ready("w1", tasks);
    bench.ask("a", "drive");
    bench.die("w1", 0);
    expect(bench.safings).toEqual([]);
    bench.ready("w2", tasks);
    expect(bench.jobsOf("w2")).toEqual([1]);
  });

  test("not where the job has let go by itself, or its worker has made it safe", () => {
    bench.ready("w1", tasks);
    bench.ask("a", "drive");
    bench.fail("w1", 1);
    bench.ask("b", "drive");
    bench.cancel("b");
    bench.say("w1", { type: "SAFING", job: 2 });
    bench.fail("w1", 2);
    expect(bench.leftovers).toEqual(nothing);
    expect(bench.safesOf("w1")).toEqual([]);
  });

  test("where its worker says that it could not", () => {
    bench.ready("w1", tasks);
    bench.ask("a", "drive");
    bench.failUnsafe("w1", 1);
    expect(bench.ends).toEqual(["a: TASK_ERROR"]);
    expect(bench.safesOf("w1")).toEqual(["drive"]);
    bench.made("w1", "safe");
    expect(bench.leftovers).toEqual(nothing);
  });

  test("before it is tried again, where it may run twice", () => {
    const twice = [{ ...drive, idempotent: true }];
    bench.ready("w1", twice);
    bench.ready("w2", twice);
    bench.ask("a", "drive");
    bench.die("w1", 1);
    bench.pass(1000);
    expect(bench.jobsOf("w2")).toEqual([]);
    bench.made("w2", "safe");
    expect(bench.jobsOf("w2")).toEqual([1]);
    bench.done("w2", 1);
    expect(bench.ends).toEqual(["a: ACK"]);
    expect(bench.leftovers).toEqual(nothing);
  });

  test("where a worker that nobody can kill is lost or does not let go; what it holds is held beside that", () => {
    bench.ready("f1", [drive], { supervised: false });
    bench.ready("w2", tasks);
    bench.ask("a", "drive");
    bench.cancel("a");
    bench.pass(abortGraceMs);
    expect(bench.safesOf("w2")).toEqual(["drive"]);
    bench.made("w2", "safe");
    bench.ask("b", "push");
    expect(bench.jobsOf("w2")).toEqual([]);
    bench.done("f1", 1);
    expect(bench.jobsOf("w2")).toEqual([3]);
  });
});

test("a worker that nobody can kill keeps what it holds while its own onStop does not end", () => {
  bench.ready("f1", [drive], { supervised: false });
  bench.ready("w2", [push, drive]);
  bench.ask("a", "drive");
  bench.say("f1", { type: "SAFING", job: 1 });
  bench.passWith(["f1", "w2"], onStopMs + abortGraceMs);
  expect(bench.ends).toEqual(["a: INTERRUPTED"]);
  bench.made("w2", "safe");
  bench.ask("b", "push");
  bench.passWith(["f1", "w2"], 10 * beatSilenceMs);
  expect(bench.jobsOf("w2")).toEqual([]);
  bench.done("f1", 1);
  expect(bench.jobsOf("w2")).toEqual([3]);
});

test("a killed worker's job is made safe also where its end is never told", () => {
  bench.ready("w1", [drive]);
  bench.ready("w2", tasks);
  bench.ask("a", "drive");
  bench.cancel("a");
  bench.passWith(["w2"], abortGraceMs + killMs + verdictMs);
  expect(bench.ends).toEqual(["a: CANCELLED"]);
  expect(bench.safesOf("w2")).toEqual(["drive"]);
});

describe("a run of onStop that nobody can kill and that does not end", () => {
  /** It is tried elsewhere with success, and another job of the task is asked for. */
  const giveUp = (task: typeof drive | typeof blink = drive): void => {
    bench.ready("w1", [task]);
    bench.ask("a", task.name);
    bench.ready("f2", [task], { supervised: false });
    bench.die("w1", 1);
    bench.passWith(["f2"], onStopMs + abortGraceMs + retryBackoffMs);
    bench.ready("w3", tasks);
    bench.made("w3", "safe");
    bench.ask("b", task.name);
  };

  test("keeps what it holds though another has succeeded: it may still come, and no job may run then", () => {
    giveUp();
    expect(bench.resources).toEqual(["motors: drive safing +1"]);
    expect(bench.jobsOf("w3")).toEqual([]);
    expect(bench.status.locks).toMatchObject([{ task: "drive", resources: ["motors"] }]);
    bench.done("f2", 2);
    expect(bench.jobsOf("f2")).toEqual([3]);
  });

  test("keeps jobs of its task from beginning where there is no resource to be held", () => {
    giveUp(blink);
    expect(bench.jobsOf("w3")).toEqual([]);
    bench.done("f2", 2);
    expect(bench.jobsOf("f2")).toEqual([3]);
  });

  test("is followed by another if it fails late", () => {
    giveUp();
    bench.fail("f2", 2);
    expect(bench.safings).toEqual(["drive running 0 TASK_ERROR"]);
  });

  test("keeps it for as long as a worker that is lost may go on, and is followed by another then", () => {
    giveUp();
    bench.handle({ type: "disconnected", key: "f2" });
    bench.made("w3", "safe");
    expect(bench.jobsOf("w3")).toEqual([]);
    bench.passWith(["w3"], beatSilenceMs + onStopMs + abortGraceMs);
    expect(bench.safings).toEqual(["drive running 0 INTERRUPTED"]);
    bench.made("w3", "safe");
    expect(bench.jobsOf("w3")).toHaveLength(1);
  });
});

test("a run of onStop that nobody can kill and that does not end is tried elsewhere", () => {
  bench.ready("w1", [drive]);
  bench.ask("a", "drive");
  bench.ready("f2", [drive], { supervised: false });
  bench.die("w1", 1);
  bench.passWith(["f2"], onStopMs + abortGraceMs + retryBackoffMs);
  bench.ready("w3", tasks);
  expect(bench.safesOf("w3")).toEqual(["drive"]);
  bench.done("f2", 2);
  expect(bench.safings).toEqual(["drive running 1 INTERRUPTED"]);
  bench.made("w3", "safe");
  expect(bench.leftovers).toEqual(nothing);
});

test("a safe stop that is pending holds also what a job of other resources held, whose safe stop it is too", () => {
  const moved = { name: "drive", onStop: true, resources: ["arm"] };
  bench.handle({ type: "tasks", tasks: [drive] });
  bench.ready("w1", [drive]);
  bench.ready("w2", [drive]);
  bench.ask("a", "drive");
  bench.handle({ type: "tasks", tasks: [moved] });
  bench.ask("b", "drive");
  expect(bench.resources).toEqual(["arm: drive held", "motors: drive held"]);
  bench.die("w1", 1);
  bench.die("w2", 2);
  expect(bench.safings).toEqual(["drive waiting 0 INTERRUPTED"]);
  expect(bench.resources).toEqual(["arm: drive safing", "motors: drive safing"]);
  bench.ready("w3", [moved]);
  bench.made("w3", "safe");
  expect(bench.leftovers).toEqual(nothing);
});
