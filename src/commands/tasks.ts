/**
 * `tasks` lists the tasks that a running engine can run, one name a line.
 *
 * Sends CONTROL `tasks`. With `--json` prints a list of `{"name": …, "workers": …}`, `workers` being how many serve it now.
 * Exits with 0; 1 when the engine said no, 2 for wrong usage, 3 when there is no engine or no answer in time.
 */
import { printable } from "../process/streams.ts";
import { defineCommand } from "./command.ts";
import { connectionFrom, endpointFrom, engineArgs, withEngine } from "./engine.ts";
import { printResult } from "./output.ts";

export const tasksCommand = defineCommand({
  meta: { name: "tasks", description: "List the tasks of a running engine" },
  args: {
    ...engineArgs,
    json: { type: "boolean", description: "Print a JSON list, with how many workers serve each task" },
  },
  run: async ({ args }) => {
    const tasks = await withEngine(await endpointFrom(args), connectionFrom(args), (engine) => engine.tasks());
    if (args.json) await printResult(JSON.stringify(tasks));
    // A name that somebody's worker has thought of must not look like two.
    else for (const { name } of tasks) await printResult(printable(name));
  },
});
