/**
 * Errors of user code that belong to no job: a timer that throws, a promise nobody awaits. They are nobody's TASK_ERROR,
 * and the state they leave behind is unknown, so the worker says so and ends; the supervisor starts a clean one. Jobs that
 * were answered stay answered, and the one that runs ends as INTERRUPTED.
 */
import { error } from "../process/log.ts";
import { thrownLines } from "../tasks/thrown.ts";
import type { FindCulprit } from "./culprit.ts";

/** EX_SOFTWARE of sysexits(3): apart from 1, which says that another start would go no better. */
export const strayErrorExitCode = 70;

/** To be called once by a process that runs user code, before it loads any. `tag` says who speaks: `[WORKER-7758(TASK)]`. */
export const exitOnStrayErrors = (tag: string, findCulprit: FindCulprit): void => {
  const exit = (thrown: unknown): void => {
    const culprit = findCulprit(thrown);
    const what =
      typeof culprit === "string" ? `An error that a job of ${culprit} has left behind` : "An error outside of any job";
    const [first, ...rest] = thrownLines(thrown);
    error(`${tag} ${what}, stopping for a clean start: ${first}`);
    for (const line of rest) error(line);
    process.exit(strayErrorExitCode);
  };
  process.on("uncaughtException", exit);
  process.on("unhandledRejection", exit);
};
