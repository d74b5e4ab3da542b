/**
 * `reset` ends an emergency stop: jobs are accepted and run again. Look at the robot first.
 *
 * Sends CONTROL `reset` and waits until the stop has done its work, above all the task of
 * `on-stop`; after a second it says so on stderr. Prints one line. A reset that is given up does
 * not end the stop later. With `--nats` it goes to one robot of a fleet, never to several at once.
 *
 * Exits with 0, also if there was no emergency stop; 1 if the engine refused, or if stdout cannot
 * be written (the error says that the stop is ended); 2 for wrong usage; 3 if there is no engine or
 * no answer in time; 130 after Ctrl-C.
 */
import type { Client } from "../client/client.ts";
import type { Robot } from "../client/robot.ts";
import { resetNoticeMs, resetTimeoutMs, safeMs } from "../limits.ts";
import { stderr } from "../process/streams.ts";
import { defineCommand } from "./command.ts";
import { engineArgs, interruptible, waitFlag, waitFrom, withEngine } from "./engine.ts";
import { fleetArgs, isForFleet, withRobot } from "./fleet.ts";
import { printDone } from "./output.ts";

const notice =
  "waiting until the engine has made the robot safe, for which on-stop may take " +
  `${safeMs / 1000} s; Ctrl-C gives up, and the emergency stop stays`;

export const resetCommand = defineCommand({
  meta: { name: "reset", description: "End an emergency stop" },
  args: { ...engineArgs, ...fleetArgs, wait: waitFlag(resetTimeoutMs) },
  run: ({ args }) =>
    interruptible(async (signal) => {
      const waitMs = waitFrom(args, resetTimeoutMs);
      const isRobot = isForFleet(args);
      const reset = (engine: Client | Robot) => engine.reset({ waitMs, signal });
      const timer = setTimeout(() => stderr.log(`task-engine: ${notice}`), resetNoticeMs);
      try {
        await (isRobot ? withRobot(args, reset) : withEngine(args, reset));
      } finally {
        clearTimeout(timer);
      }
      await printDone("reset: the engine takes jobs again");
    }),
});
