/** Task files for tests of the whole engine: tasks that leave a trace, wait, spin, and die. */

/** Each job that begins adds its argument as a line to the file named by `RECORD`. */
export const robotTasks = `
import { appendFileSync, existsSync } from "node:fs";
/** Notes that it was begun, takes ms, gives its argument back. */
export const task_step = async ([name, ms], kwargs, context) => {
  appendFileSync(process.env.RECORD, name + "\\n");
  if (ms > 0) await Bun.sleep(ms);
  return name;
};
/** Runs until the file is there. */
export const task_gate = async ([file], kwargs, { log }) => {
  log("gate has begun");
  while (!existsSync(file)) await Bun.sleep(5);
  return "open";
};
/** Never lets go if it is told so, and else returns at once. */
export const task_spin = { run: ([forEver]) => { while (forEver) Bun.sleepSync(1000); return "done"; }, timeoutMs: 300, graceMs: 100 };
export const task_pid = () => process.pid;
`;

/** The file's lines: what was begun, in order. */
export const recordToml = (record: string): string => `[env]\nRECORD = ${JSON.stringify(record)}\n`;
