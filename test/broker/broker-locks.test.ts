/** What stays locked until a person has looked, and how that is said and ended. */
import { beforeEach, describe, expect, test } from "bun:test";
import { abortGraceMs, beatSilenceMs } from "../../src/limits.ts";
import { nothing } from "../support/broker-bench.ts";
import { push, SafetyBench } from "../support/safety-bench.ts";

const hang = { name: "hang", resources: ["motors"], onStop: true };

let bench: SafetyBench;
beforeEach(() => {
  bench = new SafetyBench();
  bench.handle({ type: "tasks", tasks: [push, { name: "count" }] });
  bench.ready("w1", [push, "count"]);
  bench.ready("f7", [hang], { supervised: false });
});

const lastError = () => {
  const reply = bench.answers.at(-1)?.reply;
  return reply?.kind === "error" ? `${reply.error.code}: ${reply.error.message}` : reply?.kind;
};
const locks = (): unknown => bench.status.locks;

/** It runs beyond all its limits in a worker that nobody here can kill. */
const overrun = (): void => {
  bench.ask("a", "hang", { timeoutMs: 50 });
  bench.pass(50 + abortGraceMs);
  expect(bench.ends).toEqual(["a: TIMEOUT"]);
};

describe("a job of a worker from outside that overran, and whose worker is gone,", () => {
  const why = "onStop of hang is to be run, after TIMEOUT (it ran longer than 50 ms), and no worker serves it any more";
  const remedy = "start one, or look whether all is safe and run task-engine reset";

  beforeEach(() => {
    overrun();
    bench.handle({ type: "disconnected", key: "f7" });
  });

  test("locks what it held: status says since when, why and what to do, and whoever needs it is told at once", () => {
    expect(locks()).toEqual([{ resources: ["motors"], task: "hang", since: expect.any(Number), why, remedy }]);
    expect(bench.resources).toEqual(["motors: hang unsafe"]);
    bench.ask("b", "push");
    expect(lastError()).toBe(`UNAVAILABLE: resource motors is locked: ${why}; ${remedy}`);
    bench.ask("c", "push", { preempt: true, priority: 9, ttlMs: 10, latest: "x" });
    expect(lastError()).toStartWith("UNAVAILABLE: resource motors is locked: ");
    bench.passWith(["w1"], 10 * beatSilenceMs);
    bench.ask("d", "push");
    expect(lastError()).toStartWith("UNAVAILABLE: resource motors is locked: ");
    bench.ask("e", "count");
    expect(bench.jobsOf("w1")).toHaveLength(1);
  });

  test.each([0, 60_000])("is freed by a reset, %i ms later, for good", (ms) => {
    bench.passWith(["w1"], ms);
    bench.reset();
    expect(bench.resources).toEqual([]);
    bench.ask("b", "push");
    bench.done("w1", bench.jobsOf("w1").at(-1) ?? 0);
    expect(bench.ends.at(-1)).toBe("b: ACK");
    // What was to be free by itself must not lock it again.
    bench.passWith(["w1"], 10 * beatSilenceMs);
    expect(bench.leftovers).toEqual(nothing);
    expect(locks()).toEqual([]);
    bench.ready("f8", [hang], { supervised: false });
    bench.ask("c", "hang");
    expect(bench.jobsOf("f8")).toHaveLength(1);
  });

  test("is made safe by one that comes to serve it, without a reset", () => {
    bench.ready("f8", [hang], { supervised: false });
    expect(bench.safesOf("f8")).toEqual(["hang"]);
    bench.made("f8", "safe");
    bench.passWith(["w1", "f8"], beatSilenceMs + abortGraceMs);
    // What the lost one may have driven on until now.
    expect(bench.safesOf("f8")).toEqual(["hang", "hang"]);
    bench.made("f8", "safe");
    expect(bench.leftovers).toEqual(nothing);
  });
});

test("a worker that is there and does not let go keeps what it holds, whatever is reset; who waits is told so when its time is over", () => {
  overrun();
  bench.reset();
  expect(locks()).toMatchObject([
    {
      resources: ["motors"],
      why: "worker TASK-7 does not let go of hang (hang did not let go after TIMEOUT)",
      remedy: "end it where it runs, then run task-engine reset",
    },
  ]);
  bench.ask("b", "push", { ttlMs: 100 });
  bench.ask("c", "push");
  bench.pass(100);
  const locked =
    "resource motors is locked: worker TASK-7 does not let go of hang (hang did not let go after TIMEOUT); end it where it runs, then run task-engine reset";
  expect(lastError()).toBe(`EXPIRED: it was not started within its ttlMs: ${locked}`);
  bench.cancel("c");
  expect(lastError()).toBe(`CANCELLED: its requestor cancelled it before it had begun: ${locked}`);
});

test("what waits for a job that simply runs is told who holds what it needs", () => {
  bench.ask("a", "hang");
  bench.ask("b", "push", { ttlMs: 100 });
  bench.pass(100);
  expect(lastError()).toBe("EXPIRED: it was not started within its ttlMs: motors is held by hang");
  bench.cancel("a");
  bench.fail("f7", 1);
  expect(lastError()).toBe("CANCELLED: its requestor cancelled it");
});

test("an own task's onStop waits for the workers that are being started, and that is no lock", () => {
  bench.handle({ type: "tasks", tasks: [hang, push] });
  bench.ready("w2", [hang]);
  bench.ask("a", "hang");
  bench.die(bench.jobsOf("w2").length > 0 ? "w2" : "f7", 1);
  bench.handle({ type: "disconnected", key: "f7" });
  if (bench.jobsOf("w2").length === 0) bench.die("w2", 0);
  bench.ask("b", "push");
  expect(locks()).toEqual([]);
  bench.reset();
  expect(bench.safings).toHaveLength(1);
  bench.ready("w3", [hang]);
  expect(bench.safesOf("w3")).toEqual(["hang"]);
});
