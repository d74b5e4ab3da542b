/** Sources among the exports of task files. */
import { describe, expect, test } from "bun:test";
import { sourcesMax } from "../../src/limits.ts";
import { loadAll } from "../../src/tasks/registry.ts";
import type { RegisteredSource } from "../../src/tasks/task.ts";
import { startErrorOf } from "../support/start-error.ts";
import { tempFolder } from "../support/temp-folder.ts";

const load = async (
  files: Record<string, string>,
): Promise<{ sources: readonly RegisteredSource[]; tasks: string[] }> => {
  using folder = tempFolder(files);
  const { sources, tasks } = await loadAll(folder.path);
  return { sources, tasks: [...tasks.keys()] };
};
/** The message with `TASKS` in place of the folder's path. */
const problemIn = async (files: Record<string, string>): Promise<string> => {
  using folder = tempFolder(files);
  return (await startErrorOf(() => loadAll(folder.path))).replaceAll(folder.path, "TASKS");
};
const source = (name: string, topic: string): string =>
  `export const source_${name} = { everyMs: 20, topic: "${topic}", run: () => 1 };`;

test("a file with sources alone is valid, and its sources are no tasks", async () => {
  using folder = tempFolder({
    "a.ts": `export const source_distance = { everyMs: 12.5, topic: "front/distance", staleMs: 100, run: async () => 7 };`,
    "b.js": `export const task_b = () => 1;
      export const source_gyro = { everyMs: 20, topic: "gyro", run() { return this.topic; } };`,
  });
  const skipped: string[] = [];
  const { sources, tasks } = await loadAll(folder.path, { onSkipped: (line) => skipped.push(line) });
  expect([...tasks.keys()]).toEqual(["count", "b"]);
  expect(sources).toMatchObject([
    { name: "distance", file: folder.at("a.ts"), everyMs: 12.5, topic: "front/distance", staleMs: 100 },
    { name: "gyro", file: folder.at("b.js"), everyMs: 20, topic: "gyro" },
  ]);
  expect(await sources[0]?.run()).toBe(7);
  expect(sources[1]?.run()).toBe("gyro");
  expect(skipped).toEqual([]);
});

describe("a wrong source is refused in one line that names file, export and reason:", () => {
  const ms = "must be a number of ms, 1 to 86400000";
  const topic = "must be 1 to 128 characters that do not begin with $";
  test.each([
    ["everyMs: 0.5, topic: 't', run: () => 1", `has a wrong everyMs: ${ms}`],
    ["everyMs: 86400001, topic: 't', run: () => 1", `has a wrong everyMs: ${ms}`],
    ["everyMs: NaN, topic: 't', run: () => 1", `has a wrong everyMs: ${ms}`],
    ["everyMs: '20', topic: 't', run: () => 1", `has a wrong everyMs: ${ms}`],
    ["everyMs: 20, topic: '', run: () => 1", `has a wrong topic: ${topic}`],
    ["everyMs: 20, topic: '$engine/jobs', run: () => 1", `has a wrong topic: ${topic}`],
    ["everyMs: 20, topic: 't'.repeat(129), run: () => 1", `has a wrong topic: ${topic}`],
    ["everyMs: 20, topic: 7, run: () => 1", `has a wrong topic: ${topic}`],
    ["everyMs: 20, topic: 't', run: 1", "has a wrong run: must be a function"],
    ["everyMs: 20, topic: 't'", "is not an object with `run`; rename it if it is no source"],
    [
      "everyMs: 20, topic: 't', staleMS: 9, run: () => 1",
      "has the key staleMS, which is not one of everyMs, topic, staleMs, run",
    ],
    [
      "everyMs: 20, topic: 't', staleMs: 0, run: () => 1",
      "has a wrong staleMs: must be a number of ms, 1 to 604800000",
    ],
    [
      "everyMs: 20, topic: 't', staleMs: 19, run: () => 1",
      "has a wrong staleMs: must be at least everyMs, 20: else the topic is stale between two runs",
    ],
  ])("{ %s }", async (definition, reason) => {
    expect(await problemIn({ "a.ts": `export const source_x = { ${definition} };` })).toBe(
      `TASKS/a.ts: source_x ${reason}`,
    );
  });

  test("everyMs is missing", async () => {
    expect(await problemIn({ "a.ts": "export const source_x = { topic: 't', run: () => 1 };" })).toStartWith(
      "TASKS/a.ts: source_x has a wrong everyMs: ",
    );
  });

  test("a function", async () => {
    const reason = "source_x is not an object with `run`; rename it if it is no source";
    expect(await problemIn({ "a.ts": "export const source_x = () => 1;" })).toBe(`TASKS/a.ts: ${reason}`);
  });

  test("a name that nobody could write", async () => {
    const files = { "a.js": `const x = { everyMs: 1, topic: "t", run() {} }; export { x as "source_a b" };` };
    expect(await problemIn(files)).toBe(
      "TASKS/a.js: the export source_a b cannot be a source's name; it needs 1 to 121 characters of A-Z a-z 0-9 _ . - after source_",
    );
  });
});

test("two sources of one name or of one topic are refused, and the line names both", async () => {
  expect(await problemIn({ "a.ts": source("x", "t"), "b.ts": source("x", "u") })).toBe(
    "TASKS/b.ts: source_x has the name x, as has source_x of TASKS/a.ts; change one of them",
  );
  expect(await problemIn({ "a.ts": source("x", "t") + source("y", "t") })).toBe(
    "TASKS/a.ts: source_y has the topic t, as has source_x; change one of them",
  );
});

test("more sources than one process is to serve are refused", async () => {
  const many = (count: number): string => Array.from({ length: count }, (_, n) => source(`x${n}`, `t${n}`)).join("\n");
  expect((await load({ "a.ts": many(sourcesMax) })).sources).toHaveLength(sourcesMax);
  expect(await problemIn({ "a.ts": many(sourcesMax + 1) })).toBe("TASKS defines 257 sources; the limit is 256");
});

test("a subfolder whose file exports a source is named, since nobody calls it there", async () => {
  using folder = tempFolder({ "arm/gyro.ts": source("gyro", "gyro") });
  const skipped: string[] = [];
  await loadAll(folder.path, { onSkipped: (line) => skipped.push(line) });
  expect(skipped).toEqual([expect.stringContaining("gyro.ts is not loaded: task files lie in the folder of tasks")]);
});
