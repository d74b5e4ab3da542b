/**
 * `cancel SERIAL` cancels a request of any requestor, whether its job waits or runs.
 * `send --verbose` prints serials.
 *
 * Sends CONTROL `cancel`. The requestor gets the error CANCELLED, even if a result of the job
 * arrives later. Prints the number of cancelled requests, which is above one only if two requestors
 * use the same serial.
 *
 * Exits with 0; 1 if there is no such request or the engine refused; 2 for wrong usage; 3 if there
 * is no engine or no answer in time.
 */
import { serialLengthMax } from "../limits.ts";
import { defineCommand, UsageError } from "./command.ts";
import { engineArgs, withEngine } from "./engine.ts";
import { printDone } from "./output.ts";

export const cancelCommand = defineCommand({
  meta: { name: "cancel", description: "Cancel a request by its serial" },
  args: {
    serial: { type: "positional", required: true, description: "The request's serial, which send --verbose prints" },
    ...engineArgs,
  },
  run: async ({ args: { serial, ...flags } }) => {
    if (serial === "" || serial.length > serialLengthMax) {
      throw new UsageError(`SERIAL must have 1 to ${serialLengthMax} characters`);
    }
    await printDone(`cancelled ${await withEngine(flags, (engine) => engine.cancel(serial))}`);
  },
});
