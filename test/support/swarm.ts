/** Tasks that start processes in every way there is, and which of those live. */
import { readdirSync, readFileSync } from "node:fs";
import { isAlive } from "./proc.ts";

/** How a task starts processes that sleep for `TIME`, which is different for each job, and how many of them at least. */
export const swarms: Readonly<Record<string, readonly [start: string, count: number]>> = {
  spawn: ['Bun.spawn(["sleep", TIME]).exited', 1],
  exec: ['new Promise((resolve) => exec("sleep " + TIME, resolve))', 1],
  shell: ["Bun.$`sleep TIME`.quiet().nothrow()", 1],
  pipeline: ['shell("sleep TIME | cat | sleep TIME").exited', 3],
  groups: ['shell("set -m; sleep TIME & sleep TIME & wait").exited', 3],
  detached: ['Promise.resolve(spawn("sleep", [TIME], { detached: true, stdio: "ignore" }).unref())', 1],
  nohup: ["shell(\"nohup sleep TIME >/dev/null 2>&1 & trap '' TERM HUP INT; sleep TIME\").exited", 3],
  daemon: ["shell(\"exec env -i $(command -v setsid) sh -c '(/usr/bin/setsid sleep TIME &) ; exit 0'\").exited", 1],
  storm: ["shell(\"exec setsid sh -c 'while :; do sleep TIME & sleep 0.02; done'\").exited", 4],
  spawnSync: ['Bun.spawnSync(["sleep", TIME])', 1],
};

/**
 * A file of tasks of these names, each with an `onStop`. A job of it is given a time to sleep, and the ways to do so; it goes on for as
 * long as one of them does. `onStop` notes how many of its processes live, in the file `RECORD`.
 */
export const swarmTasks = (...names: readonly string[]): string => `
import { exec, spawn } from "node:child_process";
import { appendFileSync, readFileSync } from "node:fs";
import { livingSleepers } from ${JSON.stringify(import.meta.path)};

const ways = {
${Object.entries(swarms)
  .map(([name, [start]]) => `  ${name}: (TIME, shell) => ${start},`)
  .join("\n")}
};
const note = (line) => appendFileSync(process.env.RECORD, line + "\\n");
const task = (name, more) => ({
  run: async ([TIME, ...wanted]) => {
    note(name + " sleeps " + TIME + " in " + process.pid);
    const shell = (line) => Bun.spawn(["sh", "-c", line.replaceAll("TIME", TIME)], { stdio: ["ignore", "ignore", "ignore"] });
    await Promise.all(wanted.map((way) => ways[way](TIME, shell)));
  },
  onStop: () => {
    const [, time] = readFileSync(process.env.RECORD, "utf8").match(new RegExp("^" + name + " sleeps (.*) in", "m"));
    note(name + " is safe, living: " + livingSleepers(time).length);
  },
  ...more,
});
${names.map((name) => `export const task_${name} = task(${JSON.stringify(name)}, { graceMs: 100 });`).join("\n")}
`;

/** A time that no other process sleeps for. */
export const sleepTime = (): string => `9000.${Math.random().toString().slice(2, 12)}`;

/** Process ids of all living processes that have to do with this time. */
export const livingSleepers = (time: string): number[] =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && commandOf(name).includes(time))
    .map(Number)
    .filter(isAlive);

const commandOf = (pid: string): string => {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "latin1");
  } catch {
    return "";
  }
};
