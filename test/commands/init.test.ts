import { expect, test } from "bun:test";
import { chmodSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { configFlags, loadConfig } from "../../src/config.ts";
import { oneWorker, runCommand, startEngine } from "../support/engine.ts";
import { taskEngine } from "../support/executable.ts";
import { python } from "../support/manager.ts";
import { tempFolder } from "../support/temp-folder.ts";

/** Without a home folder, and with a umask that lets the group write. */
const init = (cwd: string, ...args: string[]) =>
  runCommand(["sh", "-c", 'umask 002; exec "$@"', "sh", ...taskEngine], ["init", ...args], {
    env: { PATH: process.env.PATH ?? "" },
    cwd,
  });

test("`init` writes tasks in both languages that an engine runs, and all settings as comments", async () => {
  using folder = tempFolder();
  const { exitCode, stdout } = await init(folder.path, "robot");
  expect({ exitCode, stdout }).toEqual({
    exitCode: 0,
    stdout: "wrote robot/tasks/wave.ts\nwrote robot/tasks/blink.py\nwrote robot/task-engine.toml\n",
  });
  await using engine = await startEngine({ cwd: folder.at("robot"), flags: [...oneWorker, "--python", python] });
  const send = (...args: string[]) => engine.run("send", ...args, "--router", engine.endpoint);
  expect(await send("wave", "2")).toMatchObject({ exitCode: 0, stdout: '{"waved":2}\n' });
  expect(await send("blink", "2")).toMatchObject({ exitCode: 0, stdout: '{"blinked":2}\n' });
}, 60_000);

test("the file of settings names each of them, and is one that `serve` accepts without the marks of comments", async () => {
  using folder = tempFolder();
  await init(folder.path);
  const text = readFileSync(folder.at("task-engine.toml"), "utf8");
  const settings = [...text.matchAll(/^# ([a-z-]+) = (.+)$/gm)];
  expect(settings.map(([, key]) => key)).toEqual(Object.keys(configFlags).filter((key) => key !== "config"));
  writeFileSync(folder.at("task-engine.toml"), settings.map(([, key, value]) => `${key} = ${value}\n`).join(""));
  const config = await loadConfig({ flags: {}, environment: {}, folder: folder.path });
  expect(config).toMatchObject({ port: 9000, onStop: "park", python: "/usr/bin/python3" });
});

test("`init` overwrites nothing and says so, and a folder that cannot be written is one line", async () => {
  using folder = tempFolder({ "tasks/wave.ts": "mine" });
  const { exitCode, stdout } = await init(folder.path);
  expect({ exitCode, stdout }).toEqual({
    exitCode: 0,
    stdout: "left tasks/wave.ts as it is\nwrote tasks/blink.py\nwrote task-engine.toml\n",
  });
  expect(readFileSync(folder.at("tasks/wave.ts"), "utf8")).toBe("mine");
  expect(statSync(folder.at("tasks/blink.py")).mode & 0o777).toBe(0o644);

  writeFileSync(folder.at("file"), "");
  chmodSync(folder.at("file"), 0o644);
  const failed = await init(folder.path, "file");
  expect(failed).toMatchObject({ exitCode: 1, stdout: "" });
  expect(failed.stderr).toMatch(/^task-engine: file\/tasks\/wave\.ts cannot be written: .*\n$/);
});
