/**
 * `retry ID` runs a dead letter again, a durable job that has failed for good; `discard ID` forgets
 * it. `jobs --dead` lists them.
 *
 * Sends CONTROL `retry` or `discard`. `retry` prints the id of the new job, which `result` and
 * `job` take. A task that may move something is retried with `--yes` alone.
 *
 * Exits with 0; 1 if there is no such dead letter, it was not confirmed, or the engine refused; 2
 * for wrong usage; 3 if there is no engine or no answer in time.
 */
import { defineCommand } from "./command.ts";
import { engineArgs, withEngine } from "./engine.ts";
import { printDone } from "./output.ts";
import { nameFrom } from "./values.ts";

const idArg = { type: "positional", required: true, description: "Its id, which jobs --dead prints" } as const;

export const retryCommand = defineCommand({
  meta: { name: "retry", description: "Run a dead letter again, as a new job" },
  args: {
    id: idArg,
    yes: { type: "boolean", description: "Also if it may move something: look at the robot first" },
    ...engineArgs,
  },
  run: async ({ args }) => {
    const id = nameFrom(args.id, "ID");
    await printDone(await withEngine(args, (engine) => engine.retry(id, { confirm: args.yes === true })));
  },
});

export const discardCommand = defineCommand({
  meta: { name: "discard", description: "Forget a dead letter" },
  args: { id: idArg, ...engineArgs },
  run: async ({ args }) => {
    const id = nameFrom(args.id, "ID");
    await withEngine(args, (engine) => engine.discard(id));
    await printDone(`discarded: ${id}`);
  },
});
