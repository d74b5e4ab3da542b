/**
 * `result ID` prints the result of a job as `send` would, once it is there.
 *
 * Sends CONTROL `result`, and waits for `--wait` at most. Ctrl-C ends the waiting, and not the job.
 *
 * Exits with 0; 1 if the job failed or nothing is known of it (stderr has `CODE: message`); 2 for
 * wrong usage; 3 if it has not ended in time, or there is no engine; 130 after Ctrl-C or SIGTERM.
 */
import { callTimeoutMs } from "../limits.ts";
import { bytesIn } from "../protocol/arrays.ts";
import { defineCommand } from "./command.ts";
import { engineArgs, interruptible, waitFlag, waitFrom } from "./engine.ts";
import { fleetArgs, groupFlag, withJobs } from "./fleet.ts";
import { printBytes, printResult } from "./output.ts";
import { nameFrom, plainText } from "./values.ts";

export const resultCommand = defineCommand({
  meta: { name: "result", description: "Print the result of a job" },
  args: {
    id: { type: "positional", required: true, description: "Its id, which send --detach and jobs print" },
    ...engineArgs,
    ...fleetArgs,
    group: groupFlag,
    wait: waitFlag(callTimeoutMs),
    json: { type: "boolean", description: "Print the whole answer as JSON" },
  },
  run: async ({ args }) => {
    const id = nameFrom(args.id, "ID");
    const waitMs = waitFrom(args, callTimeoutMs);
    await withJobs(args, (engine) =>
      interruptible(async (signal) => {
        const reply = await engine.resultReply(id, { waitMs, signal });
        if ("type" in reply) await printBytes(bytesIn(reply.data), `the result is ${reply.type.contentType}`);
        else await printResult(args.json ? JSON.stringify(reply) : plainText(reply.data));
      }),
    );
  },
});
