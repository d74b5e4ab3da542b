/** Pauses of tasks and schedules: what waits, what passes, and who is answered when. */
import { beforeEach, describe, expect, test } from "bun:test";
import { pauseAnswersMax, pausedMax, reloadsMax, stopAnswerMs } from "../../src/limits.ts";
import { BrokerBench, nothing } from "../support/broker-bench.ts";

let bench: BrokerBench;
beforeEach(() => {
  bench = new BrokerBench();
});

const control = (command: "pause" | "resume", task: string): void => bench.control({ command, task });

/** The supervisor has put all pauses so far on the disk. */
const keep = (failure: string | null = null): void => {
  for (const request of bench.pausesAsked.splice(0)) bench.handle({ type: "pauseKept", request, failure });
};

const last = () => bench.answers.at(-1)?.reply;

describe("a paused task", () => {
  test("keeps its jobs waiting in their order while others pass, and begins again at once", () => {
    bench.ready("w1", ["count", "drive"]);
    control("pause", "count");
    bench.ask("a", "count");
    bench.ask("b", "count");
    bench.ask("other", "drive");
    expect(bench.jobsOf("w1")).toEqual([3]);
    bench.done("w1", 3);
    control("resume", "count");
    expect(bench.jobsOf("w1")).toEqual([3, 1]);
    bench.done("w1", 1);
    bench.done("w1", 2);
    expect(bench.ends.filter((end) => end.endsWith(": ACK"))).toEqual(["other: ACK", "a: ACK", "b: ACK"]);
    expect(bench.leftovers).toEqual(nothing);
  });

  test("claims no resources, preempts nothing and reserves no worker", () => {
    const arm = { resources: ["arm"], preemptible: true };
    bench.ready("w1", [
      { name: "grip", ...arm },
      { name: "wave", ...arm },
    ]);
    bench.ready("w2", [
      { name: "grip", ...arm },
      { name: "wave", ...arm },
    ]);
    control("pause", "grip");
    bench.ask("first", "wave");
    bench.ask("paused", "grip", { priority: 9, preempt: true });
    bench.ask("second", "wave");
    bench.done("w1", 1);
    expect([...bench.jobsOf("w1"), ...bench.jobsOf("w2")].sort()).toEqual([1, 3]);
  });

  test("lets its running job end and its safe stop run", () => {
    bench.ready("w1", [{ name: "drive", onStop: true }]);
    bench.ask("a", "drive");
    control("pause", "drive");
    bench.ask("b", "drive");
    bench.die("w1", 1);
    bench.ready("w2", [{ name: "drive", onStop: true }]);
    expect(bench.toWorkers.filter(({ key }) => key === "w2").map(({ header }) => header.type)).toContain("SAFE");
  });

  test("ends a job whose ttlMs is over, and the message names the pause", () => {
    bench.ready("w1", ["count"]);
    control("pause", "count");
    bench.ask("late", "count", { ttlMs: 100 });
    bench.passWith(["w1"], 200);
    expect(last()).toMatchObject({
      error: { code: "EXPIRED", message: expect.stringContaining("count is paused since") },
    });
  });

  test("is in status until it is resumed", () => {
    bench.ready("w1", ["count"]);
    control("pause", "task_count");
    expect(bench.status.paused).toEqual([{ task: "count", since: expect.any(Number) }] as never);
    control("resume", "count");
    expect(bench.status.paused).toEqual([] as never);
  });
});

describe("the answer", () => {
  test("comes once the pause is on the disk, and a second pause keeps the time of the first", () => {
    bench.ready("w1", ["count"]);
    control("pause", "count");
    expect(bench.answers).toEqual([]);
    const [{ since }] = bench.status.paused as unknown as [{ since: number }];
    keep();
    expect(last()).toMatchObject({ data: { paused: since, failure: null } });
    bench.pass(1000);
    control("pause", "count");
    keep();
    expect(last()).toMatchObject({ data: { paused: since, failure: null } });
    control("resume", "count");
    keep();
    expect(last()).toMatchObject({ data: { paused: null, failure: null } });
  });

  test("says why it is not, be it the disk or a supervisor that hangs", () => {
    bench.ready("w1", ["count"]);
    control("pause", "count");
    keep("the disk is full");
    expect(last()).toMatchObject({ data: { failure: "the disk is full" } });
    control("resume", "count");
    bench.passWith(["w1"], stopAnswerMs);
    expect(last()).toMatchObject({ data: { paused: null, failure: expect.stringContaining("has not answered") } });
    const { length } = bench.answers;
    keep();
    expect(bench.answers).toHaveLength(length);
  });

  test("is a refusal for a task that there is not, for too many pauses, and for too many that wait", () => {
    control("pause", "nonsense");
    expect(last()).toMatchObject({ error: { code: "UNKNOWN_TASK" } });
    const names = Array.from({ length: pausedMax + 1 }, (_, index) => `t${index}`);
    bench.handle({ type: "tasks", tasks: names.map((name) => ({ name })) });
    for (const name of names.slice(0, pauseAnswersMax)) control("pause", name);
    control("pause", "t200");
    expect(last()).toMatchObject({ error: { code: "QUEUE_FULL", message: "64 others wait for the same already" } });
    for (const name of names) {
      keep();
      control("pause", name);
    }
    expect(last()).toMatchObject({
      error: { code: "QUEUE_FULL", message: "256 tasks are paused already; resume one" },
    });
  });
});

test("a router that begins is told what is paused, tasks and schedules", () => {
  const photo = { name: "photo", moves: false, everyMs: 10_000 } as const;
  bench.handle({ type: "paused", tasks: [{ name: "count", since: 1 }], schedules: [{ name: "photo", since: 2 }] });
  bench.handle({ type: "tasks", tasks: [photo] });
  bench.ready("w1", ["count", photo]);
  bench.ask("a", "count");
  bench.passWith(["w1"], 25_000);
  expect(bench.jobsOf("w1")).toEqual([]);
  bench.control({ command: "schedules" });
  expect(last()).toMatchObject({ data: { schedules: [{ paused: true, skipped: 2, why: "it is paused" }] } });
  bench.control({ command: "schedule", name: "photo", action: "resume" });
  keep();
  expect(last()).toMatchObject({ data: { name: "photo", paused: false, failure: null } });
  bench.passWith(["w1"], 10_000);
  expect(bench.jobsOf("w1")).toHaveLength(1);
});

test("a reload goes to the supervisor, and its result to who has asked; an engine that ends refuses it", () => {
  bench.control({ command: "reload" }, "a");
  bench.control({ command: "reload" }, "b");
  const [first = 0, second = 0] = bench.reloadsAsked;
  expect(bench.answers).toEqual([]);
  bench.handle({ type: "reloaded", request: first, tasks: 3, failure: null });
  bench.handle({ type: "reloaded", request: second, tasks: null, failure: "a.ts:1: no" });
  expect(bench.answers.map(({ to, reply }) => [to, reply.kind === "ack" && reply.data])).toEqual([
    ["a", { tasks: 3, failure: null }],
    ["b", { tasks: null, failure: "a.ts:1: no" }],
  ]);
  for (let count = 0; count <= reloadsMax; count++) bench.control({ command: "reload" }, `${count}`);
  expect(bench.ends.at(-1)).toBe("reload: QUEUE_FULL");
  bench.handle({ type: "drain" });
  expect(bench.ends.filter((end) => end === "reload: SHUTTING_DOWN")).toHaveLength(reloadsMax);
  bench.control({ command: "reload" });
  expect(bench.ends.at(-1)).toBe("reload: SHUTTING_DOWN");
});
