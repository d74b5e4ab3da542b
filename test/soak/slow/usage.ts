import { expect, setDefaultTimeout } from "bun:test";
import { version } from "../../../package.json";
import { test } from "../../support/concurrent.ts";
import { runCommand } from "../../support/engine.ts";
import { taskEngine } from "../../support/executable.ts";

setDefaultTimeout(300_000); // they wait for one another

const run = (...args: string[]) => runCommand(taskEngine, args, { env: { PATH: process.env.PATH ?? "" } });

test.each(["--version", "-v"])("%s prints the version alone", async (flag) => {
  expect(await run(flag)).toEqual({ exitCode: 0, stdout: `${version}\n`, stderr: "" });
});

test("without arguments the usage goes to stderr, and the exit code is 2", async () => {
  const { exitCode, stdout, stderr } = await run();
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
  expect(stderr).toContain("USAGE task-engine");
});

test("the usage names every verb, and none of the roles that serve starts", async () => {
  const { exitCode, stdout, stderr } = await run("--help");
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
  for (const verb of [
    "serve",
    "send",
    "job",
    "jobs",
    "result",
    "logs",
    "schedule",
    "cancel",
    "estop",
    "retry",
    "discard",
    "pause",
    "resume",
    "reset",
    "reload",
    "tasks",
    "status",
    "data",
    "python",
    "bench",
    "--version",
  ])
    expect(stdout).toContain(verb);
  for (const role of ["task-worker", "data-worker", "source-worker", "scan", "safe"])
    expect(stdout).not.toContain(role);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours would be these
  expect(stdout).not.toMatch(/\u001b/);
});

test.each([
  "serve",
  "send",
  "job",
  "jobs",
  "result",
  "logs",
  "schedule",
  "schedule list",
  "retry",
  "discard",
  "pause",
  "resume",
  "cancel",
  "estop",
  "reset",
  "tasks",
  "status",
  "data",
  "data put",
  "data get",
  "data watch",
  "data list",
  "data rm",
  "init",
  "bench",
  "gateway",
  "token",
  "router",
  "scan",
  "safe",
])("%s --help prints its usage", async (verb) => {
  const { exitCode, stdout, stderr } = await run(...verb.split(" "), "--help");
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
  expect(stdout).toContain(`USAGE task-engine ${verb}`);
});

test.each([
  [["fly"], 'unknown command "fly"; see task-engine --help'],
  [["constructor"], 'unknown command "constructor"; see task-engine --help'],
  [["--fly"], "unknown flag --fly"],
  [["--version", "send"], 'argument "send" is too many'],
  [["data", "fly"], 'unknown command "fly"; see task-engine data --help'],
  [["send"], "TASK is missing; see task-engine send --help"],
  [["send", "count", "--fly"], "unknown flag --fly"],
  [["send", "count", "--wait", "soon"], '--wait is "soon", which is not a whole number from 1'],
  [["send", "count", "--wait=0"], '--wait is "0"'],
  [["send", ""], "TASK is empty; give a name; see task-engine send --help"],
  [["send", " "], "TASK is blank"],
  [["send", "task_"], "TASK is task_, which names nothing after its prefix"],
  [["send", "x".repeat(129)], "TASK is longer than 128 characters"],
  [
    ["send", "grip", "[1,2"],
    `argument 1: not JSON (Expected ']'); to send it as text write '"[1,2"'; see task-engine send`,
  ],
  [["send", "grip", "1", "{a:1}"], "argument 2: not JSON"],
  [["data", "put", "pose", '"front'], "VALUE: not JSON"],
  [["data", "put", " ", "1"], "TOPIC is blank"],
  [["data", "put", "camera", "x.jpg", "--type", "jpeg"], "--type jpeg is not of the form image/jpeg"],
  [["data", "put", "camera", "/nowhere/x.jpg", "--type", "image/jpeg"], "/nowhere/x.jpg cannot be read"],
  [["data", "put", "camera", "/dev/zero", "--type", "image/jpeg"], "/dev/zero has more than 33554432 bytes"],
  [["data", "watch", "pose", "--max-hz", "0"], '--max-hz "0" is not a number above 0 and up to 100000'],
  [["data", "get", "pose", "--last", "soon"], '--last is "soon", which is not a time such as 10s or 500ms'],
  [["send", "grip", "--kwargs", "{a:1}"], "--kwargs: not JSON"],
  [
    ["send", "count", "--router", "localhost:9000"],
    '--router is "localhost:9000", which is not of the form tcp://HOST:PORT',
  ],
  [["send", "count", "--router=tcp://a:1", "--direct=tcp://a:2"], "--router and --direct exclude each other"],
  [["send", "count", "--kwargs", "[1]"], "--kwargs is [1], which is not a JSON object"],
  [["send", "count", '{"__proto__": 1}'], "argument 1: the key __proto__ is not allowed"],
  [["send", "count", "--priority", "10"], '--priority is "10", which is not a whole number from 0 to 9'],
  [["send", "count", "--deadman", "49"], '--deadman is "49", which is not a whole number from 50'],
  [["send", "count", "--latest", ""], "--latest must have 1 to 128 characters"],
  [["send", "count", "--ttl", "0"], '--ttl is "0", which is not a whole number from 1'],
  [["send", "count", "--timeout", "1s"], '--timeout is "1s", which is not a whole number from 1'],
  [["send", "count", "--limit", "100"], "unknown flag --limit: it is now --timeout, the time that a job may run; see"],
  [["status", "--timeout=100"], "unknown flag --timeout: how long a command waits is --wait; see"],
  [["send", "count", "1", "--batch", "-"], "with --batch the arguments are in the file"],
  [["job"], "ID is missing"],
  [["result", ""], "ID is empty; give a name"],
  [["jobs", "--failed", "--queued"], "--failed and --queued exclude each other"],
  [["jobs", "--since", "soon"], '--since is "soon", which is not a time such as 10s or 500ms'],
  [["send", "count", "--in", "1s", "--at", "2026-12-01T08:00:00Z"], "--in and --at exclude each other"],
  [["send", "count", "--at", "noon"], '--at is "noon", which is not a date such as 2026-12-01T08:00:00+01:00'],
  [["send", "count", "--unique", ""], "--unique must have 1 to 128 characters"],
  [["send", "count", "--batch", "-", "--detach"], "--batch waits for its results: it does not go with --detach"],
  [["cancel"], "SERIAL is missing"],
  [["gateway"], "--http is required"],
  [["gateway", "--http", "localhost"], '--http is "localhost", which is not of the form [ADDRESS:]PORT'],
  [
    ["gateway", "--http", "0.0.0.0:8080"],
    "0.0.0.0 can be reached from other machines, and without tokens by everybody there",
  ],
  [["gateway", "--http", "8080", "--tls-cert", "cert.pem"], "tls-cert and tls-key need each other"],
  [["token", "anna"], "RIGHT... is missing"],
  [["token", "anna", "fly"], 'the line for the file has the right "fly", which is not one of'],
  [["cancel", "x".repeat(65)], "SERIAL must have 1 to 64 characters"],
  [["tasks", "count"], 'argument "count" is too many: none is taken'],
  [["data", "put", "pose"], "VALUE is missing; see task-engine data put --help"],
  [["data", "get", ""], "TOPIC is empty"],
  [["bench", "--samples", "many"], '--samples is "many"'],
])("%p is wrong usage: %s", async (args, message) => {
  const { exitCode, stdout, stderr } = await run(...args);
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
  expect(stderr).toStartWith(`task-engine: ${message}`);
  expect(stderr.trimEnd().split("\n")).toHaveLength(1);
});

test.each([
  [["help"], "USAGE task-engine [OPTIONS] serve|"],
  [["-h"], "USAGE task-engine [OPTIONS] serve|"],
  [["help", "send"], "USAGE task-engine send "],
  [["help", "data", "put"], "USAGE task-engine data put "],
  [["send", "count", "-h"], "USAGE task-engine send "],
  [["data", "--help"], "USAGE task-engine data put|get|watch|list|rm"],
])("%p is asked for, so it goes to stdout, with exit code 0", async (args, usage) => {
  const { exitCode, stdout, stderr } = await run(...args);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
  expect(stdout).toContain(usage);
});

test.each([
  [["sned", "count"], 'unknown command "sned" (did you mean send?); see task-engine --help'],
  [["stat"], 'unknown command "stat" (did you mean status?)'],
  [["Serve"], 'unknown command "Serve" (did you mean serve?)'],
  [["version"], 'unknown command "version" (did you mean --version?)'],
  [["help", "sned"], 'unknown command "sned" (did you mean send?)'],
  [["data", "wach"], 'unknown command "wach" (did you mean watch?); see task-engine data --help'],
  [["send", "count", "--priorty=3"], "unknown flag --priorty (did you mean --priority?)"],
  [["serve", "--task-wrokers", "3"], "unknown flag --task-wrokers (did you mean --task-workers?)"],
])("%p names what was probably meant: %s", async (args, message) => {
  const { exitCode, stdout, stderr } = await run(...args);
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
  expect(stderr).toStartWith(`task-engine: ${message}`);
});

test("what is typed in Latin-1 is wrong usage, and not sent with other letters", async () => {
  const line = 'exec "$@" "$(printf "caf\\351")"';
  const { exitCode, stdout, stderr } = await runCommand(["sh", "-c", line, "sh", ...taskEngine], ["send", "say"], {
    env: {},
  });
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
  expect(stderr).toStartWith('task-engine: argument "caf\ufffd" is not UTF-8, and would not arrive as it was typed');
});

test("data without a verb prints its usage on stderr", async () => {
  const { exitCode, stderr } = await run("data");
  expect(exitCode).toBe(2);
  expect(stderr).toContain("USAGE task-engine data put|get|watch|list|rm");
});

test("an endpoint from the environment that is none is wrong usage too", async () => {
  const { exitCode, stderr } = await runCommand(taskEngine, ["tasks"], { env: { TASK_ENGINE_ROUTER: "nowhere" } });
  expect(exitCode).toBe(2);
  expect(stderr).toContain('TASK_ENGINE_ROUTER is "nowhere"');
});
