/** What the scan of the task files has found. It runs as a child, so that a person's code never runs in the supervisor. */
import * as v from "valibot";
import { workerTasksMax } from "../limits.ts";
import type { Ending } from "./child.ts";

const namesSchema = v.pipe(v.array(v.string()), v.maxLength(workerTasksMax));

/**
 * The names of all tasks, or one line for a person that says why there are none.
 * @param output what the scan has printed: the list as JSON
 */
export const readScan = (output: string, ending: Ending): readonly string[] | string => {
  if (ending.fatal !== null) return ending.fatal;
  if (ending.exitCode !== 0) return `scan of the task files ${ending.words}`;
  const names = v.safeParse(namesSchema, parsed(output));
  if (names.success) return names.output;
  return "scan of the task files ended without a list of tasks: does one of them end the process while it is loaded?";
};

const parsed = (json: string): unknown => {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
};

/** What `serve` prints of it. */
export const scanLines = (names: readonly string[]): readonly string[] => [
  "[REGISTERED-TASKS]:",
  ...names.map((name) => `[-] task_${name}`),
  "------------------",
];
