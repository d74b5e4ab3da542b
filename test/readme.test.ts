/**
 * What the README and the pages that it links to show is run as it stands there, but for the ports, which are free ones here.
 * `BINARY=path` names the executable that the engine and the commands are; else they are the source.
 */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { connect } from "task-engine";
import { type Engine, runCommand, startEngine } from "./support/engine.ts";
import { taskEngine } from "./support/executable.ts";
import { freePorts } from "./support/ports.ts";
import { rejection } from "./support/rejection.ts";
import { tempFolder } from "./support/temp-folder.ts";

setDefaultTimeout(120_000); // emulation is slow

const root = join(import.meta.dir, "..");
const textOf = (page: string): string => readFileSync(join(root, page), "utf8");
const readme = textOf("README.md");
/** Where a page's links to other files lead, from the root. */
const linksOf = (page: string): string[] =>
  [...textOf(page).matchAll(/\]\((?!https?:|#)([^)#\s]+)/g)].map(([, path = ""]) => join(dirname(page), path));
const pages = ["README.md", ...linksOf("README.md").filter((path) => path.endsWith(".md"))];
const blocks = [
  ...pages
    .map(textOf)
    .join("\n")
    .matchAll(/^```(\w+) ?(\S*)\n(.*?)^```$/gms),
].map(([, language, name, text]) => ({
  language,
  name,
  text: text ?? "",
}));
const block = (language: string, name: string): string => {
  const found = blocks.find((each) => each.language === language && each.name === name);
  if (found === undefined) throw new Error(`no page has a block "${language} ${name}"`);
  return found.text;
};

const command = process.env.BINARY === undefined ? taskEngine : [resolve(process.env.BINARY)];

const python = "/usr/bin/python3";
const hasPython = existsSync(python) || process.env.CI !== undefined;
const hasGpiozero =
  hasPython && (Bun.spawnSync([python, "-c", "import gpiozero"]).success || process.env.CI !== undefined);
/** No test machine has motors. */
const mockPins = 'GPIOZERO_PIN_FACTORY = "mock"\nGPIOZERO_MOCK_PIN_CLASS = "mockpwmpin"';

let engine: Engine;
const folder = tempFolder({
  "tasks/wave.ts": block("ts", "tasks/wave.ts"),
  "tasks/turn.ts": block("ts", "tasks/turn.ts"),
  "tasks/travel.ts": block("ts", "tasks/travel.ts"),
  "tasks/forward.ts": block("ts", "tasks/forward.ts"),
  "tasks/celsius.ts": block("ts", "tasks/celsius.ts"),
  "tasks/rest.ts": block("ts", "tasks/rest.ts"),
  "tasks/garden.ts": block("ts", "tasks/garden.ts"),
  ...(hasGpiozero && { "tasks/drive.py": block("python", "tasks/drive.py") }),
  ...(hasPython && {
    "tasks/upload.py": block("python", "tasks/upload.py"),
    "tasks/motor.py": block("python", "tasks/motor.py"),
    "tasks/range.py": block("python", "tasks/range.py"),
  }),
  "task-engine.toml": block("toml", "task-engine.toml").replace("[env]", (line) => `${line}\n${mockPins}`),
});
beforeAll(async () => {
  mkdirSync(folder.at("node_modules"));
  symlinkSync(root, folder.at("node_modules/task-engine"));
  symlinkSync(join(root, "node_modules/valibot"), folder.at("node_modules/valibot"));
  engine = await startEngine({ command, cwd: folder.path, flags: hasPython ? ["--python", python] : [] });
});
afterAll(async () => {
  await engine[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

const here = (text: string): string =>
  text.replaceAll("tcp://127.0.0.1:9000", engine.endpoint).replace("connect()", `connect("${engine.endpoint}")`);

const environment = { PATH: process.env.PATH ?? "" };

test.each(["send.ts", "watch.ts"])("%s prints what the page says", async (name) => {
  writeFileSync(folder.at(name), here(block("ts", name)));
  const { stdout, stderr } = await runCommand([process.execPath], [name], { env: environment, cwd: folder.path });
  expect(stderr).toBe("");
  expect(stdout).toBe(block("text", name));
});

const programs = ["send.py", "client.py", "keep_alive.py", "topics.py", "async.py", "photo.py"];
test.skipIf(!hasPython).each(programs)("%s prints what the page says", async (name) => {
  const { stdout: client } = await runCommand(command, ["python"], { env: environment });
  writeFileSync(folder.at("task_engine.py"), client);
  writeFileSync(folder.at(name), here(block("python", name)));
  const { stdout, stderr } = await runCommand([python], [name], { env: environment, cwd: folder.path });
  expect(stderr).toBe("");
  expect(stdout).toBe(block("text", name));
});

/** `$ command` and the lines that it prints. */
const sessions = blocks
  .filter(({ language }) => language === "console")
  .flatMap(({ text }) => text.split(/^\$ /m).slice(1))
  .map((session) => {
    const [command = "", ...output] = session.split("\n");
    return { command, output: output.join("\n").trim() };
  });

/** A moment is another each time, and a run takes another time. */
const timeless = (text: string): string =>
  text
    .trim()
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "(then)")
    // The clock of a machine for tests may not be synchronised.
    .replace(/ {2}it waits until the clock .*$/, "")
    .replace(/next (-|\d{4}-\d\d-\d\d [\d:]+)/, "next (then)")
    .replace(/ {2}\d+\.\d ms$/, "  (so many) ms");

test("each command that the pages show prints what is shown", async () => {
  const asked = sessions
    .filter(({ command }) => /^task-engine (send|result|logs|jobs|schedule|data|tasks|estop|reset)/.test(command))
    .filter(({ command }) => hasGpiozero || !/send drive|bumper/.test(command))
    .filter(
      ({ command }) => hasPython || !/send spin|send upload|^task-engine (result|logs|jobs|schedule)/.test(command),
    );
  expect(asked.length).toBeGreaterThanOrEqual(4);
  if (hasGpiozero) {
    // The first job opens the pins, which takes longer than an emulated `send` keeps a job alive.
    await using client = connect(engine.endpoint);
    await client.call("drive", [0, 0]);
  }
  /** The id of the job, in place of the one that the page shows. */
  let job: RegExp | string = /^[a-z2-7]{16}$/;
  let shownJob = "";
  for (const { command, output } of asked) {
    const given = shownJob === "" ? command : command.replace(shownJob, String(job));
    const flags = ["--router", engine.endpoint];
    const { stdout, stderr, exitCode } = await engine.run(...given.split(" ").slice(1), ...flags);
    if (typeof job !== "string" && job.test(output)) {
      expect(stdout.trim()).toMatch(job);
      [job, shownJob] = [stdout.trim(), output];
    }
    const printed = shownJob === "" ? stdout : stdout.replaceAll(String(job), shownJob);
    // Other pages have schedules, too.
    const lines = /schedule list/.test(command)
      ? printed.split("\n").filter((line) => output[0] === line[0])
      : [printed];
    expect(`${command}: ${timeless(lines.join("\n") + stderr)}`).toBe(`${command}: ${timeless(output)}`);
    expect(exitCode).toBe(output.startsWith("task-engine: ") ? 1 : 0);
  }
});

test("the sources that the pages show publish", async () => {
  await using client = connect(engine.endpoint);
  for (const topic of ["robot/load", "room/celsius"]) {
    await using subscription = client.subscribe(topic);
    for await (const { data } of subscription) {
      expect(data).toBeNumber();
      break;
    }
  }
});

test("the tasks that the pages show refuse what they cannot mean, and move nothing", async () => {
  await using client = connect(engine.endpoint);
  const wrong: readonly [task: string, args: unknown[], kwargs?: object][] = [
    ...[[], [1], [1, "x"], [1, null], ["x", 0.1], [1, -1], [9, 0.1], [1, 1e9], [1, 0.1, 2]].map(
      (args): [string, unknown[]] => ["forward", args],
    ),
    ["forward", [1, 0.1], { speed: 9 }],
    ...[[], ["far"], [-1], [1, 2]].map((args): [string, unknown[]] => ["travel", args]),
    ["turn", [10, 20]],
  ];
  writeFileSync(folder.at("tasks/motor"), "0");
  for (const [task, args, kwargs = {}] of wrong) {
    const error = await rejection(client.call(task, args, kwargs));
    expect(error, `${task} ${args}`).toMatchObject({ code: "BAD_ARGS" });
  }
  const wave = await rejection(client.call("wave", ["x"]));
  expect(wave).toMatchObject({ code: "TASK_ERROR", message: "times must be a number" });
  expect(readFileSync(folder.at("tasks/motor"), "utf8")).toBe("0");
});

test("the start that the README shows has the lines of a real one", async () => {
  const shown = sessions.find(({ command }) => command === "task-engine serve")?.output ?? "";
  const shape = (line: string): string => line.replace(/\d+/g, "N");
  const real = new Set(engine.lines.map(shape));
  // The README's engine has no task file.
  for (const line of shown.split("\n")) expect(real).toContain(shape(line));
});

test("the command that the README starts the engine with starts it", async () => {
  const start = /&& npx bun (start)$/m.exec(readme)?.[1];
  const script = JSON.parse(readFileSync(join(root, "package.json"), "utf8")).scripts[start ?? ""];
  expect(script).toBe("bun src/main.ts serve");
  const port = freePorts(5);
  using state = tempFolder();
  const settings = { PORT: port, BACKEND_PORT: port + 1, WORKER_PORT: port + 2, STATE: state.path };
  const env = Object.fromEntries(
    Object.entries(settings).map(([name, value]) => [`TASK_ENGINE_${name}`, String(value)]),
  );
  const child = Bun.spawn([process.execPath, "run", start ?? ""], {
    cwd: root,
    env: { ...environment, ...env },
    stdout: "pipe",
    stderr: "ignore",
  });
  let printed = "";
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    printed += text;
    if (printed.includes("[ENGINE] Ready")) child.kill("SIGINT");
  }
  expect(printed).toContain(`Ready: send tasks to tcp://127.0.0.1:${port}`);
  expect(printed).toContain("Closing application and stopping services...");
  const { stdout } = await runCommand(command, ["--version"], { env: environment });
  expect(readme).toContain("npx -y bun@1.4.5 install && npx bun test");
  expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
});

test("every verb that is there is on the page of the commands", async () => {
  const { stdout } = await runCommand(command, ["--help"], { env: environment });
  const verbs = /USAGE.* ([a-z|]+)$/m.exec(stdout)?.[1]?.split("|") ?? [];
  expect(verbs).toContain("serve");
  const commands = textOf("src/commands/COMMANDS.md");
  for (const verb of verbs) expect(commands).toMatch(new RegExp(`\`(task-engine )?${verb}\\b`));
});

test("the README links to every page, is short, and no link of any page leads nowhere", () => {
  expect(pages.length).toBeGreaterThanOrEqual(9);
  expect(readme.trimEnd().split("\n").length).toBeLessThanOrEqual(250);
  for (const page of pages) expect(linksOf(page).filter((path) => !existsSync(join(root, path)))).toEqual([]);
});
