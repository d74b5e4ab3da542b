/**
 * `task-engine safe`: brings hardware into its safe state from a fresh process, where no worker
 * can: at an emergency stop, and after the engine has died. It needs neither router nor port, and
 * drops what its tasks publish.
 */
import { onStopTriesMax, retryBackoffMs } from "../limits.ts";
import { error } from "../process/log.ts";
import type { Json, JsonObject } from "../protocol/json.ts";
import { loadRegistry } from "../tasks/registry.ts";
import type { RegisteredTask, StopReason, TaskContext } from "../tasks/task.ts";
import { thrownLines } from "../tasks/thrown.ts";
import { JobContext } from "./context.ts";
import { type OnStopFailure, onStopMsOf, overtime, withinTime } from "./user-code.ts";

interface SafeProcessOptions {
  /** The folder of task files, or null for the built-in tasks alone. */
  readonly tasksDir: string | null;
  /** The task of `on-stop`, which gets `code` and `message` as kwargs; null for none. */
  readonly run: string | null;
  /** Tasks whose `onStop` to run. */
  readonly onStop: readonly string[];
  readonly why: StopReason;
}

const tag = `[SAFE-${process.pid}]`;

/**
 * Runs everything at the same time, since one task that hangs must not hold up the others: each
 * within its task's `onStopMs`, up to `onStopTriesMax` times. It logs each failure in one line on
 * stderr, and leaves out a broken task file. A task that hangs is left behind, so the caller exits
 * when this is done.
 * @returns true if all has succeeded
 * @throws StartError if the folder cannot be read
 */
export const runSafeProcess = async ({ tasksDir, run, onStop, why }: SafeProcessOptions): Promise<boolean> => {
  const strayErrors = collectStrayErrors();
  const registry = await loadRegistry(tasksDir, {
    onBroken: ({ message }) => error(`${tag} Skipped: ${message}`),
  });
  const isSafe = await Promise.all([
    ...onStop.map((name) => attempt(`The onStop of ${name}`, onStopAction(registry.get(name), why))),
    ...(run === null ? [] : [attempt(`The task ${run}`, wholeTaskAction(registry.get(run), why))]),
  ]);
  return isSafe.every(Boolean) && strayErrors.length === 0;
};

/** The work to do, or why it cannot be done, in words that follow its name. */
type SafeStopAction = { readonly task: RegisteredTask; readonly work: (context: TaskContext) => unknown } | string;

const onStopAction = (task: RegisteredTask | undefined, why: StopReason): SafeStopAction => {
  if (task === undefined) return "cannot be run: there is no such task";
  const { onStop } = task;
  return onStop === null ? "cannot be run: the task has none" : { task, work: (context) => onStop(context, why) };
};

const wholeTaskAction = (task: RegisteredTask | undefined, { code, message }: StopReason): SafeStopAction => {
  if (task === undefined) return "cannot be run: there is no such task";
  const work = async (context: TaskContext): Promise<unknown> => {
    const { args, kwargs } = (await task.check?.([], { code, message })) ?? { args: [], kwargs: { code, message } };
    // Only the task knows the type of its schemas' output.
    return task.run(args as Json[], kwargs as JsonObject, context);
  };
  return { task, work };
};

const attempt = async (what: string, action: SafeStopAction): Promise<boolean> => {
  if (typeof action === "string") {
    error(`${tag} ${what} ${action}`);
    return false;
  }
  for (let tries = 1; tries <= onStopTriesMax; tries++) {
    const failure = await once(action.task, action.work);
    if (failure === null) return true;
    error(`${tag} ${what} has failed (try ${tries} of ${onStopTriesMax}): ${failure.message}`);
    if (tries < onStopTriesMax) await Bun.sleep(retryBackoffMs * 2 ** (tries - 1));
  }
  return false;
};

/** As `withinTime`, but work that does not end when its time is over is left behind. */
const once = (task: RegisteredTask, work: (context: TaskContext) => unknown): Promise<OnStopFailure | null> => {
  const context = new JobContext({ name: task.name, serial: "" }, { tag, publish: () => false });
  const msMax = onStopMsOf(task);
  const { promise: isOver, resolve } = Promise.withResolvers<OnStopFailure>();
  context.signal.addEventListener("abort", () => resolve(overtime(msMax)));
  return Promise.race([withinTime(context, msMax, () => work(context)), isOver]);
};

/** A stray error must not end the process before the rest is safe, but it counts as a failure. */
const collectStrayErrors = (): readonly unknown[] => {
  const errors: unknown[] = [];
  const collect = (thrown: unknown): void => {
    errors.push(thrown);
    error(`${tag} An error outside of any task: ${thrownLines(thrown)[0]}`);
  };
  process.on("uncaughtException", collect);
  process.on("unhandledRejection", collect);
  return errors;
};
