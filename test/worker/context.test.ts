import { expect, test } from "bun:test";
import type { Json } from "../../src/protocol/json.ts";
import type { TaskContext } from "../../src/tasks/task.ts";
import { errorOf, executorFor, resultOf } from "../support/executor.ts";
import { captureOutput } from "../support/output.ts";

/** Runs `task` as a job and gives its outcome and what its hooks got. */
const inContext = async (task: (context: TaskContext) => unknown) => {
  const made = executorFor({ task: (_args, _kwargs, context) => task(context) });
  return { ...made, outcome: await made.run("task") };
};

test("the context knows the requestor's serial", async () => {
  const { outcome } = await inContext(({ jobSerial }) => jobSerial);
  expect(resultOf(outcome)).toBe("s-1");
});

test("the context passes progress and data on, also taken out of it", async () => {
  const { progress, published } = await inContext(({ progress, publish }) => {
    progress({ done: 0.5 });
    publish("pose", [1, 2]);
  });
  expect(progress).toEqual([["s-1", { done: 0.5 }]]);
  expect(published).toEqual([["pose", [1, 2]]]);
});

test("the context throws for what cannot be sent, so that the task learns of it", async () => {
  using _output = captureOutput();
  const messageOf = async (task: (context: TaskContext) => unknown): Promise<string> =>
    errorOf((await inContext(task)).outcome);
  const notJson = [Number.NaN] as unknown as Json;
  const missing = undefined as unknown as Json;
  expect(await messageOf(({ progress }) => progress(notJson))).toBe("progress[0] is NaN, which JSON cannot express");
  expect(await messageOf(({ publish }) => publish("a", notJson))).toBe("data[0] is NaN, which JSON cannot express");
  expect(await messageOf(({ publish }) => publish("a", missing))).toBe("data is undefined, which JSON cannot express");
  for (const topic of ["", "$topics", "x".repeat(129), 3 as unknown as string]) {
    expect(await messageOf(({ publish }) => publish(topic, 1))).toContain(
      "a topic must be a string of 1 to 128 characters",
    );
  }
});

test("the context has no progress for a job that has ended", async () => {
  let late: TaskContext | undefined;
  const { progress } = await inContext((context) => {
    late = context;
  });
  late?.progress(1);
  expect(progress).toEqual([]);
});

test("the context logs a line under the name of the worker and the task", async () => {
  using output = captureOutput();
  await inContext(({ log }) => log("at the\nwall"));
  expect(output.stdout).toBe("[WORKER-7(TASK)] task: at the\\x0awall\n");
  expect(output.stderr).toBe("");
});

const stopped = { code: "STOPPED", message: "somebody is in the way" } as const;

test("the context has a signal that is aborted with a reason, whether it is looked at before or after", async () => {
  for (const looksEarly of [true, false]) {
    const seen: unknown[] = [];
    const { executor, run } = executorFor({
      wait: async (_args, _kwargs, context) => {
        if (looksEarly) expect(context.signal.aborted).toBe(false);
        void executor.halt(stopped, false);
        await Bun.sleep(1);
        seen.push(context.signal.aborted, context.signal.reason.message);
      },
    });
    await run("wait");
    expect(seen).toEqual([true, "STOPPED: somebody is in the way"]);
  }
});

test("the context has a signal of its own for each job", async () => {
  const seen: boolean[] = [];
  const look = ({ signal }: TaskContext): void => void seen.push(signal.aborted);
  const { executor, run } = executorFor({
    abort: (_args, _kwargs, context) => {
      void executor.halt(stopped, false);
      look(context);
    },
    look: (_args, _kwargs, context) => look(context),
  });
  await run("abort");
  await run("look");
  expect(seen).toEqual([true, false]);
});
