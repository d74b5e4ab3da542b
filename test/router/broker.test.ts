import { beforeEach, describe, expect, test } from "bun:test";
import {
  abortGraceMs,
  batchTasksMax,
  beatSilenceMs,
  killMs,
  queueJobsMax,
  retryBackoffMs,
  verdictMs,
  workerCreditMax,
  workersMax,
} from "../../src/limits.ts";
import { encodeData } from "../../src/wire/frames.ts";
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
    expect(bench.drained).toBe(0);
    bench.done("w1", 1);
    expect(bench.ends.at(-1)).toBe("a: ACK");
    expect(bench.drained).toBe(1);
  });
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
    expect(bench.drained).toBe(0);
    bench.fail("w1", 4);
    bench.pass(10_000);
    expect(bench.ends).toEqual([
      "cancelled: CANCELLED",
      "expires: EXPIRED",
      "parked: SHUTTING_DOWN",
      "running: TASK_ERROR",
    ]);
    expect(bench.jobsOf("w1")).toEqual([1, 2, 3, 4]);
    expect(bench.drained).toBe(1);
  });

  test("and what waits for its next try counts as waiting", () => {
    bench.ready("w1", tasks);
    bench.ask("a", "read");
    bench.fail("w1", 1);
    expect(bench.status.queue).toMatchObject({ jobs: 1 });
  });
});

describe("a request is refused", () => {
  test("with QUEUE_FULL at once, and a batch as a whole", () => {
    bench.handle({ type: "tasks", tasks: [{ name: "count" }] });
    const batch = new Array<string>(batchTasksMax).fill("count");
    const fit = Math.floor(queueJobsMax / batchTasksMax);
    for (let index = 0; index < fit; index++) bench.batch(`s${index}`, batch);
    expect(bench.ends).toEqual([]);
    bench.batch("full", batch);
    expect(bench.ends).toEqual(["full: QUEUE_FULL"]);
    bench.ask("one", "count");
    expect(bench.ends).toEqual(["full: QUEUE_FULL"]);
    bench.cancel("s0");
    bench.batch("fits", batch);
    expect(bench.ends).toEqual(["full: QUEUE_FULL", "s0: ACK"]);
  });

  test("with UNKNOWN_TASK where no worker serves it and none is expected to", () => {
    bench.ready("w1", ["count"]);
    bench.batch("a", ["count", "nonsense"]);
    expect(bench.ends).toEqual(["a: UNKNOWN_TASK"]);
    expect(bench.jobsOf("w1")).toEqual([]);
  });

  test("where its serial is that of one that is not answered yet", () => {
    bench.ready("w1", ["count"]);
    bench.ask("a", "count");
    bench.ask("a", "count");
    expect(bench.ends).toEqual(["a: BAD_FRAME"]);
    bench.done("w1", 1);
    bench.ask("a", "count");
    bench.done("w1", 2);
    expect(bench.ends).toEqual(["a: BAD_FRAME", "a: ACK", "a: ACK"]);
  });

  test("where it cancels what is not there, or somebody else's", () => {
    bench.ready("w1", ["count"]);
    bench.ask("a", "count", {}, "one");
    bench.cancel("a", "two");
    expect(bench.answers).toMatchObject([{ to: "two", reply: { error: { code: "UNKNOWN_SERIAL" } } }]);
  });
});

test("a batch is spread over the workers and answered in the order asked, each part with its own end", () => {
  bench.ready("w1", ["count"]);
  bench.ready("w2", ["count"]);
  bench.batch("a", ["count", "count", "count"]);
  bench.done("w2", 2);
  bench.done("w2", 3);
  bench.fail("w1", 1);
  expect(bench.answers).toMatchObject([
    {
      reply: { kind: "batch", parts: [{ error: { code: "TASK_ERROR" } }, { data: "result 2" }, { data: "result 3" }] },
    },
  ]);
});

test("progress goes to who asked; of a job that is not there it is dropped and counted", () => {
  bench.ready("w1", ["count"]);
  bench.ask("a", "count");
  bench.say("w1", { type: "PROGRESS", job: 1 }, [encodeData({ data: 0.5, pack: 1 })]);
  bench.say("w1", { type: "PROGRESS", job: 7 }, [encodeData({ data: 0.5, pack: 1 })]);
  expect(bench.answers).toMatchObject([
    { to: "requestor", reply: { kind: "progress", data: 0.5, meta: { serial: "a" } } },
  ]);
  expect(bench.status.jobs?.dropped).toEqual({ progressOfNoJob: 1 });
});

test("late, duplicate and strangers' answers are dropped and counted", () => {
  bench.ready("w1", ["count"]);
  bench.ready("w2", ["count"]);
  bench.ask("a", "count");
  bench.done("w2", 1);
  bench.done("w1", 1);
  bench.done("w1", 1);
  bench.done("stranger", 1, 2);
  expect(bench.ends).toEqual(["a: ACK"]);
  expect(bench.status.jobs?.dropped).toEqual({ lateAnswer: 4 });
});

describe("a worker", () => {
  test("that serves only some tasks gets only those, and holds up none of the others", () => {
    bench.ready("w1", ["count"]);
    bench.handle({ type: "tasks", tasks: [{ name: "see" }, { name: "count" }] });
    bench.ask("a", "see");
    bench.ask("b", "count");
    expect(bench.jobsOf("w1")).toEqual([2]);
    bench.ready("w2", ["see"]);
    expect(bench.jobsOf("w2")).toEqual([1]);
  });

  test("that is not known is asked who it is, and a beat is answered by a beat", () => {
    bench.say("w1", { type: "BEAT" });
    bench.ready("w1", ["count"]);
    bench.say("w1", { type: "BEAT" });
    expect(bench.headersOf("w1").map(({ type }) => type)).toEqual(["WHO", "WELCOME", "BEAT"]);
  });

  test("that says READY twice holds what it holds", () => {
    bench.ready("w1", ["count"]);
    bench.ask("a", "count");
    bench.ready("w1", ["count"]);
    bench.done("w1", 1);
    expect(bench.ends).toEqual(["a: ACK"]);
  });

  test("that lists a task twice is counted once", () => {
    bench.ready("w1", ["count", "count"]);
    bench.control({ command: "tasks" });
    expect(bench.answers[0]?.reply).toMatchObject({ data: { tasks: [{ name: "count", workers: 1 }] } });
  });

  test("that leaves gets no more, finishes what it has, and is told goodbye", () => {
    bench.ready("w1", ["count"]);
    bench.ask("a", "count");
    bench.say("w1", { type: "LEAVE" });
    bench.ask("b", "count");
    expect(bench.headersOf("w1").at(-1)?.type).toBe("JOBS");
    bench.done("w1", 1);
    expect(bench.headersOf("w1").at(-1)?.type).toBe("GOODBYE");
    expect(bench.ends).toEqual(["a: ACK"]);
    bench.ready("w2", ["count"]);
    bench.done("w2", 2);
    expect(bench.ends).toEqual(["a: ACK", "b: ACK"]);
  });

  test("gives back what it has not begun, in its place", () => {
    bench.ready("w1", ["count"]);
    bench.learn("w1", "count");
    for (const serial of ["a", "b", "c"]) bench.ask(serial, "count");
    bench.say("w1", { type: "LEAVE" });
    bench.ask("d", "count");
    bench.say("w1", { type: "RETURN", jobs: [3, 4] });
    bench.ready("w2", ["count"]);
    for (const id of [3, 4, 5]) bench.done("w2", id);
    expect(bench.jobsOf("w2")).toEqual([3, 4, 5]);
    expect(bench.ends).toEqual(["b: ACK", "c: ACK", "d: ACK"]);
  });

  test("that is silent and has no job is given up; one that is busy is not", () => {
    bench.ready("w1", ["count"]);
    bench.ready("w2", ["count"]);
    bench.ask("a", "count");
    bench.pass(beatSilenceMs + 1);
    expect(bench.status.workers).toMatchObject([{ id: "TASK-1", state: "busy" }]);
    bench.done("w1", 1);
    expect(bench.ends).toEqual(["a: ACK"]);
  });

  test("one too many is not admitted, which is said once", () => {
    for (let pid = 1; pid <= workersMax + 2; pid++) bench.ready(`w${pid}`, ["count"]);
    expect(bench.logs).toHaveLength(1);
    expect(bench.status.jobs?.dropped).toEqual({ workerNotAdmitted: 2 });
  });

  test("whose process has another connection while it held jobs is killed, and its jobs end by what it had begun", () => {
    bench.ready("w1", ["count"]);
    bench.learn("w1", "count");
    bench.ask("a", "count");
    bench.ask("b", "count");
    bench.ready("w9", ["count"], { pid: 1 });
    bench.ready("w9", ["count"], { pid: 1 });
    expect(bench.kills).toEqual([1]);
    bench.handle({ type: "gone", pid: 1, begun: 2 });
    expect(bench.ends).toEqual(["a: INTERRUPTED"]);
    bench.ready("w2", ["count"]);
    bench.done("w2", 3);
    expect(bench.ends).toEqual(["a: INTERRUPTED", "b: ACK"]);
  });
});

describe("of a supervised worker's death", () => {
  beforeEach(() => {
    bench.ready("w1", ["count"]);
    bench.learn("w1", "count");
    for (const serial of ["a", "b", "c"]) bench.ask(serial, "count");
  });

  test("the connection may tell first", () => {
    bench.handle({ type: "disconnected", key: "w1" });
    expect(bench.ends).toEqual([]);
    bench.handle({ type: "gone", pid: 1, begun: 2 });
    expect(bench.ends).toEqual(["a: INTERRUPTED"]);
    expect(bench.status.queue).toMatchObject({ jobs: 2 });
  });

  test("the supervisor may tell first; what the worker sent before still counts", () => {
    bench.handle({ type: "gone", pid: 1, begun: 3 });
    bench.done("w1", 2);
    bench.handle({ type: "disconnected", key: "w1" });
    expect(bench.ends).toEqual(["a: ACK", "b: INTERRUPTED"]);
  });

  test("nothing need have begun", () => {
    bench.handle({ type: "gone", pid: 1, begun: 0 });
    bench.handle({ type: "disconnected", key: "w1" });
    expect(bench.ends).toEqual([]);
    expect(bench.status.queue).toMatchObject({ jobs: 3 });
  });

  test("only the supervisor may tell, and that is enough in time", () => {
    bench.handle({ type: "gone", pid: 1, begun: 2 });
    bench.pass(verdictMs);
    expect(bench.ends).toEqual(["a: INTERRUPTED"]);
  });

  test("only the connection may tell: the process is killed, and given up if that does not help", () => {
    bench.handle({ type: "disconnected", key: "w1" });
    bench.pass(verdictMs);
    expect(bench.kills).toEqual([1]);
    expect(bench.ends).toEqual([]);
    bench.pass(killMs + verdictMs);
    expect(bench.ends).toEqual(["a: INTERRUPTED", "b: INTERRUPTED", "c: INTERRUPTED"]);
  });

  test("jobs of two dead workers go back in the order in which they were accepted", () => {
    bench.ready("w2", ["count"]);
    for (let count = 0; count < 4; count++) bench.ask(`d${count}`, "count");
    for (const pid of [1, 2]) {
      bench.handle({ type: "gone", pid, begun: 0 });
      bench.handle({ type: "disconnected", key: `w${pid}` });
    }
    bench.ready("w3", ["count"]);
    for (let id = 2; id <= 8; id++) bench.done("w3", id);
    expect(bench.jobsOf("w3")).toEqual([2, 3, 4, 5, 6, 7, 8]);
  });
});

describe("data", () => {
  test("of one topic goes to one data worker, put and got by topic", () => {
    bench.dataWorker("d1");
    bench.put("a", "pose", [1, 2]);
    expect(bench.headersOf("d1").at(-1)).toEqual({ type: "PUT", jobs: [1], topics: ["pose"] });
    bench.done("d1", 1);
    bench.control({ command: "get", topic: "pose" }, "requestor");
    expect(bench.headersOf("d1").at(-1)).toEqual({ type: "GET", jobs: [2], topics: ["pose"] });
    bench.done("d1", 2);
    expect(bench.ends).toEqual(["a: ACK", "get: ACK"]);
  });

  test("without a data worker is UNAVAILABLE, and while one is being restarted it waits", () => {
    bench.put("a", "pose", 1);
    expect(bench.ends).toEqual(["a: UNAVAILABLE"]);
    bench.dataWorker("d1");
    bench.handle({ type: "disconnected", key: "d1" });
    bench.put("b", "pose", 1);
    bench.dataWorker("d2");
    bench.done("d2", 1);
    expect(bench.ends).toEqual(["a: UNAVAILABLE", "b: ACK"]);
  });

  test("that a task publishes goes there too, and nobody is told; what cannot is counted", () => {
    bench.ready("w1", ["count"]);
    const body = encodeData({ data: 1, pack: 1 });
    bench.say("w1", { type: "PUBLISH", topic: "pose" }, [body]);
    bench.dataWorker("d1");
    bench.say("w1", { type: "PUBLISH", topic: "pose" }, [body]);
    bench.done("d1", 1);
    bench.handle({ type: "drain" });
    bench.say("w1", { type: "PUBLISH", topic: "pose" }, [body]);
    expect(bench.answers).toEqual([]);
    expect(bench.status.jobs?.dropped).toEqual({ publicationWithoutDataWorker: 1, publicationWhileStopping: 1 });
  });
});
