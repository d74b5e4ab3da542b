/** Jobs that nobody waits for, from the command line and from a program: their ids, their results, their history. */
import { afterAll, beforeAll, expect, setDefaultTimeout } from "bun:test";
import { connect } from "task-engine";
import { test } from "../support/concurrent.ts";
import { type Engine, oneWorker, runCommand, startEngine } from "../support/engine.ts";
import { taskEngine } from "../support/executable.ts";
import { rejection } from "../support/rejection.ts";
import { type TempFolder, tempFolder } from "../support/temp-folder.ts";

setDefaultTimeout(300_000); // they wait for one another

const tasks = `
  export const task_photo = { moves: false, run: ([name], _, { log }) => { log("click"); return "a photo of " + name; } };
  export const task_bytes = { moves: false, run: () => new Uint8Array([1, 2, 3]) };
  export const task_blind = { moves: false, run: () => { throw new Error("the lens is dirty"); } };
  export const task_drive = () => "there";
`;

let folder: TempFolder;
let engine: Engine;
beforeAll(async () => {
  folder = tempFolder({ "tasks/robot.ts": tasks });
  engine = await startEngine({ cwd: folder.path, flags: oneWorker, workers: 1 });
}, 30_000);
afterAll(async () => {
  await engine[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

const run = (...args: string[]) =>
  runCommand(taskEngine, args, { env: { PATH: process.env.PATH ?? "", TASK_ENGINE_ROUTER: engine.endpoint } });

test("send --detach prints an id, by which result, job, jobs and cancel find the job", async () => {
  const sent = await run("send", "--detach", "photo", "roses", "--in", "300ms");
  expect(sent).toMatchObject({ exitCode: 0, stderr: "" });
  const id = sent.stdout.trim();
  expect(id).toMatch(/^[a-z2-7]{16}$/);
  expect(await run("result", id)).toEqual({ exitCode: 0, stdout: "a photo of roses\n", stderr: "" });
  const { stdout } = await run("job", id);
  expect(stdout).toMatch(/^state: +done$/m);
  expect(stdout).toMatch(/^args: +\["roses"\]$/m);
  expect((await run("logs", "--job", id)).stdout).toMatch(new RegExp(`  ${id}  photo  click\n$`));
  expect((await run("jobs", "--task", "photo", "--since", "1h")).stdout).toContain(`${id}  done `);
  expect(await run("cancel", id)).toMatchObject({ exitCode: 1, stderr: `task-engine: job ${id} has ended already\n` });
});

test("a binary result is kept as it is", async () => {
  await using client = connect(engine.endpoint);
  const job = await client.call("bytes", [], {}, { detach: true });
  expect(await job.result()).toEqual(new Uint8Array([1, 2, 3]));
  expect(await job.report()).toMatchObject({ state: "done", task: "bytes", args: [] });
});

test("a job that fails has its error for result and job, and is in jobs --failed", async () => {
  const id = (await run("send", "--detach", "blind")).stdout.trim();
  expect(await run("result", id)).toMatchObject({
    exitCode: 1,
    stderr: "task-engine: TASK_ERROR: the lens is dirty\n",
  });
  expect((await run("job", id)).stdout).toMatch(/^error: +TASK_ERROR: the lens is dirty$/m);
  expect((await run("logs", "--task", "blind")).stdout).toContain(`${id}  blind  error: Error: the lens is dirty\n`);
  expect((await run("jobs", "--failed")).stdout).toContain(`${id}  failed `);
});

test("a job that waits is cancelled by its id, and who waits for it is told", async () => {
  await using client = connect(engine.endpoint);
  const job = await client.call("photo", ["moon"], {}, { detach: true, delayMs: 3_600_000, unique: "moon" });
  const again = await client.call("photo", ["moon"], {}, { detach: true, delayMs: 3_600_000, unique: "moon" });
  expect([again.id, again.existing, job.state]).toEqual([job.id, true, "delayed"]);
  expect(await rejection(job.result({ waitMs: 10 }))).toMatchObject({ code: "NO_ANSWER" });
  const waiting = rejection(job.result());
  expect(await run("cancel", job.id)).toMatchObject({ exitCode: 0, stdout: "cancelled 1\n" });
  expect(await waiting).toMatchObject({ code: "CANCELLED" });
});

test("what may move is not detached, and an id of which nothing is known is said so", async () => {
  const { exitCode, stderr } = await run("send", "--detach", "drive");
  expect({ exitCode, stderr }).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining(
      "BAD_ARGS: drive may move something, so it cannot be detached; write `moves: false`",
    ),
  });
  expect(await run("result", "aaaaaaaaaaaaaaaa")).toMatchObject({
    exitCode: 1,
    stderr: 'task-engine: UNKNOWN_JOB: no job "aaaaaaaaaaaaaaaa" is known, any more or at all\n',
  });
});
