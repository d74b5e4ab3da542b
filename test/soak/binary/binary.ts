/**
 * The executable, on its own. It is built for this machine, which takes a second; `BINARY=path` names one that is there
 * already, and that is how the one for the Raspberry Pi is tested under emulation.
 */
import { afterAll, beforeAll, expect, setDefaultTimeout } from "bun:test";
import {
  constants,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { connect } from "task-engine";
import { version } from "../../../package.json" with { type: "json" };
import { test } from "../../support/concurrent.ts";
import { oneWorker, runCommand, startEngine } from "../../support/engine.ts";
import { builtExecutable } from "../../support/executable.ts";
import { freePorts } from "../../support/ports.ts";
import { until } from "../../support/stoppable.ts";

setDefaultTimeout(300_000); // they wait for one another

const workshop = mkdtempSync(join(tmpdir(), "task-engine-test-"));
const given = process.env.BINARY;
let binary = "";

beforeAll(async () => {
  binary = given === undefined ? await builtExecutable() : resolve(given);
});
afterAll(() => rmSync(workshop, { recursive: true }));

const newFolder = (name: string): string => {
  const folder = join(workshop, name);
  mkdirSync(folder);
  return folder;
};

test("alone in an empty folder, with an empty environment, it starts, serves and stops with exit code 0", async () => {
  const folder = newFolder("empty");
  await using engine = await startEngine({ command: [binary], cwd: folder, env: {} });
  const sum = await engine.run("send", "count", "2", "3", "--router", engine.endpoint);
  expect(sum).toEqual({ exitCode: 0, stdout: "5\n", stderr: "" });
  engine.signal("SIGTERM");
  expect(await engine.ended()).toBe(0);
  expect(engine.errorLines).toEqual([]);
  expect(readdirSync(folder)).toEqual([]);
});

test.skipIf(given !== undefined && !given.endsWith(process.arch))(
  "it is at most an eighth larger than Bun itself",
  () => {
    expect(statSync(binary).size / statSync(process.execPath).size).toBeLessThanOrEqual(1.125);
  },
);

/** An emulator finds what it runs by its path alone. */
const isEmulated = given !== undefined && !given.endsWith(process.arch);
for (const [what, strike] of [
  ["deleted", (path) => rmSync(path)],
  ["replaced by another version", (path) => renameSync(`${path}.new`, path)],
  ["renamed", (path) => renameSync(path, `${path}.old`)],
] as readonly (readonly [string, (path: string) => void])[]) {
  test.skipIf(isEmulated)(
    `an engine whose executable is ${what} goes on, and starts its processes from what runs`,
    async () => {
      const folder = newFolder(what);
      const path = join(folder, "task-engine");
      copyFileSync(binary, path, constants.COPYFILE_FICLONE);
      writeFileSync(`${path}.new`, `#!/bin/sh\necho "$@" >>${JSON.stringify(join(folder, "other-version"))}\n`, {
        mode: 0o755,
      });
      mkdirSync(join(folder, "tasks"), { mode: 0o755 });
      const park = `import { appendFileSync } from "node:fs";
      export const task_park = (args, { code }) => appendFileSync(import.meta.dir + "/parked", code + " ");`;
      writeFileSync(join(folder, "tasks/park.ts"), park);
      const flags = [...oneWorker, "--on-stop", "park"];
      await using engine = await startEngine({ command: [path], cwd: folder, env: {}, flags });
      strike(path);
      for (const role of ["task worker", "router"]) {
        const [pid = 0] = engine.pidsOf(role);
        process.kill(pid, "SIGKILL");
        await engine.line(new RegExp(`^Starting process \\[(?!${pid}\\])\\d+\\]: ${role}$`));
      }
      await using client = connect(engine.endpoint);
      await until("an answer", () =>
        client.call("count", [2, 3]).then(
          (sum) => sum === 5,
          () => false,
        ),
      );
      engine.signal("SIGHUP");
      await engine.line(/Task workers are replaced/);
      engine.signal("SIGKILL");
      await until("it is parked", () => existsSync(join(folder, "tasks/parked")));
      expect(await engine.ended()).toBe("SIGKILL");
      expect(existsSync(join(folder, "other-version"))).toBe(false);
    },
  );
}

test("it obeys no bunfig.toml, .env, tsconfig.json or package.json of the folder it is started in", async () => {
  const folder = newFolder("hostile");
  const mark = join(folder, "obeyed");
  writeFileSync(join(folder, "intruder.ts"), `require("node:fs").writeFileSync(${JSON.stringify(mark)}, "");`);
  writeFileSync(join(folder, "bunfig.toml"), 'preload = ["./intruder.ts"]\n[run]\nsmol = "not a boolean"\n');
  writeFileSync(join(folder, ".env"), "TASK_ENGINE_TASK_WORKERS=not-a-number\n");
  writeFileSync(join(folder, "tsconfig.json"), '{ "compilerOptions": { "paths": { "*": ["./intruder.ts"] } } }');
  const package_ = { name: "task-engine", version: "9.9.9", exports: "./intruder.ts", browser: "./intruder.ts" };
  writeFileSync(
    join(folder, "package.json"),
    JSON.stringify({ ...package_, main: "./intruder.ts", imports: "no object" }),
  );

  const printed = await runCommand([binary], ["--version"], { cwd: folder, env: {} });
  expect(printed).toEqual({ exitCode: 0, stdout: `${version}\n`, stderr: "" });
  await using engine = await startEngine({ command: [binary], cwd: folder, env: {}, flags: oneWorker });
  const sum = await engine.run("send", "count", "2", "3", "--router", engine.endpoint);
  expect(sum).toEqual({ exitCode: 0, stdout: "5\n", stderr: "" });
  expect(existsSync(mark)).toBe(false);
});

/** Loads libzmq, and ends with 3 because no engine is there. */
const sendToNobody = (env: Record<string, string>) => {
  const args = ["send", "count", "--router", `tcp://127.0.0.1:${freePorts(1)}`, "--wait", "100"];
  return runCommand([binary], args, { cwd: workshop, env });
};

test("it needs no temporary folder", async () => {
  expect(await sendToNobody({ TMPDIR: "/nonexistent" })).toMatchObject({ exitCode: 3, stdout: "" });
});

test("it runs tasks from a folder of TypeScript files beside it", async () => {
  const folder = newFolder("with-tasks");
  mkdirSync(join(folder, "tasks"), { mode: 0o755 });
  writeFileSync(join(folder, "tasks/words.ts"), 'export const words = (list: string[]): string => list.join("-");');
  writeFileSync(
    join(folder, "tasks/join.ts"),
    'import { words } from "./words.ts";\nexport const task_join = (args: string[]): string => words(args);',
  );
  await using engine = await startEngine({ command: [binary], cwd: folder, env: {}, flags: oneWorker });
  const joined = await engine.run("send", "join", "a", "b", "--router", engine.endpoint);
  expect(joined).toEqual({ exitCode: 0, stdout: "a-b\n", stderr: "" });
});

/** Packages of each form, by their files. */
const packages: Readonly<Record<string, string>> = {
  "package.json": '{ "imports": { "#own": "./own.ts" } }',
  "own.ts": 'export const own: string = "own";',
  "node_modules/@robot/arm/package.json": `{ "type": "module", "imports": { "#hand": "./hand.js" }, "exports": {
    ".": { "types": "./arm.d.ts", "import": "./arm.js", "require": "./none.cjs" }, "./joints/*": "./lib/*.mjs", "./arm.json": "./arm.json" } }`,
  "node_modules/@robot/arm/arm.js": 'export { hand } from "#hand"; export { default as motor } from "motor";',
  "node_modules/@robot/arm/hand.js": 'export const hand = "hand";',
  "node_modules/@robot/arm/lib/elbow.mjs": 'export default "elbow";',
  "node_modules/@robot/arm/arm.json": '{ "length": 3 }',
  "node_modules/motor/package.json": '{ "main": "./main" }',
  "node_modules/motor/main.js": 'module.exports = ["motor", require("wheel"), require("./gear").teeth].join(" ");',
  "node_modules/motor/gear.js": "exports.teeth = 12;",
  "node_modules/motor/node_modules/wheel/index.js": 'module.exports = "inner";',
  "node_modules/wheel/index.js": 'module.exports = "outer";',
  "tasks/node_modules/beside/package.json": '{ "module": "esm.js", "main": "none.js" }',
  "tasks/node_modules/beside/esm.js": 'export const beside = "beside";',
  "tasks/lib/local.ts": 'import settings from "./settings.json"; export const local: number = settings.speed;',
  "tasks/lib/settings.json": '{ "speed": 2 }',
  "tasks/all.ts": `
    import { hand, motor } from "@robot/arm";
    import arm from "@robot/arm/arm.json";
    import elbow from "@robot/arm/joints/elbow";
    import { beside } from "beside";
    import wheel = require("wheel");
    import { own } from "#own";
    import { local } from "./lib/local.ts";
    export const task_all = async () => {
      const later = (await import("@robot/arm/joints/elbow")).default;
      return [hand, motor, arm.length, elbow, beside, wheel, own, local, later];
    };`,
};

const folderOf = (name: string, files: Readonly<Record<string, string>>): string => {
  const folder = newFolder(name);
  for (const [file, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, file)), { recursive: true, mode: 0o755 });
    writeFileSync(join(folder, file), content, { mode: 0o644 });
  }
  return folder;
};

test("a task file's packages are found beside it and above it, in whatever form they are", async () => {
  const folder = folderOf("with-packages", packages);
  await using engine = await startEngine({ command: [binary], cwd: folder, env: {}, flags: oneWorker });
  const { stdout, stderr } = await engine.run("send", "all", "--router", engine.endpoint);
  expect(stderr).toBe("");
  expect(JSON.parse(stdout)).toEqual(["hand", "motor inner 12", 3, "elbow", "beside", "outer", "own", 2, "elbow"]);
});

test("a package that is not installed is named, and is not fetched", async () => {
  const folder = folderOf("without-package", {
    "tasks/pad.ts": 'import pad from "left-pad"; export const task_pad = pad;',
  });
  const { exitCode, stderr } = await runCommand([binary], ["scan", "--tasks", "tasks"], {
    cwd: folder,
    env: { HOME: folder },
  });
  expect(exitCode).toBe(1);
  expect(stderr).toContain("tasks/pad.ts cannot be loaded: Cannot find package 'left-pad'");
  expect(readdirSync(folder)).toEqual(["tasks"]);
});
