/**
 * `tasks` lists the tasks that a running engine can run, one name a line.
 *
 * Sends CONTROL `tasks`. With `--json` it prints a list of `{"name": …, "workers": …, "schema":
 * …}`, where `workers` is the number of workers that serve the task now, and `schema`, if there is
 * one, has the JSON Schemas of its `args` and `kwargs`.
 *
 * Exits with 0; 1 if the engine refused; 2 for wrong usage; 3 if there is no engine or no answer
 * in time.
 */
import { printable } from "../process/streams.ts";
import { defineCommand } from "./command.ts";
import { engineArgs, withEngine } from "./engine.ts";
import { printResult } from "./output.ts";

export const tasksCommand = defineCommand({
  meta: { name: "tasks", description: "List the tasks of a running engine" },
  args: {
    ...engineArgs,
    json: { type: "boolean", description: "Print a JSON list, with how many workers serve each task" },
  },
  run: async ({ args }) => {
    const tasks = await withEngine(args, (engine) => engine.tasks());
    if (args.json) await printResult(JSON.stringify(tasks));
    // Any worker chooses its names; a line feed in one must not make two lines.
    else for (const { name } of tasks) await printResult(printable(name));
  },
});
