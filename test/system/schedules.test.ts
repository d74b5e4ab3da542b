/** Tasks that run by themselves, in a whole engine and from the command line. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { connect } from "task-engine";
import { type Engine, runCommand, startEngine } from "../support/engine.ts";
import { taskEngine } from "../support/executable.ts";
import { type TempFolder, tempFolder } from "../support/temp-folder.ts";

setDefaultTimeout(60_000);

const tasks = `
  export const task_blink = { moves: false, everyMs: 1000, run: (_, __, { log }) => log("blinks") };
  export const task_night = { moves: false, schedule: { cron: "30 3 * * *", zone: "Europe/Berlin" }, run: () => 1 };
  export const task_sum = { moves: false, run: (numbers) => numbers.reduce((a, b) => a + b, 0) };
  export const task_drive = () => "moved";
`;
const settings = `
[[schedule]]
name = "five"
task = "sum"
args = [2, 3]
every-ms = 1000
[[schedule]]
name = "moving"
task = "drive"
cron = "@daily"
`;

let folder: TempFolder;
let engine: Engine;
beforeAll(async () => {
  folder = tempFolder({ "tasks/robot.ts": tasks, "task-engine.toml": settings });
  engine = await startEngine({ cwd: folder.path });
});
afterAll(async () => {
  await engine[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

const run = (...args: string[]) =>
  runCommand(taskEngine, args, { env: { PATH: process.env.PATH ?? "", TASK_ENGINE_ROUTER: engine.endpoint } });

test("tasks of definitions and of the file of settings run by themselves, and are jobs", async () => {
  await engine.line(/blink: blinks/);
  await using client = connect(engine.endpoint);
  const five = async () => (await client.jobs({ task: "sum" })).find(({ state }) => state === "done");
  let job = await five();
  while (job === undefined) {
    await Bun.sleep(100);
    job = await five();
  }
  expect(job).toMatchObject({ task: "sum", requestor: "schedule five", args: [2, 3] });
  expect(await run("result", job.job)).toMatchObject({ stdout: "5\n", exitCode: 0 });
});

test("`schedule list` shows each, and why one cannot run, which the log says, too", async () => {
  const { stdout, exitCode } = await run("schedule", "list");
  expect(exitCode).toBe(0);
  expect(stdout).toMatch(/^blink {2}every 1000 ms {2}next \d{4}-/m);
  expect(stdout).toMatch(/^night {2}30 3 \* \* \* \(Europe\/Berlin\) {2}next (-|\d{4}-)/m);
  expect(stdout).toMatch(/^five \(sum\) {2}every 1000 ms/m);
  expect(stdout).toMatch(
    /^moving \(drive\) .*drive may move something, so it cannot be scheduled; write `moves: false`/m,
  );
  await engine.line(/The schedule moving cannot run: drive may move something/);
});

test("`schedule run` runs one now, and says so of one that is not there", async () => {
  expect(await run("schedule", "run", "night")).toMatchObject({ exitCode: 0 });
  await using client = connect(engine.endpoint);
  expect(await client.jobs({ task: "night" })).toMatchObject([{ requestor: "schedule night" }]);
  const missing = await run("schedule", "run", "none");
  expect(missing.exitCode).toBe(1);
  expect(missing.stderr).toBe(
    'task-engine: UNKNOWN_TASK: there is no schedule "none"; `task-engine schedule list` lists those that there are\n',
  );
});
