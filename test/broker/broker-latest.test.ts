import { beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { LatestJobs } from "../../src/broker/queue.ts";
import { queueJobsMax } from "../../src/limits.ts";
import { BrokerBench, nothing } from "../support/broker-bench.ts";
import { makeJob } from "../support/job.ts";

setDefaultTimeout(60_000); // a busy machine computes slowly

let bench: BrokerBench;
beforeEach(() => {
  bench = new BrokerBench();
  bench.handle({ type: "tasks", tasks: [{ name: "speed" }, { name: "turn" }] });
});

const latest = { latest: "left" } as const;
const abort = { latest: { key: "left", abort: true } };

describe("a newer command", () => {
  test("takes the place of one that waits, which ends as SUPERSEDED", () => {
    bench.ask("a", "speed", latest);
    bench.ask("other", "speed");
    bench.ask("b", "speed", latest);
    bench.ask("c", "speed", latest);
    expect(bench.ends).toEqual(["a: SUPERSEDED", "b: SUPERSEDED"]);
    bench.ready("w1", ["speed"]);
    bench.done("w1", 4);
    bench.done("w1", 2);
    expect(bench.ends.slice(2)).toEqual(["c: ACK", "other: ACK"]);
    expect(bench.leftovers).toEqual(nothing);
  });

  test("keeps to its own place where its priority is another", () => {
    bench.ask("a", "speed", latest);
    bench.ask("other", "speed");
    bench.ask("b", "speed", { ...latest, priority: 4 });
    bench.ready("w1", ["speed"]);
    bench.done("w1", 2);
    expect(bench.ends).toEqual(["a: SUPERSEDED", "other: ACK"]);
    expect(bench.jobsOf("w1")).toEqual([2, 3]);
  });

  test("replaces only those of its own task and key", () => {
    bench.ask("a", "speed", latest);
    bench.ask("b", "turn", latest);
    bench.ask("c", "speed", { latest: "right" });
    bench.ask("d", "speed");
    expect(bench.ends).toEqual([]);
    bench.ask("e", "speed", { latest: { key: "left" } });
    expect(bench.ends).toEqual(["a: SUPERSEDED"]);
  });

  test("replaces that of another requestor, too", () => {
    bench.ask("a", "speed", latest, "one");
    bench.ask("a", "speed", latest, "two");
    expect(bench.answers).toMatchObject([{ to: "one", reply: { kind: "error", error: { code: "SUPERSEDED" } } }]);
  });

  test("has its own limits, and not those of the one that it replaces", () => {
    bench.ask("a", "speed", { ...latest, ttlMs: 100 });
    bench.pass(50);
    bench.ask("b", "speed", { ...latest, ttlMs: 100 });
    bench.pass(99);
    expect(bench.ends).toEqual(["a: SUPERSEDED"]);
    bench.pass(1);
    expect(bench.ends).toEqual(["a: SUPERSEDED", "b: EXPIRED"]);
  });

  test("leaves one that runs alone, and waits behind it", () => {
    bench.ready("w1", ["speed"]);
    bench.ask("a", "speed", latest);
    bench.ask("b", "speed", latest);
    bench.ask("c", "speed", latest);
    expect(bench.abortsOf("w1")).toEqual([]);
    expect(bench.ends).toEqual(["b: SUPERSEDED"]);
    bench.done("w1", 1);
    bench.done("w1", 3);
    expect(bench.ends).toEqual(["b: SUPERSEDED", "a: ACK", "c: ACK"]);
  });

  test("ends one that runs where it asks for that", () => {
    bench.ready("w1", ["speed"]);
    bench.ask("a", "speed", latest);
    bench.ask("b", "speed", abort);
    expect(bench.abortsOf("w1")).toEqual(["1: SUPERSEDED"]);
    bench.done("w1", 1);
    bench.done("w1", 2);
    expect(bench.ends).toEqual(["a: SUPERSEDED", "b: ACK"]);
  });

  test("ends the one that runs also where another waits in between", () => {
    bench.ready("w1", ["speed"]);
    bench.ask("a", "speed", latest);
    bench.ask("b", "speed", latest);
    bench.ask("c", "speed", abort);
    expect(bench.ends).toEqual(["b: SUPERSEDED"]);
    expect(bench.abortsOf("w1")).toEqual(["1: SUPERSEDED"]);
  });

  test("ends all that run, wherever they do", () => {
    for (const key of ["w1", "w2", "w3"]) bench.ready(key, ["speed"]);
    bench.ask("a", "speed", latest);
    bench.ask("b", "speed", latest);
    bench.ask("c", "speed", abort);
    expect([...bench.abortsOf("w1"), ...bench.abortsOf("w2")]).toEqual(["1: SUPERSEDED", "2: SUPERSEDED"]);
    expect(bench.jobsOf("w3")).toEqual([3]);
  });

  test("comes in where the queue is full but for the one that it replaces", () => {
    bench.handle({ type: "tasks", tasks: [{ name: "speed" }, { name: "turn" }] });
    bench.ask("a", "speed", latest);
    for (let count = 1; count < queueJobsMax; count++) bench.ask(`s${count}`, "turn", {}, count % 2 ? "one" : "two");
    bench.ask("full", "speed", { latest: "right" });
    bench.ask("b", "speed", latest);
    expect(bench.ends).toEqual(["full: QUEUE_FULL", "a: SUPERSEDED"]);
    bench.ask("batch", "turn");
    expect(bench.ends.at(-1)).toBe("batch: QUEUE_FULL");
  });

  test("that is refused replaces nothing", () => {
    bench.ask("a", "speed", latest);
    bench.ask("a", "speed", latest);
    expect(bench.ends).toEqual(["a: BAD_FRAME"]);
    expect(bench.status.jobs?.waiting).toBe(1);
    bench.estop();
    bench.reset();
    bench.ask("b", "speed", latest);
    expect(bench.ends.slice(1)).toEqual(["estop: ACK", "a: STOPPED", "reset: ACK"]);
  });

  test("of one batch is its last; a batch's replaced part is answered in the batch", () => {
    bench.ready("w1", ["turn"]);
    bench.ask("before", "speed", latest);
    bench.batch("batch", ["speed", "speed", "speed"], latest);
    expect(bench.ends).toEqual(["before: SUPERSEDED"]);
    bench.ready("w2", ["speed"]);
    bench.done("w2", 4);
    expect(bench.answers.at(-1)?.reply).toMatchObject({
      kind: "batch",
      parts: [{ error: { code: "SUPERSEDED" } }, { error: { code: "SUPERSEDED" } }, { data: "result 4" }],
    });
  });

  test("has a place of its own where the one before has ended", () => {
    bench.ask("a", "speed", latest);
    bench.cancel("a");
    bench.ask("other", "speed");
    bench.ask("b", "speed", latest);
    bench.ready("w1", ["speed"]);
    bench.done("w1", 2);
    expect(bench.ends).toEqual(["a: CANCELLED", "other: ACK"]);
  });

  test("takes the place of one that waits for its next try, and begins at once", () => {
    bench.ready("w1", [{ name: "speed", idempotent: { onError: true, backoffMs: 1000 } }]);
    bench.ask("a", "speed", latest);
    bench.fail("w1", 1);
    bench.ask("b", "speed", latest);
    expect(bench.ends).toEqual(["a: SUPERSEDED"]);
    bench.done("w1", 2);
    bench.pass(10_000);
    expect(bench.jobsOf("w1")).toEqual([1, 2]);
  });
});

describe("an older command that a newer one has come after while it ran", () => {
  const twice = [{ name: "speed", idempotent: { onError: true, backoffMs: 1000 } }];

  test("is not tried again, be it that the newer one waits, runs or has ended", () => {
    bench.ready("w1", twice);
    bench.ready("w2", twice);
    bench.ask("a", "speed", latest);
    bench.ask("b", "speed", latest);
    bench.done("w2", 2);
    bench.fail("w1", 1);
    bench.pass(10_000);
    expect(bench.ends).toEqual(["b: ACK", "a: TASK_ERROR"]);
    bench.ready("w3", twice);
    bench.ask("c", "speed", latest);
    bench.ask("d", "speed", latest);
    bench.die("w3", 3);
    bench.pass(10_000);
    expect(bench.ends.slice(2)).toEqual(["c: INTERRUPTED"]);
  });

  test("does not begin again after it, where its worker gives it back", () => {
    bench.ready("w1", ["speed"]);
    bench.ask("a", "speed", latest);
    bench.ask("b", "speed", latest);
    bench.say("w1", { type: "LEAVE" });
    bench.say("w1", { type: "RETURN", jobs: [1] });
    expect(bench.ends).toEqual(["a: SUPERSEDED"]);
    bench.ready("w2", ["speed"]);
    expect(bench.jobsOf("w2")).toEqual([2]);
  });
});

test("of jobs that have ended nothing is kept, whichever ends first", () => {
  const kept = new LatestJobs();
  const [a, b, c] = [1, 2, 3].map(() => makeJob({ options: latest })) as [
    ReturnType<typeof makeJob>,
    ReturnType<typeof makeJob>,
    ReturnType<typeof makeJob>,
  ];
  for (const job of [a, b, makeJob()]) kept.add(job);
  expect(kept.olderThan(c)).toEqual([a, b]);
  kept.delete(b);
  expect(kept.olderThan(c)).toEqual([a]);
  kept.delete(a);
  kept.delete(a);
  kept.delete(makeJob());
  expect(kept.olderThan(c)).toEqual([]);
});
