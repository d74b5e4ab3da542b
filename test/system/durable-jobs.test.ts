/** Paused tasks and schedules, and dead letters, in a whole engine and from the command line. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { Asker } from "../support/asker.ts";
import { type Engine, oneWorker, runCommand, startEngine } from "../support/engine.ts";
import { taskEngine } from "../support/executable.ts";
import { type TempFolder, tempFolder } from "../support/temp-folder.ts";

setDefaultTimeout(60_000);

const tasks = `
  export const task_upload = { moves: false, durable: true, run: () => "uploaded" };
  export const task_blink = { moves: false, everyMs: 1000, run: () => "on" };
  let patrols = 0;
  export const task_patrol = {
    resumesAfterRestart: true,
    durable: true,
    run: () => {
      if (patrols++ % 2 === 0) throw new Error("the gate is closed");
      return "patrolled";
    },
  };
  export const task_sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
`;

let folder: TempFolder;
let engine: Engine;
const start = (first?: number): Promise<Engine> =>
  startEngine({ cwd: folder.path, flags: oneWorker, state: folder.at("state"), ...(first !== undefined && { first }) });
beforeAll(async () => {
  folder = tempFolder({ "tasks/robot.ts": tasks });
  engine = await start();
});
afterAll(async () => {
  await engine[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

const run = (...args: string[]) =>
  runCommand(taskEngine, args, { env: { PATH: process.env.PATH ?? "", TASK_ENGINE_ROUTER: engine.endpoint } });
const done = (line: string) => ({ exitCode: 0, stdout: `${line}\n`, stderr: "" });

test("a paused task waits through a restart of the engine while others run, and begins once it is resumed", async () => {
  expect(await run("pause", "upload")).toEqual(done("paused: task-engine resume upload ends it"));
  const sent = await run("send", "--detach", "upload");
  const id = sent.stdout.trim();
  expect(await run("send", "sum", "1", "2")).toEqual(done("3"));
  using direct = new Asker(`tcp://127.0.0.1:${engine.ports.worker}`);
  expect(await direct.ask("upload")).toEqual({ code: "UNAVAILABLE" });
  expect((await run("status")).stdout).toMatch(/^PAUSED: upload since 20.* UTC; `task-engine resume upload` ends it$/m);
  expect(await run("schedule", "pause", "blink")).toEqual(done("paused: task-engine schedule resume blink ends it"));

  await engine[Symbol.asyncDispose]();
  engine = await start(engine.ports.frontend);
  expect((await run("job", id)).stdout).toMatch(/^state: +(queued|delayed)$/m);
  expect((await run("schedule", "list")).stdout).toMatch(/^blink {2}every 1000 ms {2}paused/m);
  using again = new Asker(`tcp://127.0.0.1:${engine.ports.worker}`);
  expect(await again.ask("upload")).toEqual({ code: "UNAVAILABLE" });
  expect(await run("resume", "upload")).toEqual(done("resumed: jobs of upload begin again"));
  expect(await run("result", id)).toEqual(done("uploaded"));
  expect(await again.ask("upload")).toEqual({ result: "uploaded" });
  expect((await run("schedule", "resume", "blink")).stdout).toStartWith("resumed: next at 20");
  expect((await run("status")).stdout).not.toContain("PAUSED");
});

test("an unknown task or schedule is one line", async () => {
  const unknown = await run("pause", "nonsense");
  expect(unknown).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('no task "nonsense" is registered') });
  expect(await run("schedule", "pause", "nonsense")).toMatchObject({ exitCode: 1 });
  expect(await run("resume", "nonsense")).toEqual(done("resumed: jobs of nonsense begin again"));
});

test("a dead letter is listed, retried where that is confirmed, or discarded", async () => {
  const fail = async (): Promise<string> => {
    const { stdout } = await run("send", "--detach", "patrol");
    const id = stdout.trim();
    expect(await run("result", id)).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining("the gate is closed"),
    });
    return id;
  };
  const id = await fail();
  expect((await run("jobs", "--dead")).stdout).toMatch(
    new RegExp(`^${id} .* patrol .*TASK_ERROR: the gate is closed$`, "m"),
  );
  expect(await run("retry", id)).toEqual({
    exitCode: 1,
    stdout: "",
    stderr: `task-engine: UNCONFIRMED: patrol may move something; if that is safe, run task-engine retry ${id} --yes, or say \`"confirm": true\`\n`,
  });
  const retried = await run("retry", id, "--yes");
  expect(retried).toMatchObject({ exitCode: 0, stderr: "" });
  expect(await run("result", retried.stdout.trim())).toEqual(done("patrolled"));
  const other = await fail();
  expect(await run("discard", other)).toEqual(done(`discarded: ${other}`));
  expect(await run("jobs", "--dead")).toEqual({ exitCode: 0, stdout: "", stderr: "" });
  expect(await run("retry", other)).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("no dead letter") });
});
