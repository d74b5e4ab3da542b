/**
 * `task-engine scan`: lists the tasks in a process of its own, so that the supervisor never runs
 * user code. It prints a JSON list of `{name, schema, …policy}`, names without the prefix `task_`,
 * and, if there are sources, on a second line a list of `{name, topic, everyMs}`. It prints nothing
 * else on stdout, and on stderr a line for each thing in the folder that may be taken for a task
 * and is none.
 */
import { closeSync, writeSync } from "node:fs";
import { warn } from "../process/log.ts";
import { libc } from "../transport/libc.ts";
import { listTasks } from "./json-schema.ts";
import { loadAll } from "./registry.ts";

const stdoutFd = 1;
const stderrFd = 2;

/**
 * Loads the task files and prints what they define. Throws StartError as `loadAll` does. They may
 * leave timers and sockets behind that keep the process alive, so its caller exits when it is done.
 */
export const runScan = async (tasksDir: string | null, pythonTasks: readonly string[] = []): Promise<void> => {
  const answerFd = divertStdout();
  const loaded = await loadAll(tasksDir, { onSkipped: warn, pythonTasks: new Set(pythonTasks) });
  const tasks = listTasks(loaded.tasks);
  const sources = loaded.sources.map(({ name, topic, everyMs }) => ({ name, topic, everyMs }));
  const lists = (sources.length === 0 ? [tasks] : [tasks, sources]).map((list) => list.sort(byName));
  let rest = Buffer.from(lists.map((list) => `${JSON.stringify(list)}\n`).join(""));
  while (rest.length > 0) rest = rest.subarray(writeSync(answerFd, rest));
  closeSync(answerFd);
};

const byName = (a: { name: string }, b: { name: string }): number => (a.name < b.name ? -1 : 1);

/**
 * Makes stdout another stderr and returns a descriptor of the real one: a task file, or a program
 * that it starts, may print as it loads, and must not write into the answer.
 */
const divertStdout = (): number => {
  const answerFd = libc.dup(stdoutFd);
  if (answerFd < 0 || libc.dup2(stderrFd, stdoutFd) < 0) throw new Error("stdout cannot be set aside: dup(2) failed");
  return answerFd;
};
