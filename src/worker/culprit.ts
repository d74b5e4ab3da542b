/**
 * Whose fault the end of a worker is: what a task leaves behind (a timer, a promise, a callback) may throw or end the process
 * when the task's job is long over, and while another's runs. So code that a task has started bears its task's name, however late
 * it runs; what ends the process by it says so in the record that outlives the worker.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { readFileSync } from "node:fs";
import type { BegunMarks } from "../process/begun.ts";
import { taskName } from "../protocol/frames.ts";
import type { RegisteredTask, Registry } from "../tasks/task.ts";

/** Timers and callbacks keep it; a rejection that nobody handles is told without it. */
const running = new AsyncLocalStorage<RegisteredTask>();

/** Calls `work` as code of that task. */
export const within = <Args extends unknown[], Result>(
  task: RegisteredTask,
  work: (...args: Args) => Result,
  ...args: Args
): Result => running.run(task, work, ...args);

/** Which task's code has thrown this outside of any job: null for code that belongs to none, undefined where that is not known. */
export type FindCulprit = (thrown: unknown) => string | null | undefined;

/** Has every way in which a task's code can end its process noted. To be called once. Gives how to find who has thrown. */
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

/** signal(7): none of them lets a worker end well. */
const deadlySignals: ReadonlySet<string | number> = new Set(
  Object.entries({
    SIGQUIT: 3,
    SIGILL: 4,
    SIGTRAP: 5,
    SIGABRT: 6,
    SIGBUS: 7,
    SIGFPE: 8,
    SIGKILL: 9,
    SIGSEGV: 11,
  }).flat(),
);

const framePattern = /^ *at (?:(?:async )?(.+?) \()?(\/.+?):(\d+):\d+\)?$/gm;

/** By the first line of a task file that an error's stack names; undefined where there is none. */
const byStack = (thrown: unknown, registry: Registry): RegisteredTask | null | undefined => {
  const stack = thrown instanceof Error ? (thrown.stack ?? "") : "";
  for (const [, name = "", file, line] of stack.matchAll(framePattern)) {
    const its = [...registry.values()].filter((task) => task.file === file);
    if (file === undefined || its.length === 0) continue;
    const owner =
      its.length === 1 ? its[0]?.name : taskName(name) === name ? ownerOf(file, Number(line)) : taskName(name);
    return its.find((task) => task.name === owner) ?? null;
  }
  return undefined;
};

/** The task whose export is the last one that begins before the end of that line; null for none. */
const ownerOf = (file: string, line: number): string | null => {
  try {
    const before = readFileSync(file, "utf8").split("\n").slice(0, line);
    const exported = before.flatMap((text) => /^\s*export\b[^=(]*?\b(task_[\w.-]+)/i.exec(text)?.[1] ?? []);
    return exported.length === 0 ? null : taskName(exported.at(-1) ?? "");
  } catch {
    return null;
  }
};
