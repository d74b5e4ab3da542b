/**
 * `task-engine safe`: brings hardware into its safe state from a fresh process, where no worker can: at an emergency stop, and after
 * the engine has died. Nothing of the engine is needed for it, neither router nor port, and what tasks publish goes nowhere.
 */
import { onStopTriesMax, retryBackoffMs } from "../limits.ts";
import { error } from "../process/log.ts";
import type { Json, JsonObject } from "../protocol/json.ts";
import { loadRegistry } from "../tasks/registry.ts";
import type { RegisteredTask, StopReason, TaskContext } from "../tasks/task.ts";
import { thrownLines } from "../tasks/thrown.ts";
import { JobContext } from "./context.ts";
import { onStopMsOf, overtime, type SafingFailure, withinTime } from "./safing.ts";

export interface SafeOptions {
  /** The folder of task files, or null for the built-in tasks alone. */
  readonly tasksDir: string | null;
  /** A task to run as a whole: the engine-wide hook. It is called without arguments, and with `code` and `message` as kwargs. */
  readonly run: string | null;
  /** Tasks whose `onStop` to run. */
  readonly onStop: readonly string[];
  readonly why: StopReason;
}

const tag = `[SAFE-${process.pid}]`;

/**
 * Runs all that is named, at the same time, since one that hangs must not hold up the others: each within its task's `onStopMs`,
 * up to `onStopTriesMax` times. Says each failure in one line on stderr; gives whether all has succeeded. A task file that
 * is broken is said, and left out; throws StartError where the folder cannot be read. What hangs is left behind: who calls this
 * exits when it is done.
 */
export const makeSafe = async ({ tasksDir, run, onStop, why }: SafeOptions): Promise<boolean> => {
  const strayErrors = hearStrayErrors();
  const registry = await loadRegistry(tasksDir, {
    onBroken: ({ message }) => error(`${tag} Left out: ${message}`),
  });
  const isSafe = await Promise.all([
    ...onStop.map((name) => attempt(`The onStop of ${name}`, onStopOf(registry.get(name), why))),
    ...(run === null ? [] : [attempt(`The task ${run}`, hookOf(registry.get(run), why))]),
  ]);
  return isSafe.every(Boolean) && strayErrors.length === 0;
};

/** What is to be done; or why it cannot be, in words that go on from its name. */
type SafeStopAction = { readonly task: RegisteredTask; readonly work: (context: TaskContext) => unknown } | string;

const onStopOf = (task: RegisteredTask | undefined, why: StopReason): SafeStopAction => {
  if (task === undefined) return "cannot be run: there is no such task";
  const { onStop } = task;
  return onStop === null ? "cannot be run: the task has none" : { task, work: (context) => onStop(context, why) };
};

const hookOf = (task: RegisteredTask | undefined, { code, message }: StopReason): SafeStopAction => {
  if (task === undefined) return "cannot be run: there is no such task";
  return { task, work: async (context) => task.run(...(await checked(task, { code, message })), context) };
};

/** What a schema's output is only its task knows. */
const checked = async ({ check }: RegisteredTask, kwargs: JsonObject): Promise<[Json[], JsonObject]> => {
  if (check === null) return [[], kwargs];
  const output = await check([], kwargs);
  return [output.args as Json[], output.kwargs as JsonObject];
};

const attempt = async (what: string, deed: SafeStopAction): Promise<boolean> => {
  if (typeof deed === "string") {
    error(`${tag} ${what} ${deed}`);
    return false;
  }
  for (let tries = 1; tries <= onStopTriesMax; tries++) {
    const failure = await once(deed.task, deed.work);
    if (failure === null) return true;
    error(`${tag} ${what} has failed (try ${tries} of ${onStopTriesMax}): ${failure.message}`);
    if (tries < onStopTriesMax) await Bun.sleep(retryBackoffMs * 2 ** (tries - 1));
  }
  return false;
};

/** As `withinTime`, but when the time is over it is left behind, be it that it goes on. */
const once = (task: RegisteredTask, work: (context: TaskContext) => unknown): Promise<SafingFailure | null> => {
  const context = new JobContext({ name: task.name, serial: "" }, { tag, progress: ignore, publish: () => false });
  const msMax = onStopMsOf(task);
  const { promise: isOver, resolve } = Promise.withResolvers<SafingFailure>();
  context.signal.addEventListener("abort", () => resolve(overtime(msMax)));
  return Promise.race([withinTime(context, msMax, () => work(context)), isOver]);
};

/** An error outside of what is run here must not end the process before the rest is safe; but it is none to pass over. */
const hearStrayErrors = (): readonly unknown[] => {
  const heard: unknown[] = [];
  const hear = (thrown: unknown): void => {
    heard.push(thrown);
    error(`${tag} An error outside of any task: ${thrownLines(thrown)[0]}`);
  };
  process.on("uncaughtException", hear);
  process.on("unhandledRejection", hear);
  return heard;
};

const ignore = (): void => undefined;
