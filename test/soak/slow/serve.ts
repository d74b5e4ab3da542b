/** `serve` as a person runs it: every process real. */
import { expect, setDefaultTimeout } from "bun:test";
import { chmodSync } from "node:fs";
import { connect } from "../../../src/client/client.ts";
import { test } from "../../support/concurrent.ts";
import { Engine, type EngineOptions, oneWorker, runCommand, startEngine } from "../../support/engine.ts";
import { taskEngine } from "../../support/executable.ts";
import { freePorts } from "../../support/ports.ts";
import { stillAlive } from "../../support/proc.ts";
import { tempFolder } from "../../support/temp-folder.ts";

setDefaultTimeout(300_000); // they wait for one another

const slowTask = `
export const task_slow = async ([ms], kwargs, { log }) => {
  log("slow has begun");
  await Bun.sleep(ms);
  return "slept";
};
export const task_spin = (args, kwargs, { log }) => {
  log("spin has begun");
  for (;;) Bun.sleepSync(1000);
};`;

/** Starts it on free ports without waiting; for a start that is to fail. */
const serve = (flags: readonly string[] = [], options: Pick<EngineOptions, "command" | "cwd" | "env"> = {}): Engine => {
  const first = freePorts(5);
  return new Engine(
    { flags, ...options },
    { frontend: first, backend: first + 1, worker: first + 2, data: freePorts(8) },
  );
};

const onlyPid = (engine: Engine, role: string): number => {
  const [pid] = engine.pidsOf(role);
  if (pid === undefined) throw new Error(`no ${role} is alive`);
  return pid;
};

/** What it says after it has begun to stop, in the order of the alphabet. */
const terminated = ({ lines }: Engine): readonly string[] =>
  lines.slice(lines.indexOf("Closing application and stopping services...") + 1).toSorted();

/* ── Start ───────────────────────────────────────────────────────────────────────────────────────────────────────── */

test("a start prints tasks, processes and sockets, and last of all where to send to; SIGINT stops the engine cleanly, and says so of each process", async () => {
  await using engine = await startEngine();
  const { frontend, backend, worker } = engine.ports;
  const [router, first, second, data] = engine.childPids;
  const expected = [
    "[REGISTERED-TASKS]:",
    "[-] task_count",
    "------------------",
    "### Type [ctrl-c] to exit and shutdown workers ###",
    `Starting process [${router}]: router`,
    `Starting [ROUTER] on socket: 127.0.0.1:${frontend}`,
    `[ROUTER-${frontend}(FRONTEND)] Listener online`,
    `[ROUTER-${backend}(BACKEND)] Listener online`,
    "[ROUTER-MASTER] Routing started",
    `Starting process [${first}]: task worker`,
    `Starting worker[TASK] on socket: 127.0.0.1:${worker}`,
    `[WORKER-${first}(TASK)] Listener online`,
    `Starting process [${second}]: task worker`,
    `Starting worker[TASK] on socket: 127.0.0.1:${worker + 1}`,
    `[WORKER-${second}(TASK)] Listener online`,
    `Starting process [${data}]: data worker`,
    `Starting worker[DATA] on socket: 127.0.0.1:${worker + 2}`,
    `[WORKER-${data}(DATA)] Listener online`,
    `[ENGINE] Ready: send tasks to ${engine.endpoint}`,
  ];
  expect(engine.lines.toSorted()).toEqual(expected.toSorted());
  expect(engine.lines.slice(0, 4)).toEqual(expected.slice(0, 4));
  expect(engine.lines.at(-1)).toBe(expected.at(-1) ?? "");
  engine.signal("SIGINT");
  expect(await engine.ended()).toBe(0);
  expect(terminated(engine)).toEqual(
    [
      `Successfully terminated process [${router}]: router`,
      `Successfully terminated process [${first}]: task worker`,
      `Successfully terminated process [${second}]: task worker`,
      `Successfully terminated process [${data}]: data worker`,
    ].toSorted(),
  );
  expect(engine.errorLines).toEqual([]);
});

for (const [index, role] of ["router", "router", "task worker", "data worker"].entries()) {
  test(`a start ends with one line that names port ${index + 1} of 4, if it is taken`, async () => {
    const first = freePorts(4);
    const port = first + index;
    const squatter = Bun.listen({ hostname: "127.0.0.1", port, socket: { data: () => undefined } });
    await using engine = new Engine(
      { flags: ["--task-workers", "1"] },
      { frontend: first, backend: first + 1, worker: first + 2, data: freePorts(8) },
    );
    expect(await engine.ended()).toBe(1);
    squatter.stop(true);
    expect(engine.errorLines).toHaveLength(1);
    expect(engine.errorLines[0]).toStartWith(`task-engine: ${role} cannot start: `);
    expect(engine.errorLines[0]).toContain(`127.0.0.1:${port}`);
    expect(await stillAlive(engine.childPids)).toEqual([]);
  });
}

test("a start ends with one line that names a bad value and its place, wherever it stands", async () => {
  using folder = tempFolder({ "task-engine.toml": "task-workers = -1\n", "other.toml": "" });
  const run = (args: readonly string[], env: Record<string, string> = {}, cwd = "/") =>
    runCommand(taskEngine, ["serve", ...args], { env: { PATH: process.env.PATH ?? "", ...env }, cwd });
  const [flag, variable, file, missing] = await Promise.all([
    run(["--port", "many"]),
    run([], { TASK_ENGINE_PORT: "0" }),
    run([], {}, folder.path),
    run(["--config", "none.toml"], {}, folder.path),
  ]);
  const failed = (line: string) => ({ exitCode: 1, stdout: "", stderr: `task-engine: ${line}\n` });
  expect(flag).toEqual(failed('--port: must be a whole number from 1 to 65535, not "many"'));
  expect(variable).toEqual(failed("TASK_ENGINE_PORT: must be a whole number from 1 to 65535, not 0"));
  expect(file).toEqual(failed("task-engine.toml: task-workers: must be a whole number from 0 to 64, not -1"));
  expect(missing).toEqual(failed("none.toml: there is no such file"));
});

test("a start ends with one line that names a task file that cannot be loaded", async () => {
  using folder = tempFolder({ "tasks/broken.ts": "export const task_x = ;" });
  await using engine = serve(oneWorker, { cwd: folder.path });
  expect(await engine.ended()).toBe(1);
  expect(engine.errorLines).toHaveLength(1);
  expect(engine.errorLines[0]).toContain(folder.at("tasks/broken.ts"));
  expect(engine.lines).toEqual([]);
});

test("where the system lets nobody share memory the engine says so, and ends", async () => {
  const limited = ["bash", "-c", 'ulimit -f 550; exec "$@"', "-", ...taskEngine];
  await using engine = serve(oneWorker, { command: limited });
  expect(await engine.ended()).toBe(1);
  expect(engine.errorLines.at(-1)).toMatch(/cannot share memory with its router: .*ulimit -f/);
});

test("settings come from the file, and variables of its [env] reach the tasks", async () => {
  using folder = tempFolder({
    "task-engine.toml": 'task-workers = 1\ndata-workers = 0\ntasks = "mine"\n[env]\nROBOT = "left"\n',
    "mine/robot.ts": "export const task_robot = () => process.env.ROBOT;",
  });
  await using engine = await startEngine({ cwd: folder.path });
  expect(engine.childPids).toHaveLength(2);
  const { stdout } = await engine.run("send", "robot", "--router", engine.endpoint);
  expect(stdout).toBe("left\n");
});

/* ── Keep alive ──────────────────────────────────────────────────────────────────────────────────────────────────── */

test("requests are served while one of two task workers is down, and its successor takes its port", async () => {
  await using engine = await startEngine({ flags: ["--data-workers", "0"] });
  const pid = onlyPid(engine, "task worker");
  process.kill(pid, "SIGKILL");
  const { stdout } = await engine.run("send", "count", "2", "3", "--router", engine.endpoint);
  expect(stdout).toBe("5\n");
  await engine.line(new RegExp(`^Process \\[${pid}\\]: task worker ended by SIGKILL; starting another in 100 ms$`));
  while (engine.lines.filter((line) => /\(TASK\)\] Listener online/.test(line)).length < 3) await Bun.sleep(10);
  for (const port of [engine.ports.worker, engine.ports.worker + 1]) {
    const direct = await engine.run("send", "count", "2", "3", "--direct", `tcp://127.0.0.1:${port}`);
    expect(direct).toEqual({ exitCode: 0, stdout: "5\n", stderr: "" });
  }
});

test("a router that is killed is started again, and its workers come back to it", async () => {
  await using engine = await startEngine({ flags: ["--task-workers", "1"] });
  process.kill(onlyPid(engine, "router"), "SIGKILL");
  await engine.line(/router ended by SIGKILL; starting another/);
  await using client = connect(engine.endpoint, { waitMs: 10_000 });
  await client.tasks();
  const sum = await engine.run("send", "count", "2", "3", "--router", engine.endpoint);
  expect(sum).toEqual({ exitCode: 0, stdout: "5\n", stderr: "" });
  const put = await engine.run("data", "put", "battery", "7", "--router", engine.endpoint);
  expect(put.exitCode).toBe(0);
});

test("more deaths than the limit end the engine with exit code 1", async () => {
  await using engine = await startEngine({ flags: ["--restarts-max", "0", "--task-workers", "0"] });
  process.kill(onlyPid(engine, "data worker"), "SIGKILL");
  expect(await engine.ended()).toBe(1);
  expect(engine.errorLines).toEqual([
    expect.stringMatching(
      /^task-engine: Process \[\d+\]: data worker ended by SIGKILL; giving up, for more than 0 restarts in 60000 ms are too many$/,
    ),
  ]);
});

/* ── Stop ────────────────────────────────────────────────────────────────────────────────────────────────────────── */

test("SIGTERM stops the engine cleanly: a job that runs may finish, and one that waits is told that the engine shuts down", async () => {
  using folder = tempFolder({ "tasks/slow.ts": slowTask });
  await using engine = await startEngine({ cwd: folder.path, flags: oneWorker });
  await using client = connect(engine.endpoint);
  const running = client.call("slow", [700]);
  await engine.line(/slow has begun/);
  const waiting = client.call("slow", [0]).catch((failure: unknown) => failure);
  // It goes the same way and is answered at once, so the call before it has arrived.
  await client.tasks();
  engine.signal("SIGTERM");
  expect(await running).toBe("slept");
  expect(await waiting).toMatchObject({ code: "SHUTTING_DOWN" });
  const [router, worker] = engine.childPids;
  expect(await engine.ended()).toBe(0);
  expect(terminated(engine)).toEqual(
    [
      `Successfully terminated process [${router}]: router`,
      `Successfully terminated process [${worker}]: task worker`,
    ].toSorted(),
  );
  expect(engine.errorLines).toEqual([]);
});

test("a task that spins does not keep the engine from stopping", async () => {
  using folder = tempFolder({ "tasks/slow.ts": slowTask });
  await using engine = await startEngine({ cwd: folder.path, flags: ["--grace-ms", "100", ...oneWorker] });
  const cut = engine.run("send", "spin", "--router", engine.endpoint);
  await engine.line(/spin has begun/);
  engine.signal("SIGTERM");
  expect(await engine.ended()).toBe(0);
  expect((await cut).exitCode).toBe(1);
  expect(engine.lines.filter((line) => line.startsWith("Killed process"))).toHaveLength(1);
});

test("a second Ctrl-C stops at once, with exit code 130", async () => {
  using folder = tempFolder({ "tasks/slow.ts": slowTask });
  await using engine = await startEngine({ cwd: folder.path, flags: ["--grace-ms", "600000", ...oneWorker] });
  const cut = engine.run("send", "spin", "--wait", "2000", "--router", engine.endpoint);
  await engine.line(/spin has begun/);
  engine.signal("SIGINT");
  await engine.line(/^Closing application/);
  engine.signal("SIGINT");
  expect(await engine.ended()).toBe(130);
  expect(engine.errorLines.at(-1)).toBe("task-engine: stopped at once, on a second signal; running jobs were cut off");
  expect((await cut).exitCode).toBe(1);
});

test("an HTTP port that is taken, and files that cannot be used, are told before anything starts", async () => {
  using folder = tempFolder({ "cert.pem": "no certificate", "key.pem": "no key" });
  chmodSync(folder.at("key.pem"), 0o600);
  using other = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
  const free = `${freePorts(1)}`;
  for (const [flags, said] of [
    [["--http", `${other.port}`], `http: ${other.port} is in use by another program; name another port by --http`],
    [["--http", free, "--tokens", "none"], "none cannot be read: there is no such file"],
    [
      ["--http", free, "--tls-cert", "cert.pem", "--tls-key", "key.pem"],
      "http: the files of --tls-cert and --tls-key are no certificate and its key",
    ],
  ] as const) {
    await using engine = serve([...oneWorker, ...flags], { cwd: folder.path });
    expect(await engine.ended()).toBe(1);
    expect(engine.errorLines).toEqual([expect.stringContaining(said)]);
    expect(engine.childPids).toEqual([]);
  }
});
