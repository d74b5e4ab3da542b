/** `task-engine safe`: a process that makes safe what no worker can. */
import { expect, setDefaultTimeout } from "bun:test";
import { readFileSync } from "node:fs";
import { onStopTriesMax } from "../../src/limits.ts";
import { test } from "../support/concurrent.ts";
import { taskEngine } from "../support/executable.ts";
import { tempFolder } from "../support/temp-folder.ts";

setDefaultTimeout(300_000); // they wait for one another

const robot = `
  import { appendFileSync, readFileSync } from "node:fs";
  const note = (line) => appendFileSync(process.env.NOTES, line + "\\n");
  const notes = () => readFileSync(process.env.NOTES, "utf8").split("\\n");
  const late = () => Promise.withResolvers().promise;
  export const task_drive = { run: () => note("runs"), onStop: (context, { code, message }) => note("drive " + code + " " + message) };
  export const task_lift = { run: () => note("runs"), onStop: async () => { note("lift"); if (notes().length < 4) throw new Error("no\\nbus"); } };
  export const task_jam = { run: () => note("runs"), onStop: () => { note("jam"); throw new Error("jammed"); } };
  export const task_hang = { run: () => note("runs"), onStop: ({ signal }) => { signal.onabort = () => note("hang aborted"); return late(); }, onStopMs: 50 };
  export const task_stray = { run: () => note("runs"), onStop: async () => { void Promise.reject(new Error("astray")); await Bun.sleep(20); note("stray"); } };
  export const task_quiet = () => note("runs");
  export const task_power = (args, kwargs) => note("power off " + JSON.stringify([args, kwargs]));
  setInterval(() => undefined, 1000);`;

const flags = ["--code", "STOPPED", "--message", "child on the track"];

/** Runs it to its end; `signal` is sent to it as soon as its first note is there. */
const safe = async (args: readonly string[], more: Record<string, string> = {}, signal?: NodeJS.Signals) => {
  using folder = tempFolder({ notes: "", "tasks/robot.ts": robot, ...more });
  const child = Bun.spawn([...taskEngine, "safe", "--tasks", folder.at("tasks"), ...args, ...flags], {
    env: { PATH: process.env.PATH ?? "", NOTES: folder.at("notes") },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 30_000,
  });
  const notes = (): string[] => readFileSync(folder.at("notes"), "utf8").split("\n").slice(0, -1);
  if (signal !== undefined) {
    while (notes().length === 0) await Bun.sleep(5);
    child.kill(signal);
  }
  const [stderr, exitCode] = await Promise.all([child.stderr.text(), child.exited]);
  const errors = stderr.split("\n").slice(0, -1);
  return {
    notes: notes(),
    errors: errors.map((line) => line.replace(`[SAFE-${child.pid}] `, "").replaceAll(folder.path, "FOLDER")),
    exitCode,
  };
};

test("it runs each onStop that is named, and the task, with the reason, and exits 0", async () => {
  const { notes, errors, exitCode } = await safe(["--on-stop", "drive", "--run", "power"]);
  expect(notes.sort()).toEqual([
    "drive STOPPED child on the track",
    'power off [[],{"code":"STOPPED","message":"child on the track"}]',
  ]);
  expect({ errors, exitCode }).toEqual({ errors: [], exitCode: 0 });
});

test("what fails is tried again, in time with success", async () => {
  const { notes, errors, exitCode } = await safe(["--on-stop", "lift"]);
  expect(notes).toEqual(["lift", "lift", "lift"]);
  expect({ errors, exitCode }).toEqual({
    errors: [
      "The onStop of lift has failed (try 1 of 3): no bus",
      "The onStop of lift has failed (try 2 of 3): no bus",
    ],
    exitCode: 0,
  });
});

test("what fails each time, hangs, or is not there holds up nothing else, and the exit code is 1", async () => {
  const names = ["jam", "hang", "quiet", "fly", "drive"].flatMap((name) => ["--on-stop", name]);
  const { notes, errors, exitCode } = await safe([...names, "--run", "walk"]);
  expect(notes.sort()).toEqual([
    "drive STOPPED child on the track",
    ...Array(onStopTriesMax).fill("hang aborted"),
    ...Array(onStopTriesMax).fill("jam"),
  ]);
  const tries = (text: (tries: string) => string) => [1, 2, 3].map((number) => text(`(try ${number} of 3)`));
  expect(errors.sort()).toEqual([
    "The onStop of fly cannot be run: there is no such task",
    ...tries((which) => `The onStop of hang has failed ${which}: it took longer than 50 ms`),
    ...tries((which) => `The onStop of jam has failed ${which}: jammed`),
    "The onStop of quiet cannot be run: the task has none",
    "The task walk cannot be run: there is no such task",
  ]);
  expect(exitCode).toBe(1);
});

test("a task file that is broken by now does not keep the others from being made safe", async () => {
  const { notes, errors, exitCode } = await safe(["--on-stop", "drive"], { "tasks/a.ts": "throw new Error('oh')" });
  expect(notes).toEqual(["drive STOPPED child on the track"]);
  expect({ errors, exitCode }).toEqual({
    errors: ["Skipped: FOLDER/tasks/a.ts cannot be loaded: oh"],
    exitCode: 0,
  });
});

test("an error outside of what is run ends nothing early, and counts", async () => {
  const { notes, errors, exitCode } = await safe(["--on-stop", "stray"]);
  expect(notes).toEqual(["stray"]);
  expect(errors).toEqual(["An error outside of any task: Error: astray"]);
  expect(exitCode).toBe(1);
});

test("a Ctrl-C does not end it", async () => {
  const { notes, errors, exitCode } = await safe(["--on-stop", "lift"], {}, "SIGINT");
  expect(notes).toEqual(["lift", "lift", "lift"]);
  expect(errors).toHaveLength(2);
  expect(exitCode).toBe(0);
});

test("without anything to run there is nothing to fail", async () => {
  expect(await safe([])).toEqual({ notes: [], errors: [], exitCode: 0 });
});
