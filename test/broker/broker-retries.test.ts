import { beforeEach, describe, expect, test } from "bun:test";
import { retryBackoffMs } from "../../src/limits.ts";
import { BrokerBench } from "../support/broker-bench.ts";

let bench: BrokerBench;
beforeEach(() => {
  bench = new BrokerBench();
});

describe("a job is tried again", () => {
  const tasks = [{ name: "read", timeoutMs: 1000, idempotent: { tries: 3, backoffMs: 100, onError: true } }];

  test("after its worker's death, with a longer wait each time, and as often as its task says", () => {
    bench.ready("w1", [{ name: "read", idempotent: true }]);
    bench.ready("w2", [{ name: "read", idempotent: true }]);
    bench.ask("a", "read");
    bench.handle({ type: "disconnected", key: "w1" });
    bench.handle({ type: "gone", pid: 1, begun: 1 });
    bench.pass(retryBackoffMs / 2 - 1);
    expect(bench.jobsOf("w2")).toEqual([]);
    bench.pass(1);
    expect(bench.jobsOf("w2")).toEqual([1]);
    bench.ready("w3", [{ name: "read", idempotent: true }]);
    bench.handle({ type: "disconnected", key: "w2" });
    bench.handle({ type: "gone", pid: 2, begun: 1 });
    bench.pass(retryBackoffMs - 1);
    expect(bench.jobsOf("w3")).toEqual([]);
    bench.pass(1);
    bench.done("w3", 1);
    expect(bench.ends).toEqual(["a: ACK"]);
  });

  test("with the whole of its timeoutMs, whenever the worker before was lost", () => {
    bench.ready("w1", tasks);
    bench.ready("w2", tasks);
    bench.ask("a", "read");
    bench.pass(900);
    bench.die("w1", 1);
    bench.pass(500);
    expect(bench.jobsOf("w2")).toEqual([1]);
    expect(bench.abortsOf("w2")).toEqual([]);
    bench.pass(500);
    expect(bench.abortsOf("w2")).toEqual([]);
    bench.pass(100);
    expect(bench.abortsOf("w2")).toEqual(["1: TIMEOUT"]);
  });

  test("after an error of the task where that is declared, and its last error is the answer", () => {
    bench.ready("w1", tasks);
    bench.ask("a", "read");
    for (const _ of [1, 2, 3]) {
      bench.pass(500);
      bench.fail("w1", 1);
    }
    expect(bench.jobsOf("w1")).toEqual([1, 1, 1]);
    expect(bench.ends).toEqual(["a: TASK_ERROR"]);
  });

  test("not after an error that would be the same the next time", () => {
    bench.ready("w1", tasks);
    bench.ask("a", "read");
    bench.fail("w1", 1, "BAD_ARGS");
    expect(bench.ends).toEqual(["a: BAD_ARGS"]);
  });

  test("by the same worker with its limits counted anew", () => {
    bench.ready("w1", tasks);
    bench.ask("a", "read");
    bench.pass(900);
    bench.fail("w1", 1);
    bench.pass(50);
    bench.pass(999);
    expect(bench.headersOf("w1").some(({ type }) => type === "ABORT")).toBe(false);
    bench.pass(1);
    expect(bench.headersOf("w1").at(-1)).toMatchObject({ type: "ABORT", code: "TIMEOUT" });
  });

  test("not when it was cancelled, expires first, or the engine stops", () => {
    bench.ready("w1", tasks);
    bench.ask("cancelled", "read");
    bench.fail("w1", 1);
    bench.cancel("cancelled");
    bench.ask("expires", "read", { ttlMs: 20 });
    bench.fail("w1", 2);
    bench.pass(20);
    bench.ask("parked", "read");
    bench.fail("w1", 3);
    bench.ask("running", "read");
    bench.handle({ type: "drain" });
    expect(bench.wishes).toEqual([]);
    bench.fail("w1", 4);
    bench.pass(10_000);
    expect(bench.ends).toEqual([
      "cancelled: CANCELLED",
      "expires: EXPIRED",
      "parked: SHUTTING_DOWN",
      "running: TASK_ERROR",
    ]);
    expect(bench.jobsOf("w1")).toEqual([1, 2, 3, 4]);
    expect(bench.wishes).toEqual(["drained"]);
  });

  test("and what waits for its next try counts as waiting", () => {
    bench.ready("w1", tasks);
    bench.ask("a", "read");
    bench.fail("w1", 1);
    expect(bench.status.queue).toMatchObject({ jobs: 1 });
  });
});
