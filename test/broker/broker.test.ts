import { beforeEach, describe, expect, test } from "bun:test";
import { argumentSchemasBytesMax, batchTasksMax, queueJobsMax } from "../../src/limits.ts";
import { BrokerBench } from "../support/broker-bench.ts";

let bench: BrokerBench;
beforeEach(() => {
  bench = new BrokerBench();
});

describe("the list of tasks", () => {
  const args = { type: "array" };
  const schemas = (): unknown => {
    bench.answers.length = 0;
    bench.control({ command: "tasks" });
    const [answer] = bench.answers;
    const { tasks } = (answer?.reply.kind === "ack" ? answer.reply.data : {}) as unknown as { tasks: unknown[] };
    return tasks;
  };

  test("has the schemas of arguments, those of the task files first, and no job carries them", () => {
    bench.ready("w1", [{ name: "grip", schema: { args }, timeoutMs: 10 }, "count"]);
    bench.ready("w2", [{ name: "grip", timeoutMs: 10 }], { supervised: false });
    expect(bench.headersOf("w2").map(({ type }) => type)).toEqual(["WELCOME"]);
    expect(schemas()).toEqual([
      { name: "count", workers: 1 },
      { name: "grip", workers: 2, schema: { args } },
    ]);
    bench.handle({
      type: "tasks",
      tasks: [
        { name: "count", schema: { kwargs: {} } },
        { name: "grip", timeoutMs: 10 },
      ],
    });
    expect(schemas()).toEqual([
      { name: "count", workers: 1, schema: { kwargs: {} } },
      { name: "grip", workers: 2 },
    ]);
  });

  test("leaves out what does not fit into its frame", () => {
    const schema = { args: { title: "x".repeat(16_000) } };
    const names = Array.from({ length: 200 }, (_, index) => `task${index}`);
    bench.handle({ type: "tasks", tasks: names.map((name) => ({ name, schema })) });
    const tasks = schemas() as object[];
    expect(tasks).toHaveLength(200);
    expect(tasks.filter((task) => "schema" in task)).toHaveLength(
      Math.floor(argumentSchemasBytesMax / JSON.stringify(schema).length),
    );
  });
});

describe("a request is refused", () => {
  test("with QUEUE_FULL at once, and a batch as a whole", () => {
    bench.handle({ type: "tasks", tasks: [{ name: "count" }] });
    const batch = new Array<string>(batchTasksMax).fill("count");
    const fit = Math.floor(queueJobsMax / batchTasksMax);
    // No one client may have that much.
    for (let index = 0; index < fit; index++) bench.batch(`s${index}`, batch, {}, `requestor-${index % 4}`);
    expect(bench.ends).toEqual([]);
    bench.batch("full", batch);
    expect(bench.ends).toEqual(["full: QUEUE_FULL"]);
    bench.ask("one", "count");
    expect(bench.ends).toEqual(["full: QUEUE_FULL"]);
    bench.cancel("s0", "requestor-0");
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
  bench.say("w1", { type: "PROGRESS", job: 1 }, [JSON.stringify({ data: 0.5, pack: 1 })]);
  bench.say("w1", { type: "PROGRESS", job: 7 }, [JSON.stringify({ data: 0.5, pack: 1 })]);
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
    const body = JSON.stringify({ data: 1, pack: 1 });
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
