import { beforeEach, describe, expect, test } from "bun:test";
import { beatSilenceMs, killMs, verdictMs, workersMax } from "../../src/limits.ts";
import { BrokerBench } from "../support/broker-bench.ts";

let bench: BrokerBench;
beforeEach(() => {
  bench = new BrokerBench();
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

  test("of somebody else's making passes on no result, progress or publication that can be read in two ways", () => {
    const twice = [Buffer.from('{"data":1,"pack":1,"data":2}')];
    bench.dataWorker("w9");
    bench.ready("w1", ["count"], { supervised: false });
    bench.ask("a", "count");
    bench.say("w1", { type: "PROGRESS", job: 1 }, twice);
    bench.say("w1", { type: "PUBLISH", topic: "pose" }, twice);
    expect(bench.answers).toEqual([]);
    expect(bench.jobsOf("w9")).toEqual([]);
    expect(bench.logs).toEqual([
      'Dropped a message of worker TASK-1: PROGRESS: DATA: value: the key "data" is there twice; further ones are only counted',
    ]);
    bench.say("w1", { type: "DONE", jobs: [1], ms: [1] }, twice);
    expect(bench.ends).toEqual(["a: TASK_ERROR"]);
    expect(bench.status.jobs?.dropped).toEqual({ workersMessage: 2 });
  });

  test("of sources shows in `status` what it has said of them last, and serves nothing", () => {
    const gyro = { name: "gyro", topic: "arm/gyro", everyMs: 10 };
    const light = { name: "light", topic: "light", everyMs: 60_000, staleMs: 90_000 };
    bench.ready("w1", ["count"], { role: "source", id: "SOURCE-1", sources: [gyro, light] });
    const unknown = { hz: null, jitterMs: null, overruns: 0, errors: 0 };
    const common = { worker: "SOURCE-1", staleMs: null, ...unknown };
    expect(bench.status).toHaveProperty("sources", [
      { ...common, ...gyro },
      { ...common, ...light },
    ]);
    const report = { name: "gyro", hz: 99.9, jitterMs: 0.4, overruns: 2, errors: 1 };
    bench.say("w1", { type: "SOURCES", sources: [report, { ...report, name: "none of its own" }] });
    expect(bench.status).toHaveProperty("sources", [
      { ...common, ...gyro, ...report },
      { ...common, ...light },
    ]);
    bench.ask("a", "count");
    expect(bench.ends).toEqual(["a: UNKNOWN_TASK"]);
    bench.control({ command: "tasks" });
    expect(bench.answers.at(-1)?.reply).toMatchObject({ data: { tasks: [], data: [] } });
    bench.handle({ type: "disconnected", key: "w1" });
    expect(bench.status).toHaveProperty("sources", []);
  });

  test("that keeps data is in the status with its last report, until it is gone", () => {
    bench.ready("d1", [], { role: "data", id: "TASK-9", endpoint: "tcp://127.0.0.1:10002" });
    expect(bench.status).toHaveProperty("data", []);
    const report = { topics: 2, bytes: 512, missed: 3, dropped: { plainUnauthorized: 1 } };
    bench.say("d1", { type: "STORE", ...report });
    expect(bench.status).toHaveProperty("data", [{ worker: "TASK-9", ...report }]);
    bench.handle({ type: "disconnected", key: "d1" });
    expect(bench.status).toHaveProperty("data", []);
  });

  test("that leaves gets no more, finishes what it has, and is told goodbye", () => {
    bench.handle({ type: "tasks", tasks: [{ name: "count" }] });
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

  test("that was the last to serve a task leaves nobody waiting for it", () => {
    bench.ready("w1", ["count"]);
    bench.ask("a", "count");
    bench.say("w1", { type: "LEAVE" });
    bench.ask("b", "count");
    bench.done("w1", 1);
    expect(bench.ends).toEqual(["a: ACK", "b: UNKNOWN_TASK"]);
  });

  test("whose answer is no DATA frame is not believed, where it is not one of the engine's own", () => {
    bench.ready("w1", ["count"], { supervised: false });
    for (const [serial, body] of [
      ["a", "garbage"],
      ["b", '{"data":1}'],
      ["c", '{"data":1,"pack":1}'],
    ] as const) {
      bench.ask(serial, "count");
      bench.say("w1", { type: "DONE", jobs: [bench.jobsOf("w1").at(-1) ?? 0], ms: [1] }, [Buffer.from(body)]);
    }
    expect(bench.ends).toEqual(["a: TASK_ERROR", "b: TASK_ERROR", "c: ACK"]);
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
