/** Tasks that run by themselves: what becomes of the runs that are due. */
import { beforeEach, describe, expect, test } from "bun:test";
import type { NamedPolicy } from "../../src/broker/events.ts";
import type { ScheduleDefinition } from "../../src/protocol/schedules.ts";
import { BrokerBench } from "../support/broker-bench.ts";

const still = { moves: false } as const;
const each = { name: "each", ...still, everyMs: 10_000 } as const;
const minutely = { name: "minutely", ...still, schedule: { cron: "* * * * *" } } as const;

let bench: BrokerBench;
beforeEach(() => {
  bench = new BrokerBench();
});

const begin = (tasks: readonly NamedPolicy[], schedules: readonly ScheduleDefinition[] = []): void => {
  bench.handle({ type: "tasks", tasks, schedules });
  bench.ready("w1", [...tasks]);
};

const listed = () => {
  const before = bench.answers.length;
  bench.control({ command: "schedules" });
  const [answer] = bench.answers.splice(before);
  if (answer?.reply.kind !== "ack") throw new Error("CONTROL schedules was not answered");
  const { schedules } = answer.reply.data as { schedules: Record<string, unknown>[] };
  return schedules;
};

/** Lets time pass while the worker beats and answers each job at once. */
const work = (ms: number): void => {
  const end = bench.now + ms;
  while (bench.now < end) {
    bench.passWith(["w1"], Math.min(1000, end - bench.now));
    const unanswered = bench.jobsOf("w1").slice(answered);
    answered += unanswered.length;
    if (unanswered.length > 0) bench.done("w1", ...unanswered);
  }
};
let answered = 0;
beforeEach(() => {
  answered = 0;
});

test("an interval in a task's definition runs it again and again", () => {
  begin([each]);
  expect(listed()).toMatchObject([{ name: "each", task: "each", when: "every 10000 ms", last: null, skipped: 0 }]);
  work(35_000);
  expect(bench.jobsOf("w1")).toHaveLength(3);
  expect(listed()).toMatchObject([{ code: "done", skipped: 0, why: null }]);
});

test("cron waits for the clock, and then runs at its times", () => {
  begin([minutely]);
  expect(bench.broker.waitsForClock).toBe(true);
  work(61_000);
  expect(bench.jobsOf("w1")).toHaveLength(0);
  expect(listed()).toMatchObject([{ next: null, why: expect.stringContaining("clock") }]);
  bench.handle({ type: "clock" });
  expect(bench.broker.waitsForClock).toBe(false);
  expect(listed()).toMatchObject([{ next: Math.ceil(bench.wall / 60) * 60, why: null }]);
  work(60_000);
  expect(bench.jobsOf("w1")).toHaveLength(1);
});

test("the file of settings runs a task with arguments, under a name of its own", () => {
  const definition = {
    name: "front",
    task: "photo",
    args: ["front"],
    kwargs: { flash: true },
    when: { everyMs: 5000 },
  };
  begin([{ name: "photo", ...still }], [definition]);
  work(6000);
  const [body] = bench.toWorkers.flatMap(({ header, bodies }) => (header.type === "JOBS" ? bodies : []));
  expect(JSON.parse(String(body))).toMatchObject({ task: "photo", args: ["front"], kwargs: { flash: true } });
  expect(listed()).toMatchObject([{ name: "front", task: "photo" }]);
});

describe("a run is left out and counted", () => {
  test("while the last one has not ended", () => {
    begin([each]);
    bench.passWith(["w1"], 35_000);
    expect(bench.jobsOf("w1")).toHaveLength(1);
    expect(listed()).toMatchObject([{ code: null, skipped: 2, why: "its last run has not ended" }]);
  });

  test("in an emergency stop, and the reset starts nothing", () => {
    begin([each]);
    bench.estop("dog");
    work(35_000);
    expect(bench.jobsOf("w1")).toHaveLength(0);
    expect(listed()).toMatchObject([{ skipped: 3, why: expect.stringContaining("dog") }]);
    bench.reset();
    bench.passWith(["w1"], 1000);
    expect(bench.jobsOf("w1")).toHaveLength(0);
    work(10_000);
    expect(bench.jobsOf("w1")).toHaveLength(1);
  });

  test("when the wall clock jumps over it", () => {
    begin([minutely]);
    bench.handle({ type: "clock" });
    // To a time within a minute.
    bench.wallJumpSeconds = 3 * 3600 + 10 - (bench.wall % 60);
    work(5000);
    expect(bench.jobsOf("w1")).toHaveLength(0);
    expect(listed()).toMatchObject([{ skipped: 1, why: "it was due while the engine could not run it" }]);
  });

  test("while its task is quarantined", () => {
    begin([each]);
    bench.handle({ type: "quarantined", tasks: [{ task: "each", since: 1, deaths: 3, how: "ended by SIGSEGV" }] });
    work(11_000);
    expect(bench.jobsOf("w1")).toHaveLength(0);
    expect(listed()).toMatchObject([{ skipped: 1, why: expect.stringContaining("quarantined") }]);
  });
});

describe("a schedule that cannot run says why, in the log and in the list", () => {
  const cases: Record<string, [task: NamedPolicy, why: RegExp]> = {
    "its task may move something": [{ name: "drive" }, /may move something, so it cannot be scheduled/],
    "its task needs somebody to be there": [
      { name: "drive", ...still, deadmanMs: 300 },
      /runs only while its requestor/,
    ],
    "there is no such task": [{ name: "other" }, /no task "drive" is registered/],
  };
  for (const [name, [task, why]] of Object.entries(cases)) {
    test(name, () => {
      begin([task], [{ name: "s", task: "drive", args: [], kwargs: {}, when: { everyMs: 1000 } }]);
      work(3000);
      expect(bench.jobsOf("w1")).toHaveLength(0);
      expect(listed()).toMatchObject([{ why: expect.stringMatching(why) }]);
      expect(bench.logs.filter((line) => line.startsWith("The schedule s cannot run: "))).toHaveLength(1);
    });
  }
});

describe("schedule run", () => {
  test("runs it beside its times", () => {
    begin([each]);
    bench.control({ command: "schedule", name: "each", action: "run" });
    expect(bench.ends).toEqual(["schedule: ACK"]);
    expect(bench.jobsOf("w1")).toHaveLength(1);
  });

  test("is refused for a name that there is not, in an emergency stop, and while it runs", () => {
    begin([each]);
    bench.control({ command: "schedule", name: "none", action: "run" });
    bench.control({ command: "schedule", name: "each", action: "run" });
    bench.control({ command: "schedule", name: "each", action: "run" });
    bench.estop();
    bench.control({ command: "schedule", name: "each", action: "run" });
    expect(bench.ends.filter((end) => end.startsWith("schedule"))).toEqual([
      "schedule: UNKNOWN_TASK",
      "schedule: ACK",
      "schedule: UNAVAILABLE",
      "schedule: STOPPED",
    ]);
  });
});

test("a reload that leaves a schedule as it is keeps its rhythm and its last run", () => {
  begin([each]);
  work(15_000);
  bench.handle({ type: "tasks", tasks: [each, { name: "new" }] });
  expect(listed()).toMatchObject([{ code: "done", last: expect.any(Number) }]);
  work(5_500);
  expect(bench.jobsOf("w1")).toHaveLength(2);
});

test("a schedule that is gone after a reload runs no more, and a job of it that runs may end", () => {
  begin([each]);
  bench.passWith(["w1"], 11_000);
  bench.handle({ type: "tasks", tasks: [{ name: "each", ...still }] });
  bench.done("w1", ...bench.jobsOf("w1"));
  bench.passWith(["w1"], 60_000);
  expect(bench.jobsOf("w1")).toHaveLength(1);
  expect(listed()).toEqual([]);
});

test("$engine/schedules shows runs that begin, end, and are left out", () => {
  bench.dataWorker("data");
  bench.say("data", { type: "WATCHED", topics: ["$engine/schedules"] });
  begin([each]);
  bench.passWith(["w1", "data"], 21_000);
  bench.done("w1", ...bench.jobsOf("w1"));
  const same = { at: expect.any(Number), name: "each", task: "each" };
  expect(bench.events.map(({ data }) => data)).toEqual([
    { event: "started", ...same, code: null, why: null },
    { event: "skipped", ...same, code: null, why: "its last run has not ended" },
    { event: "ended", ...same, code: "done", why: null },
  ]);
});
