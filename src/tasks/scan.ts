/**
 * `task-engine scan`: lists the tasks in a process of its own, so that the supervisor never runs
 * user code. It prints a JSON list of `{name, …policy}`, names without the prefix `task_`, and
 * nothing else on stdout; on stderr a line for each thing in the folder that may be taken for a
 * task and is none.
 */
import { closeSync, writeSync } from "node:fs";
import { warn } from "../process/log.ts";
import { libc } from "../transport/libc.ts";
import { loadRegistry } from "./registry.ts";

const stdoutFd = 1;
const stderrFd = 2;

/**
 * Loads the registry and prints its tasks. Throws StartError as `loadRegistry` does. Task files may
 * leave timers and sockets behind that keep the process alive, so its caller exits when it is done.
 */
export const runScan = async (tasksDir: string | null): Promise<void> => {
  const answerFd = divertStdout();
  const registry = await loadRegistry(tasksDir, { onSkipped: warn });
  const tasks = [...registry.values()].map(({ name, policy }) => ({ name, ...policy }));
  tasks.sort((a, b) => (a.name < b.name ? -1 : 1));
  let rest = Buffer.from(`${JSON.stringify(tasks)}\n`);
  while (rest.length > 0) rest = rest.subarray(writeSync(answerFd, rest));
  closeSync(answerFd);
};

/**
 * Makes stdout another stderr and returns a descriptor of the real one: a task file, or a program
 * that it starts, may print as it loads, and must not write into the answer.
 */
const divertStdout = (): number => {
  const answerFd = libc.dup(stdoutFd);
  if (answerFd < 0 || libc.dup2(stderrFd, stdoutFd) < 0) throw new Error("stdout cannot be set aside: dup(2) failed");
  return answerFd;
};
