/** What follows a job that has not ended by itself, by the executor. */
import { describe, expect, test } from "bun:test";
import * as v from "valibot";
import type { RegisteredTask, StopReason, TaskContext } from "../../src/tasks/task.ts";
import type { OnStopJob, TaskJob, TaskOutcome } from "../../src/worker/job.ts";
import { executorFor, resultOf } from "../support/executor.ts";
import { captureOutput } from "../support/output.ts";

const cancelled = { code: "CANCELLED", message: "its requestor cancelled it" } as const;
const stopped = { code: "STOPPED", message: "somebody is in the way" } as const;

const untilAborted = ({ signal }: TaskContext): Promise<void> =>
  new Promise((resolve) => signal.addEventListener("abort", () => resolve()));
const later = (milliseconds = 1): Promise<void> => Bun.sleep(milliseconds);

/** An executor whose task `drive` has an `onStop`, and notes in `events` what happens to it. */
const driving = (drive: Partial<RegisteredTask> = {}, others: Record<string, Partial<RegisteredTask>> = {}) => {
  const events: string[] = [];
  const reasons: StopReason[] = [];
  const made = executorFor({
    drive: {
      run: async (_args, _kwargs, context) => {
        events.push("drives");
        await untilAborted(context);
        events.push("lets go");
      },
      onStop: async (_context, why) => {
        reasons.push(why);
        events.push("onStop begins");
        await later();
        events.push("onStop ends");
      },
      policy: { onStop: true },
      ...drive,
    },
    look: { run: () => void events.push("looks") },
    ...others,
  });
  const outcomes: TaskOutcome[] = [];
  const start = (name = "drive"): TaskJob => {
    const noted = (outcome: TaskOutcome): void => {
      outcomes.push(outcome);
      events.push(`${name} ${outcome.ok ? "done" : outcome.code}`);
    };
    const job: TaskJob = { ...made.job(name, noted), safing: () => events.push("SAFING") };
    expect(made.executor.submit(job)).toBe("accepted");
    return job;
  };
  const safe = (name = "drive"): OnStopJob => {
    const work: OnStopJob = {
      name,
      serial: "",
      why: stopped,
      begin: () => events.push("SAFE begins"),
      done: (outcome) => {
        outcomes.push(outcome);
        events.push(`SAFE ${outcome.ok ? "done" : outcome.code}`);
      },
    };
    expect(made.executor.submit(work)).toBe("accepted");
    return work;
  };
  const until = async (event: string): Promise<void> => {
    while (!events.includes(event)) await later();
  };
  return { ...made, events, reasons, outcomes, start, safe, until };
};

describe("onStop runs after a job", () => {
  test("that was told to end, whatever it returned, before it is answered and before anything else begins", async () => {
    const { executor, events, reasons, outcomes, start, until } = driving();
    const job = start();
    start("look");
    await until("drives");
    executor.stop(job, cancelled.code, cancelled.message);
    await until("looks");
    expect(events).toEqual([
      ...["drives", "lets go", "SAFING", "onStop begins", "onStop ends", "drive CANCELLED"],
      ...["looks", "look done"],
    ]);
    expect(reasons).toEqual([cancelled]);
    expect(outcomes[0]).toEqual({ ok: false, ...cancelled, ms: expect.any(Number) });
  });

  test("that threw, at once or later, or whose result cannot be sent", async () => {
    using _output = captureOutput();
    const throws = (message: string) => (): never => {
      throw new Error(message);
    };
    const tasks: Partial<RegisteredTask>[] = [
      { run: throws("stuck") },
      { run: () => later().then(throws("stuck")) },
      { run: () => Number.NaN },
    ];
    for (const task of tasks) {
      const { reasons, events, start, until } = driving(task);
      start();
      await until("drive TASK_ERROR");
      expect(events).toEqual(["SAFING", "onStop begins", "onStop ends", "drive TASK_ERROR"]);
      expect(reasons).toEqual([{ code: "TASK_ERROR", message: expect.stringMatching(/^stuck$|^result is NaN/) }]);
    }
  });

  test("and not after one that has ended by itself, nor where it has not begun", async () => {
    const check = v.parser(v.tuple([v.number()]));
    const { executor, events, start, until, job } = driving(
      { run: () => "there" },
      {
        checked: {
          onStop: () => void events.push("onStop"),
          check: async (args) => {
            await later(5);
            return { args: check(args), kwargs: {} };
          },
        },
      },
    );
    start();
    await until("drive done");
    expect(events).toEqual(["drive done"]);

    const slow = job("checked", ({ ok }) => void events.push(`checked ${ok}`), [1]);
    executor.submit(slow);
    await Promise.resolve();
    executor.stop(slow, cancelled.code, cancelled.message);
    await until("checked false");
    const waits = job("drive", ({ ok }) => void events.push(`waits ${ok}`));
    executor.submit(waits);
    executor.stop(waits, cancelled.code, cancelled.message);
    expect(events).toEqual(["drive done", "checked false", "waits false"]);
  });

  test("and not where its arguments were refused", async () => {
    const events: string[] = [];
    const drive = { onStop: () => void events.push("onStop") };
    const { run } = executorFor({ drive }, { args: v.tuple([v.number()]) });
    expect(await run("drive", ["far"])).toMatchObject({ code: "BAD_ARGS" });
    expect(events).toEqual([]);
  });

  test("with a context of its own, which the job's end does not reach", async () => {
    let context: TaskContext | undefined;
    const { executor, start, until, progress, published } = driving({
      onStop: async (given) => {
        context = given;
        executor.stop(job, "TIMEOUT", "again");
        given.progress({ done: 1 });
        given.publish("arm/state", "safe");
        await later();
        expect(given.signal.aborted).toBe(false);
      },
    });
    const job = start();
    await until("drives");
    executor.stop(job, cancelled.code, cancelled.message);
    await until("drive CANCELLED");
    expect(context?.jobSerial).toBe("s-1");
    expect([progress, published]).toEqual([[], [["arm/state", "safe"]]]);
  });

  test("and if it throws, the job is unsafe, and the log says why", async () => {
    using output = captureOutput();
    const { executor, outcomes, start, until } = driving({
      onStop: () => {
        throw new RangeError("no bus");
      },
    });
    const job = start();
    await until("drives");
    executor.stop(job, cancelled.code, cancelled.message);
    await until("drive CANCELLED");
    expect(outcomes).toEqual([{ ok: false, ...cancelled, ms: expect.any(Number), isUnsafe: true }]);
    expect(output.stderr).toStartWith(
      "[WORKER-7(TASK)] Not known to be safe: the onStop of drive (s-1) has failed: RangeError: no bus\n    at ",
    );
  });

  test("and its time limit aborts its own signal: what it does then is unsafe", async () => {
    using output = captureOutput();
    const { executor, events, outcomes, start, until } = driving({
      onStop: async (context) => {
        await untilAborted(context);
        events.push(String(context.signal.reason.message));
      },
      policy: { onStop: true, onStopMs: 20 },
    });
    const job = start();
    await until("drives");
    executor.stop(job, cancelled.code, cancelled.message);
    await until("drive CANCELLED");
    expect(events).toContain("TIMEOUT: it took longer than 20 ms");
    expect(outcomes).toMatchObject([{ code: "CANCELLED", isUnsafe: true }]);
    expect(output.stderr).toContain("the onStop of drive (s-1) has failed: it took longer than 20 ms\n");
  });
});

describe("SAFE", () => {
  test("runs an onStop alone, and goes before the jobs that wait, after what runs", async () => {
    const { executor, events, reasons, start, safe, until } = driving();
    const job = start();
    start("look");
    await until("drives");
    safe();
    expect(executor.queued).toBe(2);
    executor.stop(job, cancelled.code, cancelled.message);
    await until("look done");
    expect(reasons).toEqual([cancelled, stopped]);
    expect(events.slice(5)).toEqual([
      ...["drive CANCELLED", "SAFE begins", "onStop begins", "onStop ends", "SAFE done"],
      ...["looks", "look done"],
    ]);
  });

  test("fails where the onStop throws or takes too long, or there is none", async () => {
    using _output = captureOutput();
    const { outcomes, safe, until } = driving(
      {
        onStop: () => {
          throw new Error("no bus");
        },
      },
      { slow: { onStop: untilAborted, policy: { onStop: true, onStopMs: 10 } } },
    );
    for (const name of ["drive", "slow", "look", "fly"]) safe(name);
    await until("SAFE UNKNOWN_TASK");
    expect(outcomes).toMatchObject([
      { ok: false, code: "TASK_ERROR", message: "no bus" },
      { ok: false, code: "TIMEOUT", message: "it took longer than 10 ms" },
      { ok: false, code: "UNAVAILABLE", message: "the task look of this worker has no onStop" },
      { ok: false, code: "UNKNOWN_TASK" },
    ]);
  });

  test("is not ended by anything once it runs", async () => {
    const { executor, events, safe, until } = driving();
    const work = safe();
    await until("onStop begins");
    executor.stop(work, cancelled.code, cancelled.message);
    await executor.halt(stopped, false);
    expect(events).toEqual(["SAFE begins", "onStop begins"]);
    await executor.drain();
    expect(events).toEqual(["SAFE begins", "onStop begins", "onStop ends", "SAFE done"]);
  });
});

describe("halt", () => {
  test("ends what waits at once and what runs by its signal, and is over before the onStop is", async () => {
    const { executor, events, reasons, start, until } = driving();
    start();
    start("look");
    await until("drives");
    await Promise.all([executor.halt(stopped, true), executor.halt(stopped, true)]);
    expect(events).toEqual(["drives", "look STOPPED", "lets go", "SAFING", "onStop begins"]);
    await until("drive STOPPED");
    expect(reasons).toEqual([stopped]);
    expect(executor.running).toBe(0);
  });

  test("spares what is allowed when stopped, if it is told so, and what is to be made safe", async () => {
    const { executor, restrictions, events, start, safe, until } = driving(
      {},
      { lamp: { run: (_args, _kwargs, context) => untilAborted(context), policy: { allowedWhenStopped: true } } },
    );
    start("lamp");
    await Promise.resolve();
    start("look");
    safe();
    restrictions.stoppedBySupervisor = { reason: "", since: 1 };
    await executor.halt(stopped, true);
    expect([events, executor.running]).toEqual([["look STOPPED"], 1]);
    await executor.halt(stopped, false);
    await until("SAFE done");
    expect(events).toEqual([
      ...["look STOPPED", "lamp STOPPED"],
      ...["SAFE begins", "onStop begins", "onStop ends", "SAFE done"],
    ]);
  });

  test("is over at once where nothing runs", async () => {
    await executorFor({}).executor.halt(stopped, false);
  });
});

test("in an emergency stop only what is allowed begins, with reason and time to the others", async () => {
  const { restrictions, run } = executorFor({
    drive: () => "drives",
    lamp: { run: () => "lit", policy: { allowedWhenStopped: true } },
  });
  restrictions.stoppedBySupervisor = { reason: "child on the track", since: 1_700_000_000 };
  expect(await run("drive")).toEqual({
    ok: false,
    code: "STOPPED",
    message: "in emergency stop since 2023-11-14T22:13:20.000Z (child on the track); task-engine reset ends it",
    ms: 0,
  });
  expect(resultOf(await run("lamp"))).toBe("lit");
  restrictions.stoppedBySupervisor = null;
  expect(resultOf(await run("drive"))).toBe("drives");
});

test("a drained executor is drained when the onStop is over", async () => {
  const { executor, events, start, until } = driving();
  const job = start();
  await until("drives");
  const drained = executor.drain().then(() => events.push("drained"));
  executor.stop(job, cancelled.code, cancelled.message);
  await drained;
  expect(events.slice(-3)).toEqual(["onStop ends", "drive CANCELLED", "drained"]);
});
