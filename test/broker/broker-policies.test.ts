/** One policy for each task, whoever serves it; and tasks that nobody serves any more. */
import { beforeEach, describe, expect, test } from "bun:test";
import { beatSilenceMs } from "../../src/limits.ts";
import type { ReadyHeader } from "../../src/protocol/backend.ts";
import { BrokerBench } from "../support/broker-bench.ts";

let bench: BrokerBench;
beforeEach(() => {
  bench = new BrokerBench();
});

/** A worker that a person has started. */
const joins = (key: string, ...tasks: ReadyHeader["tasks"]): void => bench.ready(key, tasks, { supervised: false });
const lastTo = (key: string) => bench.headersOf(key).at(-1);
const own = (...tasks: { name: string }[]): void => bench.handle({ type: "tasks", tasks });
const messages = (): string[] =>
  bench.answers.map(({ reply }) => (reply.kind === "error" ? `${reply.error.code}: ${reply.error.message}` : "ACK"));

describe("a worker whose policy of a task differs from the one in force", () => {
  test.each<[string, object, object, string]>([
    ["a limit", { timeoutMs: 5000 }, { timeoutMs: 3000 }, "timeoutMs 3000 here and 5000 in force"],
    ["none", { resources: ["motors"] }, {}, 'resources [] here and ["motors"] in force'],
    ["one more", {}, { onStop: true }, "onStop true here and false in force, onStopMs 1000 here and none in force"],
    ["a grace", {}, { graceMs: 100 }, "graceMs 100 here and 500 in force"],
    ["tries", { idempotent: true }, { idempotent: { tries: 5 } }, '"tries":5'],
  ])("is refused, with what differs in REFUSED and in the log: %s", (_, inForce, here, difference) => {
    own({ name: "drive", ...inForce });
    joins("f7", "count", { name: "drive", ...here });
    const refused = lastTo("f7");
    expect(refused).toMatchObject({ type: "REFUSED", code: "BAD_FRAME" });
    const said = refused?.type === "REFUSED" ? refused.message : "";
    expect(said).toStartWith("READY.tasks: drive has ");
    expect(said).toContain(difference);
    expect(said).toEndWith(" (set by the engine's own tasks); make them alike, or give one of them another name");
    bench.say("f7", { type: "BEAT" });
    joins("f7", "count", { name: "drive", ...here });
    expect(bench.logs).toEqual([`worker TASK-7 is not admitted: ${said}; the same again is only counted`]);
    bench.ask("a", "drive");
    expect(bench.jobsOf("f7")).toEqual([]);
  });

  test("is one that says nothing of it, too, if there is something to be said", () => {
    own({ name: "drive", timeoutMs: 5 } as { name: string });
    joins("f7", "drive");
    expect(lastTo("f7")).toMatchObject({ message: expect.stringContaining("timeoutMs none here and 5 in force") });
  });

  test("is not one that says the same in other words", () => {
    own({ name: "drive", graceMs: 500, idempotent: true, resources: ["b", "a"], onStop: true } as { name: string });
    joins("f7", {
      onStopMs: 1000,
      onStop: true,
      preemptible: false,
      resources: ["a", "b", "a"],
      idempotent: { backoffMs: 100, tries: 3 },
      name: "drive",
    });
    expect(lastTo("f7")).toMatchObject({ type: "WELCOME" });
    expect(bench.logs).toEqual([]);
  });

  test("is held to what the first has said, where the engine has no such task, until no other serves it", () => {
    joins("f7", { name: "grip", timeoutMs: 1 });
    joins("f8", { name: "grip", timeoutMs: 2 });
    expect(lastTo("f8")).toMatchObject({
      message: expect.stringContaining("timeoutMs 2 here and 1 in force (set by worker TASK-7)"),
    });
    bench.handle({ type: "disconnected", key: "f7" });
    joins("f8", { name: "grip", timeoutMs: 2 });
    expect(lastTo("f8")).toMatchObject({ type: "WELCOME" });
  });

  test("once a reload has changed that, ends what it has, and is refused then; jobs that wait are held to the new one", () => {
    own({ name: "drive" });
    joins("f7", "drive");
    joins("f8", "drive");
    bench.ready("w1", ["drive"]);
    for (const serial of ["a", "b", "c", "d"]) bench.ask(serial, "drive");
    expect(["f7", "f8", "w1"].flatMap((key) => bench.jobsOf(key))).toEqual([1, 2, 3]);
    bench.done("f8", 2);
    expect(bench.jobsOf("f8")).toEqual([2, 4]);
    own({ name: "drive", timeoutMs: 9 } as { name: string });
    expect(bench.headersOf("f7").map(({ type }) => type)).toEqual(["WELCOME", "JOBS"]);
    bench.ask("e", "drive");
    bench.done("f7", 1);
    bench.done("f8", 4);
    for (const key of ["f7", "f8"]) expect(lastTo(key)).toMatchObject({ type: "REFUSED", code: "BAD_FRAME" });
    // The engine's own are replaced one after the other.
    bench.done("w1", 3);
    expect(bench.jobsOf("w1")).toEqual([3, 5]);
    bench.ready("w2", [{ name: "drive", timeoutMs: 9 }]);
    expect(lastTo("w2")).toMatchObject({ type: "WELCOME" });
    own({ name: "drive" });
    joins("f7", "drive");
    expect(lastTo("f7")).toMatchObject({ type: "WELCOME" });
  });

  test("is admitted if it is the engine's own, whose file was changed, and that is said", () => {
    own({ name: "drive" });
    bench.ready("w1", [{ name: "drive", timeoutMs: 9 }]);
    expect(lastTo("w1")).toMatchObject({ type: "WELCOME" });
    expect(bench.logs).toEqual([
      expect.stringContaining("worker TASK-1 has read other task files: READY.tasks: drive"),
    ]);
  });
});

describe("a task that no worker serves any more", () => {
  beforeEach(() => {
    joins("f7", "grip");
  });

  const gone = (why: string): string =>
    `UNAVAILABLE: no worker serves grip at present: the last, TASK-7, is gone (${why}); start it again`;

  test("is UNAVAILABLE, in a batch and by version 0.1 as well, and listed, until one comes", () => {
    bench.handle({ type: "disconnected", key: "f7" });
    bench.ask("a", "grip");
    bench.batch("b", ["grip", "grip"]);
    bench.askOld("grip");
    expect(messages()).toEqual(Array(3).fill(gone("its connection is gone")));
    expect(bench.status.tasks).toMatchObject([{ name: "grip", workers: 0 }]);
    joins("f8", "grip");
    bench.ask("c", "grip");
    bench.done("f8", 1);
    expect(messages().at(-1)).toBe("ACK");
  });

  test("because it has left, or because its right was taken back", () => {
    bench.say("f7", { type: "LEAVE" });
    bench.ask("a", "grip");
    expect(messages()).toEqual([gone("it has left")]);
  });

  test("keeps what waits for as long as one that was lost may take to come back, then says why", () => {
    bench.ask("runs", "grip");
    bench.ask("waits", "grip");
    bench.handle({ type: "disconnected", key: "f7" });
    bench.pass(beatSilenceMs - 1);
    expect(bench.ends).toEqual(["runs: INTERRUPTED"]);
    bench.pass(1);
    expect(messages().at(-1)).toBe(gone("its connection is gone"));
  });

  test("goes on with what waits where another comes in time, by the policy that this one brings", () => {
    bench.ask("runs", "grip");
    bench.ask("waits", "grip");
    bench.handle({ type: "disconnected", key: "f7" });
    joins("f8", { name: "grip", resources: ["arm"] });
    expect(bench.jobsOf("f8")).toEqual([2]);
    expect(bench.resources).toEqual(["arm: grip held"]);
  });

  test("is forgotten at a reload", () => {
    bench.handle({ type: "disconnected", key: "f7" });
    own({ name: "count" });
    bench.ask("a", "grip");
    expect(bench.ends).toEqual(["a: UNKNOWN_TASK"]);
    expect(bench.status.tasks).toMatchObject([{ name: "count" }]);
  });
});
