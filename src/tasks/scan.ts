/**
 * `task-engine scan`: which tasks there are, found in a process of its own, so that the supervisor never runs user code.
 * Prints them as a JSON list of `{name, …policy}`, names without the prefix `task_`, on stdout and nothing else there; on stderr a
 * line for each thing in the folder that may be taken for a task and is none.
 */
import { closeSync, writeSync } from "node:fs";
import { taskLoadMs } from "../limits.ts";
import { warn } from "../process/log.ts";
import { libc } from "../transport/libc.ts";
import { loadRegistry } from "./registry.ts";

const stdoutFd = 1;
const stderrFd = 2;

/**
 * Loads the registry and prints what is in it. Throws StartError as `loadRegistry` does. Task files may leave timers and
 * sockets behind that keep the process alive: who calls this exits when it is done.
 */
export const scanTasks = async (tasksDir: string | null): Promise<void> => {
  const answerFd = divertStdout();
  const registry = await loadRegistry(tasksDir, taskLoadMs, null, warn);
  const tasks = [...registry.values()].map(({ name, policy }) => ({ name, ...policy }));
  tasks.sort((a, b) => (a.name < b.name ? -1 : 1));
  writeWhole(answerFd, `${JSON.stringify(tasks)}\n`);
  closeSync(answerFd);
};

/**
 * Makes stdout another stderr and returns a descriptor of the real one: a task file may print as it loads, by whatever
 * means, even from a program that it starts, and must not write into the answer.
 */
const divertStdout = (): number => {
  const answerFd = libc.dup(stdoutFd);
  if (answerFd < 0 || libc.dup2(stderrFd, stdoutFd) < 0) throw new Error("stdout cannot be set aside: dup(2) failed");
  return answerFd;
};

const writeWhole = (fd: number, text: string): void => {
  let rest = Buffer.from(text);
  while (rest.length > 0) rest = rest.subarray(writeSync(fd, rest));
};
