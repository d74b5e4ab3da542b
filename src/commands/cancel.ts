/**
 * `cancel SERIAL` cancels a request, whoever sent it, whether its job waits or runs. `send --verbose` prints serials.
 *
 * Sends CONTROL `cancel`. Who sent the request gets the error CANCELLED, or its result if that was quicker.
 * Prints how many were cancelled: more than one only where two requestors use the same serial. Exits with 0; 1 when there is no
 * such request or the engine said no, 2 for wrong usage, 3 when there is no engine or no answer in time.
 */
import { serialLengthMax } from "../limits.ts";
import { defineCommand } from "./command.ts";
import { connectionFrom, endpointFrom, engineArgs, withEngine } from "./engine.ts";
import { UsageError } from "./exit.ts";
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
    const cancelled = await withEngine(await endpointFrom(flags), connectionFrom(flags), (engine) =>
      engine.cancel(serial),
    );
    await printDone(`cancelled ${cancelled}`);
  },
});
