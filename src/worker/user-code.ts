/**
 * Calls the functions of a task: `run` after the check of its arguments, `onStop` within its time.
 */
import { onStopMs } from "../limits.ts";
import { shorten } from "../protocol/errors.ts";
import type { Json, JsonObject } from "../protocol/json.ts";
import type { CheckedArguments } from "../tasks/arguments.ts";
import type { RegisteredTask, StopReason } from "../tasks/task.ts";
import { thrownLines, thrownMessage } from "../tasks/thrown.ts";
import { type ContextHooks, JobContext } from "./context.ts";
import { type FailureLog, runAs } from "./failures.ts";
import type { JobName, TaskJob } from "./job.ts";

/** Returns the task's result or its promise, or throws as the task or its schemas do. */
export const runTask = (task: RegisteredTask, context: JobContext<TaskJob>): unknown => {
  const { args, kwargs } = context.job.task;
  if (task.check === null) return call(task, { args, kwargs }, context);
  const checked = task.check(args, kwargs);
  if (!isThenable(checked)) return call(task, checked, context);
  return checked.then((later) => {
    // A job that was aborted during the check does not begin.
    context.signal.throwIfAborted();
    return call(task, later, context);
  });
};

/** Only the task knows the type of its schemas' output. */
const call = (task: RegisteredTask, { args, kwargs }: CheckedArguments, context: JobContext<TaskJob>): unknown => {
  context.hasEnteredTask = true;
  return task.run(args as Json[], kwargs as JsonObject, context);
};

export const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";

/** Why hardware is not known to be safe. */
export interface OnStopFailure extends StopReason {
  /** For the log, with the stack if there is one. */
  readonly lines: readonly [first: string, ...rest: string[]];
}

/** ms that one run of its `onStop` may take. */
export const onStopMsOf = (task: RegisteredTask): number => task.policy.onStopMs ?? onStopMs;

/**
 * Runs the task's `onStop` once; the signal of the job that it follows does not reach it. Resolves
 * to null once all is safe, else to the failure, which it logs. Never rejects.
 */
export const runOnStop = async (
  task: RegisteredTask,
  { name, serial }: JobName,
  { code, message }: StopReason,
  hooks: ContextHooks,
  failures: FailureLog,
): Promise<OnStopFailure | null> => {
  const context = new JobContext({ name, serial }, hooks);
  // Its own object of the reason: an outcome has more than that.
  const failure = await withinTime(context, onStopMsOf(task), () =>
    runAs(task, () => task.onStop?.(context, { code, message })),
  );
  if (failure !== null) {
    const [first, ...rest] = failure.lines;
    const which = `${name}${serial === "" ? "" : ` (${serial})`}`;
    failures.add(performance.now(), () => [
      `${hooks.tag} Not known to be safe: the onStop of ${which} has failed: ${first}`,
      ...rest,
    ]);
  }
  return failure;
};

/**
 * Runs `work`, and aborts the context's signal after `msMax`. It waits for the end of `work` in any
 * case, since only another process can end what does not end itself. Resolves to null, or to the
 * failure: an error, or too much time. Never rejects.
 */
export const withinTime = async (
  context: JobContext,
  msMax: number,
  work: () => unknown,
): Promise<OnStopFailure | null> => {
  const timer = setTimeout(() => context.abort(overtime(msMax)), msMax);
  try {
    await work();
    return context.why === null ? null : overtime(msMax);
  } catch (thrown) {
    if (context.why !== null) return overtime(msMax);
    return { code: "TASK_ERROR", message: shorten(thrownMessage(thrown)), lines: thrownLines(thrown) };
  } finally {
    clearTimeout(timer);
    context.end();
  }
};

export const overtime = (msMax: number): OnStopFailure => {
  const message = `it took longer than ${msMax} ms`;
  return { code: "TIMEOUT", message, lines: [message] };
};
