/**
 * `cancel SERIAL` cancels a request of any requestor, whether its job waits or runs; `cancel ID`
 * does so with a job. `send --verbose` prints serials, `send --detach` and `jobs` print ids.
 *
 * Sends CONTROL `cancel`, for a text that may be both with the id first. The requestor gets the
 * error CANCELLED, even if a result of the job arrives later. Prints the number of cancelled
 * requests, which is above one only if two requestors use the same serial.
 *
 * Exits with 0; 1 if there is no such request or the engine refused; 2 for wrong usage; 3 if there
 * is no engine or no answer in time.
 */
import { serialLengthMax } from "../limits.ts";
import { TaskEngineError } from "../protocol/errors.ts";
import { defineCommand, ExitError, UsageError } from "./command.ts";
import { engineArgs, withEngine } from "./engine.ts";
import { fleetArgs, isForFleet, withJobs } from "./fleet.ts";
import { printDone } from "./output.ts";

export const cancelCommand = defineCommand({
  meta: { name: "cancel", description: "Cancel a request by its serial, or a job by its id" },
  args: {
    serial: {
      type: "positional",
      required: true,
      description: "The request's serial, which send --verbose prints, or the job's id, which jobs prints",
    },
    ...engineArgs,
    ...fleetArgs,
  },
  run: async ({ args: { serial, ...flags } }) => {
    if (serial === "" || serial.length > serialLengthMax) {
      throw new UsageError(`SERIAL must have 1 to ${serialLengthMax} characters`);
    }
    const ended = new ExitError(`job ${serial} has ended already`, 1);
    if (isForFleet(flags)) {
      const isCancelled = await withJobs(flags, (jobs) => jobs.cancelJob(serial));
      if (!isCancelled) throw ended;
      return printDone("cancelled 1");
    }
    const cancelled = await withEngine(flags, async (engine) => {
      const isCancelled = jobId.test(serial) ? await engine.cancelJob(serial).catch(unlessUnknown) : null;
      if (isCancelled === false) throw ended;
      return isCancelled === null ? engine.cancel(serial) : 1;
    });
    await printDone(`cancelled ${cancelled}`);
  },
});

const jobId = /^[a-z2-7]{16}$/;

/** It is no job's id, or an engine of an earlier release knows none. */
const unlessUnknown = (error: unknown): null => {
  if (error instanceof TaskEngineError && notAJob.has(error.code)) return null;
  throw error;
};
const notAJob: ReadonlySet<string> = new Set(["UNKNOWN_JOB", "UNSUPPORTED_VERSION"]);
