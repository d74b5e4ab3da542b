/** Jobs from the command line: their limits, their progress, their end before their time; batches; what the engine does. */
import { afterAll, beforeAll, expect, setDefaultTimeout } from "bun:test";
import { connect } from "task-engine";
import { type RunningCommand, startCommand } from "../../support/command.ts";
import { test } from "../../support/concurrent.ts";
import { type Engine, runCommand, startEngine } from "../../support/engine.ts";
import { taskEngine } from "../../support/executable.ts";
import { handRouter } from "../../support/hand-router.ts";
import { freePorts } from "../../support/ports.ts";
import { rejection } from "../../support/rejection.ts";
import { type TempFolder, tempFolder } from "../../support/temp-folder.ts";

setDefaultTimeout(300_000); // they wait for one another

const tasks = `
  const sleep = (ms, signal) => new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); });
  });
  export const task_echo = ([value]) => value;
  export const task_slow = async ([name], _, { signal, log }) => {
    log("begins " + name);
    await sleep(60_000, signal).catch((reason) => { log("ends " + name + ": " + reason.message); throw reason; });
  };
  export const task_tick = async ([name], _, { signal, log }) => {
    for (let count = 1; ; count++) { log("tick " + name + " " + count); await sleep(20, signal); }
  };
  export const task_endless = (_, __, { log }) => { log("begins endless"); for (;;); };
  export const task_walk = async (_, __, { progress, signal }) => {
    for (let step = 1; step <= 4; step++) { progress({ step }); await sleep(150, signal); }
    return "there";
  };
  export const task_odd = ([n]) => { if (n % 2 === 0) throw new Error(n + " is even"); return { n }; };
`;

let folder: TempFolder;
let engine: Engine;
beforeAll(async () => {
  folder = tempFolder({ "tasks/robot.ts": tasks });
  engine = await startEngine({ cwd: folder.path });
}, 30_000);
afterAll(async () => {
  await engine[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

const surroundings = (endpoint = engine.endpoint) => ({ PATH: process.env.PATH ?? "", TASK_ENGINE_ROUTER: endpoint });
const run = (...args: string[]) => runCommand(taskEngine, args, { env: surroundings() });
const start = (...args: string[]): RunningCommand => startCommand(args, { env: surroundings() });

/** Both task workers are busy until it is disposed of. Of tests that want both, each runs alone. */
const occupyWorkers = async (name: string) => {
  const client = connect(engine.endpoint);
  const jobs = [1, 2].map((number) => rejection(client.call("slow", [`${name}-${number}`])));
  for (const number of [1, 2]) await engine.line(new RegExp(`slow: begins ${name}-${number}`));
  return {
    [Symbol.asyncDispose]: async () => {
      await client.close();
      await Promise.all(jobs);
      for (const number of [1, 2]) await engine.line(new RegExp(`slow: ends ${name}-${number}`));
    },
  };
};

/* ── Limits ──────────────────────────────────────────────────────────────────────────────────────────────────────── */

test("send --timeout stops a job that runs longer", async () => {
  const { exitCode, stderr } = await run("send", "slow", "limited", "--timeout", "100");
  expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: "task-engine: TIMEOUT: it ran longer than 100 ms\n" });
  await engine.line(/slow: ends limited: TIMEOUT/);
});

test.serial("send --ttl never begins a job too late", async () => {
  await using _ = await occupyWorkers("ahead");
  const { exitCode, stderr } = await run("send", "slow", "stale", "--ttl", "50");
  expect(exitCode).toBe(1);
  expect(stderr).toStartWith("task-engine: EXPIRED: ");
  expect(engine.lines.join("\n")).not.toContain("begins stale");
});

test("send that loses its connection says INTERRUPTED at once and exits with 1, and a batch names each part", async () => {
  for (const args of [
    ["send", "slow"],
    ["send", "slow", "--batch", "-"],
  ]) {
    const router = handRouter();
    await using send = startCommand(args, { env: surroundings(router.endpoint), stdin: "pipe" });
    await send.write("[1]\n[2]\n");
    await send.endInput();
    await router.next();
    router[Symbol.dispose]();
    expect(await send.ended()).toBe(1);
    const message = `the connection to ${router.endpoint} was lost before the answer came: the job may have been running`;
    const part = JSON.stringify({ error: { code: "INTERRUPTED", message } });
    expect(send.stdout).toBe(args.length === 2 ? "" : `${part}\n${part}\n`);
    expect(send.stderr).toBe(`task-engine: ${args.length === 2 ? `INTERRUPTED: ${message}` : "2 of 2 failed"}\n`);
  }
});

test("send --deadman, --latest and --preempt go to the engine, and the job is kept alive", async () => {
  using router = handRouter();
  await using send = startCommand(["send", "slow", "--deadman", "80", "--latest", "wheels", "--preempt"], {
    env: surroundings(router.endpoint),
  });
  const arrived = await router.next();
  expect(arrived.request).toMatchObject({
    parts: [{ task: { options: { deadmanMs: 80, latest: "wheels", preempt: true } } }],
  });
  for (let count = 0; count < 3; count++) expect((await router.next()).request.kind).toBe("keepAlive");
  arrived.ack("there");
  expect(await send.ended()).toBe(0);
  expect(send.stdout).toBe("there\n");
});

test.each(["SIGKILL", "SIGSTOP"] as const)("%s to send --deadman ends its job as DEADMAN", async (signal) => {
  await using send = start("send", "slow", `left-by-${signal}`, "--deadman", "300");
  await engine.line(new RegExp(`slow: begins left-by-${signal}`));
  send.signal(signal);
  await engine.line(new RegExp(`slow: ends left-by-${signal}: DEADMAN`));
});

/* ── Cancel ──────────────────────────────────────────────────────────────────────────────────────────────────────── */

test.each(["SIGINT", "SIGTERM"] as const)("%s to send cancels the running job and exits with 130", async (signal) => {
  await using send = start("send", "slow", `on-${signal}`);
  await engine.line(new RegExp(`slow: begins on-${signal}`));
  send.signal(signal);
  expect(await send.ended()).toBe(130);
  expect([send.stdout, send.stderr]).toEqual(["", "task-engine: cancelled\n"]);
  await engine.line(new RegExp(`slow: ends on-${signal}: CANCELLED`));
});

test("Ctrl-C ends a job that does not listen, and its worker with it", async () => {
  await using send = start("send", "endless", "--json");
  await engine.line(/endless: begins/);
  send.signal("SIGINT");
  expect(await send.ended()).toBe(130);
  expect(JSON.parse(send.stdout)).toMatchObject({ error: { code: "CANCELLED" } });
  expect((await run("send", "echo", "on")).stdout).toBe("on\n");
});

test("Ctrl-C waits no longer for an engine that does not answer, and a second one not at all", async () => {
  using router = handRouter();
  const sending = () => startCommand(["send", "slow"], { env: surroundings(router.endpoint) });
  await using patient = sending();
  await router.next();
  patient.signal("SIGINT");
  expect((await router.next()).request.kind).toBe("cancel");
  expect(await patient.ended()).toBe(130);
  expect(patient.stderr).toStartWith("task-engine: no word from the engine 2000 ms after the cancellation");

  await using impatient = sending();
  await router.next();
  impatient.signal("SIGINT");
  await router.next();
  impatient.signal("SIGINT");
  expect(await impatient.ended()).toBe(130);
  expect(impatient.stderr).toBe("");
});

test("Ctrl-C before there is an engine sends nothing", async () => {
  // Somebody listens there and never says a word, so that it is known when send has begun.
  const connected = Promise.withResolvers<void>();
  const listener = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: { open: () => connected.resolve(), data: () => undefined },
  });
  await using _ = { [Symbol.asyncDispose]: async () => listener.stop(true) };
  const env = surroundings(`tcp://127.0.0.1:${listener.port}`);
  await using send = startCommand(["send", "slow", "--verbose"], { env });
  await connected.promise;
  await Bun.sleep(50);
  send.signal("SIGINT");
  expect(await send.ended()).toBe(130);
  expect(send.stderr).toBe("task-engine: cancelled\n");
});

test.serial("cancel SERIAL ends a job that runs, and one that waits", async () => {
  await using running = start("send", "slow", "cancelled", "--verbose");
  const [, serial = ""] = await running.shown(/Serial: (\S+) /);
  await engine.line(/slow: begins cancelled/);
  expect(await run("cancel", serial)).toEqual({ exitCode: 0, stdout: "cancelled 1\n", stderr: "" });
  expect(await running.ended()).toBe(1);
  expect(running.stderr).toEndWith("task-engine: CANCELLED: an operator cancelled it\n");

  await using _ = await occupyWorkers("cancel");
  await using waiting = start("send", "slow", "never", "--verbose");
  const [, waitingSerial = ""] = await waiting.shown(/Serial: (\S+) /);
  expect((await run("cancel", waitingSerial)).exitCode).toBe(0);
  expect(await waiting.ended()).toBe(1);
  expect(engine.lines.join("\n")).not.toContain("begins never");
});

test("cancel of what does not wait or run ends with 1", async () => {
  expect(await run("cancel", "no-such")).toEqual({
    exitCode: 1,
    stdout: "",
    stderr: 'task-engine: UNKNOWN_SERIAL: no request with serial "no-such" waits or runs\n',
  });
});

test.serial("a job is cancelled when send's own time is over", async () => {
  const { exitCode, stderr } = await run("send", "slow", "overdue", "--wait", "700");
  expect(exitCode).toBe(3);
  expect(stderr).toContain("within 700 ms: cancelled: its requestor cancelled it");
  await engine.line(/slow: ends overdue: CANCELLED/);
});

/* ── Progress ────────────────────────────────────────────────────────────────────────────────────────────────────── */

test("on a terminal send shows progress in one line, and the result in its place", async () => {
  await using send = startCommand(["send", "walk"], { env: surroundings(), terminal: true });
  expect(await send.ended()).toBe(0);
  expect(send.stdout).toContain('\r\u001b[Kwalk: {"step":1}\r\u001b[Kwalk: {"step":2}');
  expect(send.stdout).toEndWith("\r\u001b[Kthere\r\n");
});

test("Ctrl-C at a terminal cancels too", async () => {
  await using send = startCommand(["send", "slow", "typed"], { env: surroundings(), terminal: true });
  await engine.line(/slow: begins typed/);
  await send.write("\u0003");
  expect(await send.ended()).toBe(130);
  expect(send.stdout).toContain("task-engine: cancelled");
});

test("where there is no terminal, nothing of the progress is written", async () => {
  expect(await run("send", "walk")).toEqual({ exitCode: 0, stdout: "there\n", stderr: "" });
});

/* ── Batches ─────────────────────────────────────────────────────────────────────────────────────────────────────── */

const batch = async (content: string, ...flags: string[]) => {
  using file = tempFolder({ "batch.jsonl": content });
  const result = await run("send", "odd", "--batch", file.at("batch.jsonl"), ...flags);
  return { ...result, stderr: result.stderr.replace(file.at("batch.jsonl"), "FILE") };
};
const even = (n: number) => JSON.stringify({ error: { code: "TASK_ERROR", message: `${n} is even` } });

test("send --batch prints a line for each line of the file, in order", async () => {
  expect(await batch("[1]\n[3]\n[5]")).toEqual({ exitCode: 0, stdout: '{"n":1}\n{"n":3}\n{"n":5}\n', stderr: "" });
  for (const nothing of ["", "\n", "\ufeff", "\ufeff\r\n \n"])
    expect(await batch(nothing)).toEqual({ exitCode: 0, stdout: "", stderr: "" });
});

test.each(["\ufeff[1]\n[3]\n", "[1]\r\n[3]\r\n", "[1]\n[3]\n\n\n", "\ufeff[1]\r\n[3]\r\n\r\n\t \r\n", "[1]\n[3]\n  "])(
  "a batch file may have what editors put around its lines: %j",
  async (content) => {
    expect(await batch(content)).toEqual({ exitCode: 0, stdout: '{"n":1}\n{"n":3}\n', stderr: "" });
  },
);

test("a batch of which parts have failed ends with 1, and --json tells results from errors", async () => {
  expect(await batch("[1]\n[2]\n")).toEqual({
    exitCode: 1,
    stdout: `{"n":1}\n${even(2)}\n`,
    stderr: "task-engine: 1 of 2 failed\n",
  });
  expect((await batch("[1]\n[2]\n", "--json")).stdout).toBe(`{"data":{"n":1}}\n${even(2)}\n`);
});

test.each([
  ["[1]\n{}\n", "FILE line 2 is {}, which is not a JSON list such as [2, 3]"],
  ["[1]\n\n[3]\n", "FILE line 2: not JSON (it is blank"],
  ["[1]\n[3]\n \r\n\n[5]\n", "FILE line 3: not JSON (it is blank"],
  ["\n[1]\n", "FILE line 1: not JSON (it is blank"],
  ["[1]\n\ufeff[3]\n", "FILE line 2: not JSON"],
  ['[1]\n[{"n":1,"n":3}]\n', 'FILE line 2: [0]: the key "n" is there twice'],
  ["[1]\n[3]\n[5", "FILE line 3: not JSON"],
  ['[1]\n[{"__proto__": 1}]\n', "FILE line 2: "],
])("a file with a bad line is wrong usage, and nothing of it is sent: %p", async (content, message) => {
  const { exitCode, stdout, stderr } = await batch(content);
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
  expect(stderr).toStartWith(`task-engine: ${message}`);
  expect(stderr.trimEnd().split("\n")).toHaveLength(1);
});

test("a file that is not there is wrong usage, and so are arguments beside one", async () => {
  const missing = await run("send", "odd", "--batch", "/no/such/file");
  expect(missing.exitCode).toBe(2);
  expect(missing.stderr).toStartWith("task-engine: --batch /no/such/file cannot be read: ");
  expect((await run("send", "odd", "1", "--batch", "-")).exitCode).toBe(2);
});

test("send --batch - answers lines as they come, and a bad one after those before it", async () => {
  await using send = startCommand(["send", "odd", "--batch", "-"], { env: surroundings(), stdin: "pipe" });
  await send.write("[1]\n[2]\n");
  await send.shown(/is even/);
  await send.write("[3]\nnonsense\n[5]\n");
  await send.endInput();
  expect(await send.ended()).toBe(2);
  expect(send.stdout).toBe(`{"n":1}\n${even(2)}\n{"n":3}\n`);
  expect(send.stderr).toStartWith("task-engine: stdin line 4: not JSON");
});

test("a batch of 3000 lines goes through a pipe whole", async () => {
  await using send = startCommand(["send", "echo", "--batch", "-"], { env: surroundings(), stdin: "pipe" });
  const lines = Array.from({ length: 3_000 }, (_, index) => index);
  await send.write(lines.map((index) => `[${index}]\n`).join(""));
  await send.endInput();
  expect(await send.ended()).toBe(0);
  expect(send.stdout).toBe(`${lines.join("\n")}\n`);
});

test("Ctrl-C cancels a batch, also while it waits for its next line", async () => {
  await using send = startCommand(["send", "slow", "--batch", "-"], { env: surroundings(), stdin: "pipe" });
  await send.write('["batched"]\n["batched"]\n["batched"]\n');
  await engine.line(/slow: begins batched/);
  send.signal("SIGINT");
  expect(await send.ended()).toBe(130);
  expect(send.stdout.split("\n").filter((line) => line.includes("CANCELLED"))).toHaveLength(3);
  await engine.line(/slow: ends batched/);
});

test("a batch ends with 3 at the first part without an answer", async () => {
  await using send = startCommand(["send", "echo", "--batch", "-", "--wait", "50"], {
    env: surroundings(`tcp://127.0.0.1:${freePorts(1)}`),
    stdin: "pipe",
  });
  await send.write("[1]\n[2]\n");
  expect(await send.ended()).toBe(3);
  expect(send.stderr).toStartWith("task-engine: after 0 results: no answer from ");
});

test("on a terminal a batch shows how far it is", async () => {
  using file = tempFolder({ "batch.jsonl": "[1]\n".repeat(4) });
  const command = ["send", "walk", "--batch", file.at("batch.jsonl")];
  await using send = startCommand(command, { env: surroundings(), terminal: true });
  expect(await send.ended()).toBe(0);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  expect(send.stdout).toMatch(/\r\u001b\[Kwalk \[#+-+\] \d of 4/);
  expect(send.stdout.match(/"there"/g)).toHaveLength(4);
});

/* ── Status ──────────────────────────────────────────────────────────────────────────────────────────────────────── */

test.serial("status shows workers, tasks, failures and limits", async () => {
  await run("send", "odd", "2");
  const { exitCode, stdout, stderr } = await run("status");
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
  expect(stdout).toStartWith(`engine ${engine.endpoint}: serving, without keys, on its own machine alone\njobs: `);
  expect(stdout.match(/^TASK-\d+ +task +idle +0 +tcp:\/\/127.0.0.1:\d+$/gm)).toHaveLength(2);
  expect(stdout).toMatch(/^TASK-\d+ +data +idle/m);
  expect(stdout).toMatch(/^odd +2 +0 +\d+ +[\d.]+ ms +[\d.]+ ms$/m);
  expect(stdout).toMatch(/^failed: .*TASK_ERROR \d+/m);
  expect(stdout).toMatch(/^limits: queueJobsMax 16384, queueBytesMax 64 MiB/m);
});

test.serial("status --json prints what the client gives", async () => {
  const { stdout } = await run("status", "--json");
  await using client = connect(engine.endpoint);
  const status = await client.status();
  expect(Object.keys(JSON.parse(stdout))).toEqual(Object.keys(status));
  expect(status.tasks.find(({ name }) => name === "slow")).toMatchObject({ workers: 2, waiting: 0 });
});

test("status --watch prints it again and again, and ends with 0 on Ctrl-C", async () => {
  await using watching = start("status", "--watch");
  await watching.shown(/^(engine [\s\S]*?\n\n)(?=engine )/);
  watching.signal("SIGINT");
  expect(await watching.ended()).toBe(0);
  expect(watching.stderr).toBe("");
});

test("status --watch stays in its place on a terminal", async () => {
  await using watching = startCommand(["status", "--watch"], { env: surroundings(), terminal: true });
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  await watching.shown(/\u001b\[Hengine [\s\S]*\u001b\[J\u001b\[Hengine /);
  await watching.write("\u0003");
  expect(await watching.ended()).toBe(0);
});

/* ── The engine's own topics ─────────────────────────────────────────────────────────────────────────────────────── */

test("data watch shows the life of a job, and the lines of the log that it writes", async () => {
  await using watching = start("data", "watch", "$engine/stop", "$engine/jobs", "$engine/log", "--json");
  // Whoever follows the stop by its name hears at once that there is none.
  await watching.shown(/"topic":"\$engine\/stop","data":\{"stopped":null/);
  await using walking = start("send", "walk", "--verbose");
  const [, serial = ""] = await walking.shown(/Serial: (\S+)/);
  expect(await walking.ended()).toBe(0);
  await using slow = start("send", "slow", "watched", "--verbose");
  const [, slowSerial = ""] = await slow.shown(/Serial: (\S+)/);
  await watching.shown(/begins watched/);
  await run("cancel", slowSerial);
  await watching.shown(new RegExp(`"ended",.*"${slowSerial}"`));
  const events = watching.stdout.split("\n").flatMap((line) => {
    try {
      return [JSON.parse(line)];
    } catch {
      return [];
    }
  });
  const livesOf = (name: string) => events.filter(({ data }) => data.serial === name).map(({ data }) => data);
  const life = livesOf(serial);
  expect(new Set(life.map(({ job }) => job)).size).toBe(1);
  expect(life[0]).toMatchObject({ event: "accepted", task: "walk", requestor: expect.stringMatching(/^CLIENT-\d+$/) });
  expect(life[1]).toMatchObject({ event: "running", worker: expect.stringMatching(/^TASK-\d+$/) });
  expect(life.slice(2, -1).map(({ event }) => event)).toContain("progress");
  expect(life.at(-1)).toMatchObject({ event: "ended", code: null, message: null, worker: life[1].worker });
  expect(life.at(-1).ms).toBeGreaterThan(100);
  const [{ job }, ...rest] = livesOf(slowSerial);
  expect(rest.at(-1)).toMatchObject({ event: "ended", code: "CANCELLED", message: "an operator cancelled it" });
  const written = events.filter(({ topic, data }) => topic === "$engine/log" && data.job === job);
  expect(written[0]?.data).toMatchObject({
    level: "info",
    process: expect.stringMatching(/^task worker \d+$/),
    text: expect.stringMatching(/^\[WORKER-\d+\(TASK\)\] slow: begins watched$/),
  });
});

test("logs -f goes on with the lines of its job as they come, without those of others, and ends with 0 on Ctrl-C", async () => {
  await using client = connect(engine.endpoint);
  const ticking = rejection(client.call("tick", ["followed"]));
  await engine.line(/tick: tick followed 1$/);
  const [job] = await client.jobs({ task: "tick", states: ["running"] });
  await using following = start("logs", "-f", "--job", job?.job ?? "");
  const [, before] = await following.shown(new RegExp(`^\\S+Z  ${job?.job}  tick  tick followed (\\d+)$`, "m"));
  expect((await run("send", "tick", "other", "--timeout", "60")).stderr).toContain("TIMEOUT");
  await engine.line(/tick: tick other 2$/);
  const seen = engine.lines.filter((line) => line.includes("tick followed")).length;
  await following.shown(new RegExp(`  tick  tick followed ${seen + 3}$`, "m"));
  expect(Number(before)).toBeLessThanOrEqual(seen);
  expect(following.stdout).not.toContain("other");
  const counts = [...following.stdout.matchAll(/tick followed (\d+)$/gm)].map(([, count]) => Number(count));
  expect(counts).toEqual([...new Set(counts)].sort((one, other) => one - other));
  following.signal("SIGINT");
  expect(await following.ended()).toBe(0);
  expect(following.stderr).toBe("");
  await client.close();
  await ticking;
});

test("status --watch shows each event as it comes, above the tables", async () => {
  await using watching = start("status", "--watch");
  const shown = watching.shown(/^\d\d:\d\d:\d\d\.\d{3} echo \(\S+\) done by TASK-\d+ after [\d.]+ ms$/m);
  const isShown = shown.then(() => true);
  while (!(await Promise.race([isShown, run("send", "echo", "hi").then(() => false)])));
  await watching.shown(/ done by TASK-[\s\S]*\n\nWORKER +ROLE/);
  watching.signal("SIGINT");
  expect(await watching.ended()).toBe(0);
  expect(watching.stderr).toBe("");
});
