/** What the scan of the task files has found. It runs as a child, so that a person's code never runs in the supervisor. */
import * as v from "valibot";
import { workerTasksMax } from "../limits.ts";
import type { KnownTask } from "../process/messages.ts";
import type { Ending } from "./child.ts";

/** What a policy is the supervisor does not know: it hands on what it is given. */
const tasksSchema = v.pipe(v.array(v.looseObject({ name: v.string() })), v.maxLength(workerTasksMax));

/**
 * All tasks, or one line for a person that says why there are none.
 * @param output what the scan has printed: the list as JSON
 * @param hook the task that makes the robot safe, if there is one
 */
export const readScan = (output: string, ending: Ending, hook: string | null): readonly KnownTask[] | string => {
  if (ending.fatal !== null) return ending.fatal;
  if (ending.exitCode !== 0) return `scan of the task files ${ending.words}`;
  const tasks = v.safeParse(tasksSchema, parsed(output));
  if (tasks.success) return withHook(tasks.output, hook);
  return "scan of the task files ended without a list of tasks: does one of them end the process while it is loaded?";
};

const withHook = (tasks: readonly KnownTask[], hook: string | null): readonly KnownTask[] | string => {
  if (hook === null || tasks.some(({ name }) => name === hook)) return tasks;
  return `no task ${JSON.stringify(hook)} is registered, which on-stop names; the robot could not be made safe`;
};

const parsed = (json: string): unknown => {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
};

/** What `serve` prints of it. */
export const scanLines = (tasks: readonly KnownTask[]): readonly string[] => [
  "[REGISTERED-TASKS]:",
  ...tasks.map(({ name }) => `[-] task_${name}`),
  "------------------",
];
