import { beforeEach, describe, expect, test } from "bun:test";
import { abortGraceMs, killMs, verdictMs, workerCreditMax } from "../../src/limits.ts";
import { BrokerBench } from "../support/broker-bench.ts";

let bench: BrokerBench;
beforeEach(() => {
  bench = new BrokerBench();
});

describe("a job ends as", () => {
  test("done, and its result goes to who asked under the serial of the question", () => {
    bench.ready("w1", ["count"]);
    bench.ask("a", "count", {}, "one");
    bench.ask("a", "count", {}, "two");
    bench.done("w1", 1);
    bench.done("w1", 2);
    expect(bench.answers).toMatchObject([
      { to: "one", reply: { kind: "ack", meta: { id: "TASK-1", serial: "a" }, data: "result 1" } },
      { to: "two", reply: { kind: "ack", meta: { id: "TASK-1", serial: "a" }, data: "result 2" } },
    ]);
  });

  test("done, which a v0.1 requestor is told without the result", () => {
    bench.ready("w1", ["count"]);
    bench.askOld("TASK_count");
    bench.done("w1", 1);
    expect(bench.answers).toMatchObject([
      { to: "old", reply: { kind: "ack", meta: { version: 0.1 }, data: undefined } },
    ]);
  });

  test("the error of the task", () => {
    bench.ready("w1", ["count"]);
    bench.ask("a", "count");
    bench.fail("w1", 1, "BAD_ARGS");
    expect(bench.ends).toEqual(["a: BAD_ARGS"]);
  });

  test("TASK_ERROR where the worker's error is none, and the router lives on", () => {
    bench.ready("w1", ["count"]);
    for (const [index, body] of ["garbage", "[]", '{"data":{"code":"MADE_UP","message":"m"},"pack":1}'].entries()) {
      bench.ask(`s${index}`, "count");
      bench.say("w1", { type: "FAIL", jobs: [index + 1], ms: [1] }, [Buffer.from(body)]);
    }
    expect(bench.ends).toEqual(["s0: TASK_ERROR", "s1: TASK_ERROR", "s2: TASK_ERROR"]);
    expect(bench.status.jobs?.failed).toEqual({ TASK_ERROR: 3 });
  });

  test("EXPIRED while it waits, at its time and without a worker", () => {
    bench.handle({ type: "tasks", tasks: [{ name: "drive", ttlMs: 500 }] });
    bench.ask("policy", "drive");
    bench.ask("tighter", "drive", { ttlMs: 100 });
    bench.ask("looser", "drive", { ttlMs: 9000 });
    bench.pass(100);
    expect(bench.ends).toEqual(["tighter: EXPIRED"]);
    bench.pass(400);
    expect(bench.ends.slice(1).sort()).toEqual(["looser: EXPIRED", "policy: EXPIRED"]);
    bench.ready("w1", ["drive"]);
    expect(bench.jobsOf("w1")).toEqual([]);
  });

  test("EXPIRED where its worker says so, which is told how much time it has", () => {
    bench.ready("w1", ["count"]);
    bench.learn("w1", "count");
    bench.ask("head", "count");
    bench.ask("a", "count", { ttlMs: 50 });
    expect(bench.headersOf("w1").at(-1)).toMatchObject({ type: "JOBS", jobs: [3], ttlMs: [50] });
    bench.fail("w1", 3, "EXPIRED");
    expect(bench.ends).toEqual(["a: EXPIRED"]);
  });

  test("EXPIRED where it is given back too late", () => {
    bench.ready("w1", ["count"]);
    bench.ask("a", "count", { ttlMs: 50 });
    bench.pass(60);
    expect(bench.ends).toEqual([]);
    bench.say("w1", { type: "RETURN", jobs: [1] });
    expect(bench.ends).toEqual(["a: EXPIRED"]);
  });

  test("TIMEOUT: abort signal at the limit, kill after the grace time, answer at the death", () => {
    bench.ready("w1", [{ name: "spin", timeoutMs: 300, graceMs: 100 }]);
    bench.ask("a", "spin", { timeoutMs: 200 });
    bench.pass(199);
    expect(bench.headersOf("w1").at(-1)?.type).toBe("JOBS");
    bench.pass(1);
    expect(bench.headersOf("w1").at(-1)).toMatchObject({ type: "ABORT", job: 1, code: "TIMEOUT" });
    bench.pass(99);
    expect(bench.kills).toEqual([]);
    bench.pass(1);
    expect(bench.kills).toEqual([1]);
    bench.handle({ type: "gone", pid: 1, begun: 1 });
    bench.handle({ type: "disconnected", key: "w1" });
    expect(bench.ends).toEqual(["a: TIMEOUT"]);
  });

  test("TIMEOUT without a kill where the task lets go in time, whatever it then answers", () => {
    bench.ready("w1", [{ name: "spin", timeoutMs: 300 }]);
    bench.ask("a", "spin");
    bench.pass(300 + abortGraceMs - 1);
    bench.done("w1", 1);
    bench.pass(abortGraceMs);
    expect(bench.ends).toEqual(["a: TIMEOUT"]);
    expect(bench.kills).toEqual([]);
  });

  test("TIMEOUT also where the supervisor cannot kill its worker", () => {
    bench.ready("w1", [{ name: "spin", timeoutMs: 300 }]);
    bench.ask("a", "spin");
    bench.pass(300 + abortGraceMs + killMs + verdictMs);
    expect(bench.ends).toEqual(["a: TIMEOUT"]);
  });

  test("TIMEOUT where nobody can kill its worker, which gets no other job until it lets go", () => {
    bench.ready("w1", ["count"], { supervised: false });
    bench.learn("w1", "count");
    bench.ask("a", "count", { timeoutMs: 10 });
    bench.ask("b", "count");
    bench.pass(10 + abortGraceMs);
    expect(bench.ends).toEqual(["a: TIMEOUT", "b: INTERRUPTED"]);
    expect(bench.logs).toHaveLength(1);
    bench.ask("c", "count");
    expect(bench.jobsOf("w1")).toEqual([2, 3]);
    bench.done("w1", 2);
    expect(bench.jobsOf("w1")).toEqual([2, 3, 4]);
    bench.done("w1", 4);
    expect(bench.ends.at(-1)).toBe("c: ACK");
  });

  test("CANCELLED while it waits, at once", () => {
    bench.ready("w1", ["count"]);
    bench.ask("a", "count");
    bench.ask("b", "count");
    bench.cancel("b");
    expect(bench.ends).toEqual(["b: CANCELLED"]);
    bench.done("w1", 1);
    expect(bench.jobsOf("w1")).toEqual([1]);
  });

  test("CANCELLED while it runs, when its worker has let go; one that does not is killed", () => {
    bench.ready("w1", ["count"]);
    bench.ask("a", "count");
    bench.cancel("a");
    bench.cancel("a");
    expect(bench.headersOf("w1").filter(({ type }) => type === "ABORT")).toHaveLength(1);
    bench.fail("w1", 1);
    expect(bench.ends).toEqual(["a: CANCELLED"]);
    bench.ask("b", "count");
    bench.cancel("b");
    bench.pass(abortGraceMs);
    expect(bench.kills).toEqual([1]);
  });

  test("CANCELLED behind another in its worker: the grace time begins when it would run", () => {
    bench.ready("w1", ["count"]);
    bench.learn("w1", "count");
    bench.ask("a", "count");
    bench.ask("b", "count");
    bench.cancel("b");
    bench.pass(10 * abortGraceMs);
    expect(bench.kills).toEqual([]);
    bench.done("w1", 2);
    bench.pass(abortGraceMs);
    expect(bench.kills).toEqual([1]);
  });

  test("CANCELLED by an operator, of whoever asked under that serial", () => {
    bench.handle({ type: "tasks", tasks: [{ name: "count" }] });
    bench.ask("a", "count", {}, "one");
    bench.ask("a", "count", {}, "two");
    bench.control({ command: "cancel", serial: "a" });
    expect(bench.ends).toEqual(["a: CANCELLED", "a: CANCELLED", "cancel: ACK"]);
    expect(bench.answers.at(-1)?.reply).toMatchObject({ data: { cancelled: 2 } });
  });

  test("INTERRUPTED where its worker died while it may have been running; what had not begun goes to its place", () => {
    bench.ready("w1", ["count"]);
    bench.learn("w1", "count");
    for (const serial of ["a", "b", "c"]) bench.ask(serial, "count");
    for (let count = 0; count < workerCreditMax; count++) bench.ask(`d${count}`, "count");
    bench.handle({ type: "disconnected", key: "w1" });
    bench.handle({ type: "gone", pid: 1, begun: 3 });
    expect(bench.ends).toEqual(["a: INTERRUPTED", "b: INTERRUPTED"]);
    bench.ready("w2", ["count"]);
    bench.done("w2", 4);
    bench.done("w2", 5);
    expect(bench.ends.slice(2)).toEqual(["c: ACK", "d0: ACK"]);
  });

  test("INTERRUPTED, all that an unsupervised worker held, when its connection is gone", () => {
    bench.ready("w1", ["count"], { supervised: false });
    bench.learn("w1", "count");
    bench.ask("a", "count");
    bench.ask("b", "count");
    bench.handle({ type: "disconnected", key: "w1" });
    expect(bench.ends).toEqual(["a: INTERRUPTED", "b: INTERRUPTED"]);
  });

  test("POISONOUS when it has killed three workers", () => {
    const tasks = [{ name: "bad", idempotent: { tries: 10, backoffMs: 100 } }];
    for (let pid = 1; pid <= 3; pid++) {
      bench.ready(`w${pid}`, tasks);
      if (pid === 1) bench.ask("a", "bad");
      bench.pass(400);
      bench.handle({ type: "gone", pid, begun: 1 });
      bench.handle({ type: "disconnected", key: `w${pid}` });
    }
    expect(bench.ends).toEqual(["a: POISONOUS"]);
  });

  test("SHUTTING_DOWN where it had not begun when the engine stopped; what runs may end", () => {
    bench.ready("w1", ["count"]);
    bench.ask("a", "count");
    bench.ask("b", "count");
    bench.handle({ type: "drain" });
    bench.ask("c", "count");
    expect(bench.ends).toEqual(["b: SHUTTING_DOWN", "c: SHUTTING_DOWN"]);
    expect(bench.wishes).toEqual([]);
    bench.done("w1", 1);
    expect(bench.ends.at(-1)).toBe("a: ACK");
    expect(bench.wishes).toEqual(["drained"]);
  });

  test("SHUTTING_DOWN where it still runs when the grace time is over, after its abort signal", () => {
    bench.ready("w1", ["count"]);
    bench.ask("a", "count");
    bench.handle({ type: "drain" });
    bench.handle({ type: "abort" });
    expect(bench.headersOf("w1").at(-1)).toMatchObject({ type: "ABORT", job: 1, code: "SHUTTING_DOWN" });
    bench.fail("w1", 1);
    expect(bench.ends).toEqual(["a: SHUTTING_DOWN"]);
    expect(bench.wishes).toEqual(["drained"]);
  });

  test("UNKNOWN_TASK where it waits for a task that a reload has taken away", () => {
    bench.handle({ type: "tasks", tasks: [{ name: "old" }] });
    bench.ask("a", "old");
    bench.handle({ type: "tasks", tasks: [{ name: "new" }] });
    expect(bench.ends).toEqual(["a: UNKNOWN_TASK"]);
  });
});
