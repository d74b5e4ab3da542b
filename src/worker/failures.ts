/**
 * Failures of user code. A failed job is logged, at a bounded rate. An error outside of any job (a
 * timer that throws, a promise that nobody awaits) leaves an unknown state behind, so it ends the
 * worker, and the supervisor starts a clean one: answered jobs stay answered, and the running one
 * ends as INTERRUPTED.
 *
 * Such an error may come long after the job of its task, while another's runs. So all code that a
 * task has started bears that task's name, and when it ends the process, the record that outlives
 * the worker names the task.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { readFileSync } from "node:fs";
import { failureLogsPerSecondMax } from "../limits.ts";
import type { BegunMarks } from "../process/begun.ts";
import { error } from "../process/log.ts";
import { taskName } from "../protocol/frames.ts";
import type { RegisteredTask, Registry } from "../tasks/task.ts";
import { thrownLines } from "../tasks/thrown.ts";

/** Logs failures, and never so often that the log becomes the robot's main work. */
export class FailureLog {
  #secondStartMs = Number.NEGATIVE_INFINITY;
  #shown = 0;
  #hidden = 0;

  /**
   * `lines` is called only if they are shown. `nowMs` is a time of performance.now().
   * @param job the router's number of the job that has failed
   */
  add(nowMs: number, lines: () => readonly string[], job?: number): void {
    if (nowMs - this.#secondStartMs >= 1000) {
      if (this.#hidden > 0) error(`… and ${this.#hidden} more failures, not shown`);
      this.#secondStartMs = nowMs;
      this.#shown = 0;
      this.#hidden = 0;
    }
    if (this.#shown >= failureLogsPerSecondMax) {
      this.#hidden++;
      return;
    }
    this.#shown++;
    for (const line of lines()) error(line, job ?? null);
  }
}

/** EX_SOFTWARE of sysexits(3). The code 1 would tell the supervisor not to start it again. */
export const strayErrorExitCode = 70;

/**
 * Ends the process at an error outside of any job. To be called once, before any user code is
 * loaded.
 * @param tag begins the line of the log: `[WORKER-7758(TASK)]`
 * @param origin the kind of code that runs here
 */
export const exitOnStrayErrors = (tag: string, findCulprit: FindCulprit, origin: "job" | "source" = "job"): void => {
  const exit = (thrown: unknown): void => {
    const culprit = findCulprit(thrown);
    const of = origin === "job" ? `a job of ${culprit}` : `the source ${culprit}`;
    const what =
      typeof culprit === "string" ? `An error that ${of} has left behind` : `An error outside of any ${origin}`;
    const [first, ...rest] = thrownLines(thrown);
    error(`${tag} ${what}, stopping for a clean start: ${first}`);
    for (const line of rest) error(line);
    process.exit(strayErrorExitCode);
  };
  process.on("uncaughtException", exit);
  process.on("unhandledRejection", exit);
};

/** Timers and callbacks inherit it; the event of an unhandled rejection does not. */
const running = new AsyncLocalStorage<RegisteredTask>();

/** Calls `work` as code of that task. */
export const runAs = <Args extends unknown[], Result>(
  task: RegisteredTask,
  work: (...args: Args) => Result,
  ...args: Args
): Result => running.run(task, work, ...args);

/** Finds the task whose code threw: null for code of no task, undefined if that is not known. */
type FindCulprit = (thrown: unknown) => string | null | undefined;

/** Notes in the record every way in which a task's code can end its process. To be called once. */
export const noteCulprits = (marks: BegunMarks | null, registry: () => Registry): FindCulprit => {
  const note = (): void => {
    const task = running.getStore();
    if (task !== undefined) marks?.blame(task.name);
  };
  process.on("exit", note);
  const { abort, kill } = process;
  process.abort = () => {
    note();
    return abort.call(process);
  };
  process.kill = (pid, signal) => {
    if (pid === process.pid && signal !== undefined && deadlySignals.has(signal)) note();
    return kill.call(process, pid, signal);
  };
  return (thrown) => {
    const task = running.getStore() ?? byStack(thrown, registry());
    if (task !== undefined) marks?.blame(task?.name ?? null);
    return task === undefined ? undefined : (task?.name ?? null);
  };
};

/** signal(7): those that end a process without its cleaning up, by name and by number. */
const deadlySignals: ReadonlySet<string | number> = new Set([
  ...["SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGKILL", "SIGSEGV"],
  ...[3, 4, 5, 6, 7, 8, 9, 11],
]);

const framePattern = /^ *at (?:(?:async )?(.+?) \()?(\/.+?):(\d+):\d+\)?$/gm;

/** Finds the task by the first line of a task file in the stack; undefined if there is none. */
const byStack = (thrown: unknown, registry: Registry): RegisteredTask | null | undefined => {
  const stack = thrown instanceof Error ? (thrown.stack ?? "") : "";
  for (const [, name = "", file, line] of stack.matchAll(framePattern)) {
    const tasks = [...registry.values()].filter((task) => task.file === file);
    if (file === undefined || tasks.length === 0) continue;
    if (tasks.length === 1) return tasks[0];
    const owner = taskName(name) === name ? exportingTask(file, Number(line)) : taskName(name);
    return tasks.find((task) => task.name === owner) ?? null;
  }
  return undefined;
};

/** The task of the last export that begins before the end of that line; null for none. */
const exportingTask = (file: string, line: number): string | null => {
  try {
    const before = readFileSync(file, "utf8").split("\n").slice(0, line);
    const exported = before.flatMap((text) => /^\s*export\b[^=(]*?\b(task_[\w.-]+)/i.exec(text)?.[1] ?? []);
    return exported.length === 0 ? null : taskName(exported.at(-1) ?? "");
  } catch {
    return null;
  }
};
