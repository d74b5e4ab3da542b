/** SIGHUP, as a person who works on the task files uses it. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { connect } from "task-engine";
import { type Engine, startEngine } from "../support/engine.ts";
import { tempFolder } from "../support/temp-folder.ts";

setDefaultTimeout(30_000); // many processes on a busy machine

const few = ["--task-workers", "1", "--data-workers", "0"];

const taskFile = (folder: string, name: string): void => {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${name}.ts`), `export const task_${name} = () => ${JSON.stringify(folder)};`);
};

/** Reloads, and gives what the engine makes of it in the end. */
const reload = async (engine: Engine): Promise<string | undefined> => {
  const outcomes = (): string[] =>
    [...engine.lines, ...engine.errorLines].filter((line) => /Task workers (are replaced|stay)/.test(line));
  const before = outcomes().filter((line) => line.startsWith("[ENGINE]")).length;
  const stayed = outcomes().length - before;
  engine.signal("SIGHUP");
  for (;;) {
    const replaced = outcomes().filter((line) => line.startsWith("[ENGINE]"));
    const stays = outcomes().filter((line) => !line.startsWith("[ENGINE]"));
    if (replaced.length > before) return replaced.at(-1);
    if (stays.length > stayed) return stays.at(-1);
    await Bun.sleep(10);
  }
};

test("the default folder of tasks is looked for at each reload, and what is gone with it is named", async () => {
  using folder = tempFolder();
  const tasks = folder.at("tasks");
  await using engine = await startEngine({ cwd: folder.path, flags: few });
  await using client = connect(engine.endpoint);
  expect(await client.call("wave").catch(({ code }) => code)).toBe("UNKNOWN_TASK");
  taskFile(tasks, "wave");
  expect(await reload(engine)).toBe("[ENGINE] Task workers are replaced");
  expect(await client.call("wave")).toBe(tasks);
  expect(engine.errorLines).toEqual([]);
  taskFile(tasks, "turn");
  rmSync(join(tasks, "wave.ts"));
  expect(await reload(engine)).toBe("[ENGINE] Task workers are replaced; no task any more: wave");
  expect(await client.call("turn")).toBe(tasks);
  rmSync(tasks, { recursive: true });
  expect(await reload(engine)).toBe("[ENGINE] Task workers are replaced; no task any more: turn");
  expect(await client.call("count", [2, 3])).toBe(5);
});

test("a folder that was there at the start, or was named, and is gone is named, and everything stays as it was", async () => {
  for (const flags of [[], ["--tasks", "tasks"]]) {
    using folder = tempFolder();
    const tasks = folder.at("tasks");
    taskFile(tasks, "wave");
    await using engine = await startEngine({ cwd: folder.path, flags: [...few, ...flags] });
    await using client = connect(engine.endpoint);
    renameSync(tasks, `${tasks}.old`);
    expect(await reload(engine)).toBe(
      `Task workers stay as they are: ${tasks} cannot be read: there is no such file or folder`,
    );
    expect(await client.call("wave")).toBe(tasks);
  }
});

test("a link to the folder of tasks is followed anew at each reload, and a changed file of settings is said to wait", async () => {
  using folder = tempFolder({ "task-engine.toml": "" });
  for (const release of ["one", "two"]) taskFile(folder.at(release), "release");
  symlinkSync(folder.at("one"), folder.at("tasks"));
  await using engine = await startEngine({ cwd: folder.path, flags: few });
  await using client = connect(engine.endpoint);
  expect(await client.call("release")).toBe(folder.at("one"));
  rmSync(folder.at("tasks"));
  symlinkSync(folder.at("two"), folder.at("tasks"));
  expect(await reload(engine)).toBe("[ENGINE] Task workers are replaced");
  expect(await client.call("release")).toBe(folder.at("two"));
  expect(engine.errorLines).toEqual([]);
  writeFileSync(folder.at("task-engine.toml"), "grace-ms = 1\n");
  await reload(engine);
  expect(engine.errorLines).toEqual([
    "[ENGINE] The file of settings has changed: it is read at a start alone; restart the engine for that",
  ]);
});
