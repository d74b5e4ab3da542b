/**
 * `reset` ends an emergency stop: jobs are taken and run again. Whoever does that has looked at the robot.
 *
 * Sends CONTROL `reset`. Prints one line. Exits with 0, also where there was no emergency stop; 1 when the engine said no, 2 for
 * wrong usage, 3 when there is no engine or no answer in time.
 */
import { defineCommand } from "./command.ts";
import { connectionFrom, endpointFrom, engineArgs, withEngine } from "./engine.ts";
import { printResult } from "./output.ts";

export const resetCommand = defineCommand({
  meta: { name: "reset", description: "End an emergency stop" },
  args: engineArgs,
  run: async ({ args }) => {
    await withEngine(await endpointFrom(args), connectionFrom(args), (engine) => engine.reset());
    await printResult("reset: the engine takes jobs again");
  },
});
