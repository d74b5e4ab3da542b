/**
 * `pause TASK` keeps the jobs of a task waiting, those to come, too; what runs goes on. `resume
 * TASK` ends that, and the quarantine of a task whose jobs have killed their workers.
 *
 * Sends CONTROL `pause` or `resume`. Prints one line. A pause survives a restart of the engine.
 *
 * Exits with 0; 1 if the engine refused (an unknown task), or could not put it on its disk; 2 for
 * wrong usage; 3 if there is no engine or no answer in time.
 */
import { defineCommand } from "./command.ts";
import { engineArgs, withEngine } from "./engine.ts";
import { printKept } from "./output.ts";
import { nameFrom } from "./values.ts";

const taskArg = { type: "positional", required: true, description: "Name of the task" } as const;

export const pauseCommand = defineCommand({
  meta: { name: "pause", description: "Keep the jobs of a task waiting until it is resumed" },
  args: { task: taskArg, ...engineArgs },
  run: async ({ args }) => {
    const task = nameFrom(args.task, "TASK");
    const { failure } = await withEngine(args, (engine) => engine.pause(task));
    await printKept(`paused: task-engine resume ${task} ends it`, failure);
  },
});

export const resumeCommand = defineCommand({
  meta: { name: "resume", description: "End the pause or the quarantine of a task" },
  args: { task: taskArg, ...engineArgs },
  run: async ({ args }) => {
    const task = nameFrom(args.task, "TASK");
    const { failure } = await withEngine(args, (engine) => engine.resume(task));
    await printKept(`resumed: jobs of ${task} begin again`, failure);
  },
});
