import { describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, renameSync, symlinkSync } from "node:fs";
import { loadRegistry } from "../../src/tasks/registry.ts";
import type { TaskContext } from "../../src/tasks/task.ts";
import { startErrorOf } from "../support/start-error.ts";
import { tempFolder } from "../support/temp-folder.ts";

const context: TaskContext = {
  signal: new AbortController().signal,
  jobSerial: "",
  progress: () => undefined,
  log: () => undefined,
  publish: () => true,
};

/** Every test has a folder of its own: a module that is loaded stays loaded under its path. */
const namesIn = async (files: Record<string, string>): Promise<string[]> => {
  using folder = tempFolder(files);
  return [...(await loadRegistry(folder.path)).keys()].sort();
};
/** The message with `TASKS` in place of the folder's path. */
const problemIn = async (files: Record<string, string>): Promise<string> => {
  using folder = tempFolder(files);
  return (await startErrorOf(() => loadRegistry(folder.path))).replaceAll(folder.path, "TASKS");
};

describe("what is a task", () => {
  test("without a folder there are the built-in tasks", async () => {
    const registry = await loadRegistry(null);
    expect([...registry.keys()]).toEqual(["count"]);
    expect(registry.get("count")?.file).toBe("built-in count.ts");
  });

  test("every task_ export of a .ts or .js file is one, in each form and with relative imports", async () => {
    using folder = tempFolder({
      "drive.ts": `import { double } from "./helper.ts";
        export const task_drive = ([metres]: number[]) => double(metres);
        export async function task_turn(): Promise<string> { return "turned"; }
        export const speed = 3;`,
      "arm.js": `const home = { run() { return Object.keys(this).join(); } };
        export { home as task_home, home as "task_home.now" };`,
      "old.js": "module.exports.task_old = () => 'old';",
      "helper.ts": "export const double = (value: number): number => value * 2;",
    });
    const registry = await loadRegistry(folder.path);
    expect([...registry.keys()].sort()).toEqual(["count", "drive", "home", "home.now", "old", "turn"]);
    expect(registry.get("drive")).toMatchObject({ name: "drive", file: folder.at("drive.ts"), policy: {} });
    expect(registry.get("drive")?.run([4], {}, context)).toBe(8);
    expect(await registry.get("turn")?.run([], {}, context)).toBe("turned");
    expect(registry.get("home")?.run([], {}, context)).toBe("run");
  });

  test("a definition's onStop finds its own object, and its policy says that there is one", async () => {
    using folder = tempFolder({
      "arm.js": `export const task_home = { run: () => 1, resources: ["arm"], onStop(context, { code }) {
        return [code, this.resources];
      } };
      export const task_look = { run: () => 1 };`,
    });
    const registry = await loadRegistry(folder.path);
    const home = registry.get("home");
    expect(home?.policy).toEqual({ onStop: true, resources: ["arm"] });
    expect(home?.onStop?.(context, { code: "STOPPED", message: "" })).toEqual(["STOPPED", ["arm"]]);
    expect(registry.get("look")).toMatchObject({ onStop: null, policy: {} });
  });

  test("declarations, tests, hidden files, other files and subfolders are left alone", async () => {
    const bad = "throw new Error('loaded')";
    const names = await namesIn({
      "types.d.ts": bad,
      "drive.test.ts": bad,
      "drive.test.js": bad,
      ".hidden.ts": bad,
      "notes.md": bad,
      "types.d.mts": bad,
      "drive.test.mjs": bad,
      "drive.spec.ts": bad,
      "sub/deep.ts": bad,
      "folder.ts/inner.ts": bad,
    });
    expect(names).toEqual(["count"]);
  });

  test.each([
    ["ts", "export const task_x = (): number => 1;"],
    ["mts", "export const task_x = (): number => 1;"],
    ["cts", "exports.task_x = (): number => 1;"],
    ["tsx", "export const task_x = (): number => 1;"],
    ["js", "module.exports = { task_x: () => 1 };"],
    ["mjs", "export function task_x() {}"],
    ["cjs", "module.exports.task_x = () => 1;"],
    ["jsx", "export async function task_x() {}"],
  ])("a task file may end in .%s", async (ending, source) => {
    expect(await namesIn({ [`a.${ending}`]: source })).toEqual(["count", "x"]);
  });

  test("what may be taken for a task and is none is named, and nothing else", async () => {
    using folder = tempFolder({
      "a.ts": 'import { motor } from "./lib/motor.ts"; import "./shared.ts"; export const task_a = () => motor;',
      "lib/motor.ts": "export const motor = 1; export const task_inner = () => 1;",
      "shared.ts": "export const shared = 1;",
      "plain.ts": "export const wave = () => 1; export default wave;",
      "silent.cjs": "1;",
      "drive.py": "def task_drive(): pass",
      "turn.TS": "export const task_turn = () => 1;",
      "grip.ts.txt": "export const task_grip = () => 1;",
      "arm/lift.ts": "export { run as task_lift }; const run = () => 1;",
      "data/list.ts": "export const list = [1];",
      "node_modules/robot/index.js": "exports.task_robot = () => 1;",
      ".git/hook.ts": "export const task_hook = () => 1;",
      "README.md": "export const task_readme",
      "package.json": "{}",
      "types.d.ts": "export declare const task_types: 1;",
      "a.test.ts": "export const task_test = 1;",
      "a.ts~": "",
      "a.ts.bak": "",
      "#a.ts#": "",
      ".a.ts.swp": "",
      motor: "0",
      "wave.sh": "",
    });
    const lines: string[] = [];
    await loadRegistry(folder.path, { onSkipped: (line) => lines.push(line.replaceAll(folder.path, "TASKS")) });
    const endings = ".ts .mts .cts .tsx .js .mjs .cjs .jsx";
    const rule = "and a task is an export whose name begins with task_";
    expect(lines).toEqual([
      `TASKS/plain.ts has no task: it exports default, wave, ${rule}`,
      expect.stringMatching(/^TASKS\/silent\.cjs has no task: it exports (nothing|default), /),
      "TASKS/arm/lift.ts is not loaded: task files lie in the folder of tasks itself, not in one within it",
      `TASKS/grip.ts.txt is not loaded: the name of a task file ends in one of ${endings}`,
      `TASKS/turn.TS is not loaded: the name of a task file ends in one of ${endings}`,
    ]);
  });

  test("a definition may be exported with the prefix TASK_, too", async () => {
    expect(await namesIn({ "a.ts": "export const TASK_stop = { run: () => 1, timeoutMs: 5 };" })).toEqual([
      "count",
      "stop",
    ]);
  });

  test("a file that is linked into the folder is loaded from its real place", async () => {
    using elsewhere = tempFolder({ "real.ts": "export const task_where = () => import.meta.path;" });
    using folder = tempFolder();
    symlinkSync(elsewhere.at("real.ts"), folder.at("link.ts"));
    const registry = await loadRegistry(folder.path);
    expect(registry.get("where")?.run([], {}, context)).toBe(elsewhere.at("real.ts"));
  });

  test("a function may be exported with the prefix TASK_, and a constant beside it is no task", async () => {
    expect(await namesIn({ "a.ts": "export const TASK_stop = () => 1; export const TASK_RETRIES = 3;" })).toEqual([
      "count",
      "stop",
    ]);
  });

  test("a module is loaded once, however often the registry is", async () => {
    using folder = tempFolder({ "a.ts": "let loads = 0; loads++; export const task_loads = () => loads;" });
    await loadRegistry(folder.path);
    expect((await loadRegistry(folder.path)).get("loads")?.run([], {}, context)).toBe(1);
  });
});

test("a task of the user takes the place of a built-in one, and that is said", async () => {
  using folder = tempFolder({ "a.ts": "export const task_count = () => 7;" });
  const lines: string[] = [];
  const registry = await loadRegistry(folder.path, { onSkipped: (line) => lines.push(line) });
  expect(registry.get("count")?.file).toBe(folder.at("a.ts"));
  expect(lines).toEqual([`${folder.at("a.ts")}: its task count takes the place of the built-in one`]);
});

describe("what ends the start", () => {
  test("two files that define the same task", async () => {
    expect(
      await problemIn({ "a.ts": "export const task_x = () => 1;", "b.ts": "export const task_x = () => 2;" }),
    ).toBe("TASKS/b.ts: task_x names the task x, which TASKS/a.ts defines already; rename one");
  });

  test("a task that a Python file defines, too", async () => {
    using folder = tempFolder({ "a.ts": "export const task_x = () => 1;" });
    const pythonTasks = new Set(["x", "count"]);
    await expect(loadRegistry(folder.path, { pythonTasks })).rejects.toThrow(
      "a.ts: task_x names the task x, which a Python file defines already; rename one",
    );
    expect([...(await loadRegistry(null, { pythonTasks })).keys()]).toEqual([]);
  });

  test("two aliases of one name", async () => {
    expect(await problemIn({ "a.ts": "export const task_x = () => 1; export const TASK_x = () => 2;" })).toBe(
      "TASKS/a.ts: task_x names the task x, which TASKS/a.ts defines already; rename one",
    );
    expect(await problemIn({ "a.ts": "export const task_task_x = () => 1;" })).toBe(
      "TASKS/a.ts: the export task_task_x has the prefix task_ twice; remove one",
    );
  });

  test("an export that is neither a function nor an object with run", async () => {
    for (const value of ["3", "'text'", "null", "undefined", "{}", "[]", "{ start() {} }"]) {
      expect(await problemIn({ "a.ts": `export const task_x: unknown = ${value};` })).toBe(
        "TASKS/a.ts: task_x is neither a function nor an object with `run`; rename it if it is no task",
      );
    }
  });

  test("a definition whose run is no function", async () => {
    expect(await problemIn({ "a.ts": "export const task_x = { run: 3 };" })).toBe(
      "TASKS/a.ts: task_x has a wrong run: must be a function",
    );
  });

  test("a definition with a key that nobody knows", async () => {
    expect(await problemIn({ "a.ts": "export const task_x = { run: () => 1, timeoutms: 5 };" })).toBe(
      "TASKS/a.ts: task_x has the key timeoutms, which is not one of run, args, kwargs, ttlMs, timeoutMs, deadmanMs, graceMs, idempotent, resources, preemptible, allowedWhenStopped, onStop, onStopMs, moves, resumesAfterRestart, schedule, everyMs, durable",
    );
  });

  test("a definition whose onStop is no function, since it would make nothing safe", async () => {
    expect(await problemIn({ "a.ts": "export const task_x = { run: () => 1, onStop: true };" })).toBe(
      "TASKS/a.ts: task_x has a wrong onStop: must be a function",
    );
  });

  test("a durable task that may move something, or that needs somebody to be there", async () => {
    const problem = (keys: string): Promise<string> =>
      problemIn({ "a.ts": `export const task_x = { run: () => 1, durable: true, ${keys} };` });
    expect(await problem("")).toBe(
      "TASKS/a.ts: task_x has durable and may move something; write `moves: false` if it does not, or `resumesAfterRestart: true`",
    );
    expect(await problem("moves: false, deadmanMs: 300")).toBe(
      "TASKS/a.ts: task_x has deadmanMs and durable; nobody need be there when it runs; remove one",
    );
    const good = "export const task_x = { run: () => 1, durable: true, resumesAfterRestart: true };";
    const attached = "export const task_y = { run: () => 1, durable: false, deadmanMs: 300 };";
    expect(await namesIn({ "a.ts": good, "b.ts": attached })).toEqual(expect.arrayContaining(["x", "y"]));
  });

  test("a name that cannot travel", async () => {
    const rule = "it needs 1 to 123 characters of A-Z a-z 0-9 _ . - after task_";
    for (const name of ["task_", "task_größe", "task_a b", "task_$", `task_${"x".repeat(124)}`]) {
      expect(await problemIn({ "a.ts": `const run = () => 1; export { run as "${name}" };` })).toBe(
        `TASKS/a.ts: the export ${name} cannot be a task's name; ${rule}`,
      );
    }
    expect(await namesIn({ "a.ts": `export const task_${"x".repeat(123)} = () => 1;` })).toContain("x".repeat(123));
  });

  test("a syntax error, with its place", async () => {
    expect(await problemIn({ "a.ts": "export const ok = 1;\nexport const task_x = (;" })).toMatch(
      /^TASKS\/a\.ts:2:\d+ cannot be loaded: \S/,
    );
  });

  test("a syntax error in what a file imports, with the place in that one", async () => {
    const problem = await problemIn({
      "a.ts": 'import { b } from "./lib/b.ts"; b();',
      "lib/b.ts": "export const b = (;",
    });
    expect(problem).toMatch(/^TASKS\/a\.ts cannot be loaded: TASKS\/lib\/b\.ts:1:\d+: \S/);
  });

  test("a missing import", async () => {
    expect(await problemIn({ "a.ts": 'import { b } from "./b.ts"; export const task_x = b;' })).toContain(
      "TASKS/a.ts cannot be loaded: Cannot find module './b.ts'",
    );
  });

  test("a file that throws as it loads, whatever it throws", async () => {
    expect(await problemIn({ "a.ts": "throw new Error('no motor\\nat pin 4');" })).toBe(
      "TASKS/a.ts cannot be loaded: no motor at pin 4",
    );
    expect(await problemIn({ "a.ts": "throw null;" })).toBe("TASKS/a.ts cannot be loaded: threw null");
  });

  test("a file whose load never ends", async () => {
    using folder = tempFolder({ "a.ts": "await new Promise(() => undefined);" });
    expect(await startErrorOf(() => loadRegistry(folder.path, { loadMsMax: 20 }))).toBe(
      `${folder.at("a.ts")} cannot be loaded: still loading after 20 ms; is there an await without end?`,
    );
  });

  test("a folder that is not there, or is a file, or a link to nowhere in it", async () => {
    using folder = tempFolder({ "a.ts": "" });
    expect(await startErrorOf(() => loadRegistry(folder.at("none")))).toContain("there is no such file or folder");
    expect(await startErrorOf(() => loadRegistry(folder.at("a.ts")))).toContain("is not a folder");
    symlinkSync(folder.at("none"), folder.at("b.ts"));
    expect(await startErrorOf(() => loadRegistry(folder.path))).toContain(`${folder.at("b.ts")} cannot be read`);
  });
});

describe("what is never run", () => {
  const trap = "throw new Error('it ran');";

  test("a file in a folder that others can write", async () => {
    using folder = tempFolder({ "a.ts": trap });
    chmodSync(folder.path, 0o777);
    expect(await startErrorOf(() => loadRegistry(folder.path))).toContain(
      `${folder.path} is not safe to run tasks from`,
    );
  });

  test("a file that others can write", async () => {
    using folder = tempFolder({ "a.ts": trap });
    chmodSync(folder.at("a.ts"), 0o646);
    expect(await startErrorOf(() => loadRegistry(folder.path))).toContain(`${folder.at("a.ts")} is not safe`);
  });

  test("a file that others can write, imported by way of another, wherever it is", async () => {
    using outside = tempFolder({ "c.js": trap });
    using folder = tempFolder({
      "a.ts": 'import { b } from "./lib/b"; export const task_x = b;',
      "lib/b.ts": `export * as b from ${JSON.stringify(outside.at("c.js"))};`,
    });
    chmodSync(outside.at("c.js"), 0o666);
    expect(await startErrorOf(() => loadRegistry(folder.path))).toContain(`${outside.at("c.js")} is not safe`);
  });

  /** A task file that imports two packages, of which one imports the other. */
  const packages = {
    "tasks/a.ts": `import "@robot/arm/joints"; ${trap}`,
    "package.json": "{}",
    "node_modules/@robot/arm/package.json": '{ "exports": { "./joints": "./lib/joints.js" } }',
    "node_modules/@robot/arm/lib/joints.js": 'require("motor");',
    "node_modules/motor/package.json": '{ "main": "main.cjs" }',
    "node_modules/motor/main.cjs": trap,
  };

  test.each([
    "package.json",
    "node_modules",
    "node_modules/@robot",
    "node_modules/@robot/arm",
    "node_modules/@robot/arm/package.json",
    "node_modules/@robot/arm/lib",
    "node_modules/@robot/arm/lib/joints.js",
    "node_modules/motor",
    "node_modules/motor/package.json",
    "node_modules/motor/main.cjs",
  ])("a package, if others can write %s", async (path) => {
    using folder = tempFolder(packages);
    expect(await startErrorOf(() => loadRegistry(folder.at("tasks")))).toContain("it ran");
    chmodSync(folder.at(path), 0o777);
    expect(await startErrorOf(() => loadRegistry(folder.at("tasks")))).toContain(`${folder.at(path)} is not safe`);
  });

  test("a package behind a link, if others can put another link in its place", async () => {
    using elsewhere = tempFolder();
    using folder = tempFolder(packages);
    renameSync(folder.at("node_modules/motor"), elsewhere.at("motor"));
    mkdirSync(folder.at("node_modules/@robot/arm/node_modules"));
    symlinkSync(elsewhere.at("motor"), folder.at("node_modules/@robot/arm/node_modules/motor"));
    expect(await startErrorOf(() => loadRegistry(folder.at("tasks")))).toContain("it ran");
    chmodSync(folder.at("node_modules/@robot/arm/node_modules"), 0o777);
    expect(await startErrorOf(() => loadRegistry(folder.at("tasks")))).toContain(
      `${folder.at("node_modules/@robot/arm/node_modules")} is not safe`,
    );
  });

  test("a package that nobody has installed, and Bun has fetched of itself", async () => {
    const path = "cache/is-odd@3.0.1@@@1/index.js";
    const problem = await problemIn({ "a.ts": `import "./${path}"; ${trap}`, [path]: trap });
    expect(problem).toBe(`TASKS/${path} was downloaded by Bun; install the package beside the task files`);
  });

  test("files that import each other in a circle are looked at once", async () => {
    expect(
      await namesIn({
        "a.ts": 'import { b } from "./b.ts"; export const task_a = () => b;',
        "b.ts": 'import { task_a } from "./a.ts"; export const b = 1; export const task_b = () => task_a;',
      }),
    ).toEqual(["a", "b", "count"]);
  });
});
