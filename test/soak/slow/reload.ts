/** `task-engine reload`: the engine reads anew, and who asked for it is told how that went. */
import { expect, setDefaultTimeout } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { connect } from "../../../src/client/client.ts";
import { test } from "../../support/concurrent.ts";
import { oneWorker, runCommand, startEngine } from "../../support/engine.ts";
import { taskEngine } from "../../support/executable.ts";
import { freePorts } from "../../support/ports.ts";
import { tempFolder } from "../../support/temp-folder.ts";

setDefaultTimeout(300_000); // they wait for one another

const reload = (env: Record<string, string>, ...args: string[]) =>
  runCommand(taskEngine, ["reload", ...args], { env: { PATH: process.env.PATH ?? "", ...env } });

test("`reload` waits until the new task files are served, and names the file that is wrong", async () => {
  using folder = tempFolder({ "tasks/a.ts": "export const task_a = () => 1;" });
  await using engine = await startEngine({ cwd: folder.path, flags: oneWorker });
  // Its state folder is found by the engine's port alone.
  const where = { TASK_ENGINE_ROUTER: engine.endpoint };
  writeFileSync(folder.at("tasks/a.ts"), "export const task_a = () => 2; export const task_b = () => 3;");
  expect(await reload(where)).toEqual({ exitCode: 0, stdout: "reloaded: 3 tasks\n", stderr: "" });
  expect(await engine.run("send", "a", "--router", engine.endpoint)).toMatchObject({ stdout: "2\n" });

  writeFileSync(folder.at("tasks/b.ts"), "export const task_c = (");
  const { exitCode, stdout, stderr } = await reload(where);
  expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
  expect(stderr).toStartWith(`task-engine: Task workers stay as they are: ${folder.at("tasks/b.ts")}:1:`);
  expect(stderr.trimEnd().split("\n")).toHaveLength(1);
  expect(await engine.run("send", "b", "--router", engine.endpoint)).toMatchObject({ stdout: "3\n" });

  // Those who ask while one is under way are told of the one that follows.
  rmSync(folder.at("tasks/b.ts"));
  const both = await Promise.all([reload(where), reload({}, "--state", engine.state, "--router", engine.endpoint)]);
  for (const result of both) expect(result).toEqual({ exitCode: 0, stdout: "reloaded: 3 tasks\n", stderr: "" });
});

test("`reload` names what is wrong with the file of authorized clients, by which nobody is let in", async () => {
  using home = tempFolder();
  const env = { PATH: process.env.PATH ?? "", HOME: home.path };
  await runCommand(taskEngine, ["keygen", "engine", "--dir", home.path], { env });
  writeFileSync(home.at("authorized"), "", { mode: 0o600 });
  await using engine = await startEngine({ env, flags: ["--key", home.at("engine.key_secret"), ...oneWorker] });
  writeFileSync(home.at("authorized"), "no line at all\n");
  const { exitCode, stderr } = await reload({ TASK_ENGINE_ROUTER: engine.endpoint });
  expect({ exitCode, stderr }).toEqual({
    exitCode: 1,
    stderr: expect.stringContaining(`No client is authorized: ${home.at("authorized")}, line 1: `),
  });
});

test("a key with the right `manage` reloads over the network, also from the client, and hears what is wrong", async () => {
  using home = tempFolder({ "tasks/a.ts": "export const task_a = () => 1;" });
  const env = { PATH: process.env.PATH ?? "", HOME: home.path };
  const dir = ["--dir", home.path];
  await runCommand(taskEngine, ["keygen", "engine", ...dir], { env });
  const lines: string[] = [];
  for (const [name, right] of [
    ["boss", "manage"],
    ["guest", "control"],
  ] as const) {
    const { stdout } = await runCommand(taskEngine, ["keygen", name, ...dir, "--rights", right], { env });
    lines.push(stdout.split("\n").find((line) => line.endsWith(`${name} ${right}`)) ?? "");
  }
  writeFileSync(home.at("authorized"), `${lines.join("\n")}\n`, { mode: 0o600 });
  await using engine = await startEngine({
    env,
    cwd: home.path,
    flags: ["--key", home.at("engine.key_secret"), ...oneWorker],
  });
  const keys = (name: string) => ({ key: home.at(`${name}.key_secret`), serverKey: home.at("engine.key") });
  await using boss = connect(engine.endpoint, keys("boss"));
  writeFileSync(home.at("tasks/b.ts"), "export const task_b = () => 3;");
  const { tasks } = await boss.reload();
  expect(await boss.reload()).toEqual({ tasks, failure: null });
  expect(await boss.tasks()).toContainEqual(expect.objectContaining({ name: "b" }));
  await using guest = connect(engine.endpoint, keys("guest"));
  await expect(guest.reload()).rejects.toThrow("client guest lacks the right manage");

  writeFileSync(home.at("tasks/b.ts"), "export const task_c = (");
  const flags = ["--router", engine.endpoint, "--key", keys("boss").key, "--server-key", keys("boss").serverKey];
  const { failure } = await boss.reload();
  expect(failure).toStartWith(`Task workers stay as they are: ${home.at("tasks/b.ts")}:1:`);
  const { exitCode, stderr } = await reload({ HOME: home.path }, ...flags);
  expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: `task-engine: ${failure}\n` });
});

test("`reload` where no engine is ends with 3, here and on another machine", async () => {
  const nobody = await reload({}, "--router", `tcp://127.0.0.1:${freePorts(1)}`);
  expect(nobody).toMatchObject({ exitCode: 3, stderr: expect.stringContaining("no engine listens at ") });
  const elsewhere = await reload({}, "--router", "tcp://192.0.2.1:9000", "--wait", "200");
  expect(elsewhere).toMatchObject({ exitCode: 3, stderr: expect.stringContaining("no answer") });
});
