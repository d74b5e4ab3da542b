/** How a verb finds the engine that it is meant for, where nobody types where that is. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync } from "node:fs";
import { connect } from "task-engine";
import { type Engine, oneWorker, runCommand, startEngine } from "../support/engine.ts";
import { taskEngine } from "../support/executable.ts";
import { freePorts } from "../support/ports.ts";
import { tempFolder } from "../support/temp-folder.ts";

setDefaultTimeout(60_000);

const first = freePorts(5);
const folder = tempFolder({
  "task-engine.toml": `port = ${first}\nstate = "kept"\n`,
  "other/task-engine.toml": `port = ${first + 4}\n`,
});
const noPort = { PATH: process.env.PATH ?? "" };
let engine: Engine;
beforeAll(async () => {
  // Its state folder is known by the file alone.
  engine = await startEngine({ first, cwd: folder.path, env: { ...noPort, TASK_ENGINE_STATE: "" }, flags: oneWorker });
});
afterAll(async () => {
  await engine[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

const run = (args: readonly string[], env: Record<string, string> = {}, cwd = folder.path) =>
  runCommand(taskEngine, args, { env: { ...noPort, ...env }, cwd });
const sum = { exitCode: 0, stdout: "5\n", stderr: "" };
const send = ["send", "count", "2", "3", "--wait", "2000"];

test("in the folder of the engine's settings a verb finds it by them", async () => {
  expect(await run(send)).toEqual(sum);
});

test("elsewhere it does by --config or a variable, and what is typed counts before what is set", async () => {
  const file = folder.at("task-engine.toml");
  const elsewhere = folder.at("other");
  expect(await run([...send, "--config", file], { TASK_ENGINE_ROUTER: "tcp://127.0.0.1:1" }, elsewhere)).toEqual(sum);
  expect(await run(send, { TASK_ENGINE_CONFIG: file }, elsewhere)).toEqual(sum);
  expect(await run(send, { TASK_ENGINE_PORT: `${first}` }, elsewhere)).toEqual(sum);
  expect(await run(send, { TASK_ENGINE_ROUTER: engine.endpoint }, elsewhere)).toEqual(sum);
  expect(await run([...send, "--router", engine.endpoint], { TASK_ENGINE_ROUTER: "nowhere" }, elsewhere)).toEqual(sum);
});

test("settings that cannot be used are named, and who types where the engine is needs none", async () => {
  using mine = tempFolder({ "task-engine.toml": "port = true\n" });
  const wrong = await run(send, {}, mine.path);
  expect(wrong).toMatchObject({ exitCode: 2, stdout: "" });
  expect(wrong.stderr).toStartWith(
    "task-engine: task-engine.toml: port: must be a whole number from 1 to 65535, not true",
  );
  expect(await run([...send, "--router", engine.endpoint], {}, mine.path)).toEqual(sum);
  chmodSync(mine.at("task-engine.toml"), 0o666);
  expect((await run(send, {}, mine.path)).stderr).toContain("another user can write it");
});

test("a task that is not there is answered with the name of one that is and was probably meant", async () => {
  const { stdout, stderr, exitCode } = await run(["send", "cuont", "2", "3", "--json"]);
  expect(exitCode).toBe(1);
  expect(stderr).toMatch(/^task-engine: UNKNOWN_TASK: .*cuont.* \(did you mean count\?\)\n$/);
  expect(JSON.parse(stdout).error.message).toEndWith(" (did you mean count?)");
  expect((await run(["send", "fly"])).stderr).not.toContain("did you mean");
});

test("`connect` without an endpoint goes where TASK_ENGINE_ROUTER says, as the command line does", async () => {
  const before = process.env.TASK_ENGINE_ROUTER;
  try {
    process.env.TASK_ENGINE_ROUTER = engine.endpoint;
    await using client = connect();
    expect(await client.call("count", [2, 3])).toBe(5);
    process.env.TASK_ENGINE_ROUTER = "nowhere";
    expect(() => connect()).toThrow('TASK_ENGINE_ROUTER "nowhere" is not of the form tcp://HOST:PORT');
  } finally {
    if (before === undefined) delete process.env.TASK_ENGINE_ROUTER;
    else process.env.TASK_ENGINE_ROUTER = before;
  }
});

test("`estop` finds the supervisor by the state folder that the settings name, when the router hangs", async () => {
  process.kill(engine.pidsOf("router")[0] ?? 0, "SIGSTOP");
  const stopped = await run(["estop"]);
  expect(stopped).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/^stopped since /), stderr: "" });
  using mine = tempFolder({ "task-engine.toml": "port = true\n" });
  const again = await run(["estop"], { TASK_ENGINE_ROUTER: engine.endpoint }, mine.path);
  expect(again).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/^stopped since /) });
  expect(again.stderr).toContain("task-engine.toml: port: must be a whole number");
});
