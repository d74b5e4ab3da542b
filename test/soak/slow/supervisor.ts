import { expect, setDefaultTimeout } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { test } from "../../support/concurrent.ts";
import { isAlive, stillAlive } from "../../support/proc.ts";
import { type Host, supervise } from "../../support/supervise.ts";
import { tempFolder } from "../../support/temp-folder.ts";
import { superviseOnTerminal } from "../../support/terminal-host.ts";

setDefaultTimeout(300_000); // they wait for one another

const pidOf = (host: Host, role: string): number => {
  const [pid] = host.pidsOf(role);
  if (pid === undefined) throw new Error(`no ${role} is alive`);
  return pid;
};

/** Waits for the process that takes the place of `pid`; its process id. */
const successorOf = async (host: Host, pid: number): Promise<number> => {
  const role = "task worker";
  while (host.childPids.at(-1) === pid || host.pidsOf(role).length === 0 || host.pidsOf(role)[0] === pid)
    await Bun.sleep(5);
  return pidOf(host, role);
};

/** Drains the router, ends the workers and then the router. */
const expectCleanStop = async (host: Host, signal: "SIGINT" | "SIGTERM"): Promise<void> => {
  const [router, taskWorker, dataWorker] = ["router", "task worker", "data worker"].map((role) => pidOf(host, role));
  host.signal(signal);
  expect(await host.outcome()).toEqual({ type: "stopped" });
  const said = host.lines.slice(host.lines.indexOf("Closing application and stopping services...") + 1);
  const stopping = said.filter((line) => !line.includes("hears"));
  expect(said).toContain('router hears {"type":"drain"}');
  expect(stopping.slice(0, 2).sort()).toEqual(
    [
      `Successfully terminated process [${taskWorker}]: task worker`,
      `Successfully terminated process [${dataWorker}]: data worker`,
    ].sort(),
  );
  expect(stopping[2]).toBe(`Successfully terminated process [${router}]: router`);
  expect(host.errorLines).toEqual([]);
};

/* ── Start ───────────────────────────────────────────────────────────────────────────────────────────────────────── */

test("a start prints the tasks, then each process, and last of all that it is ready; SIGINT stops it", async () => {
  await using host = supervise({ second: "good" });
  await host.line(/^Ready$/);
  const [router, taskWorker, dataWorker] = host.childPids;
  expect(host.lines.filter((line) => !line.includes("hears"))).toEqual([
    "[REGISTERED-TASKS]:",
    "[-] task_count",
    "[-] task_drive",
    "------------------",
    "### Type [ctrl-c] to exit and shutdown workers ###",
    `Starting process [${router}]: router`,
    `Starting process [${taskWorker}]: task worker`,
    `Starting process [${dataWorker}]: data worker`,
    "Ready",
  ]);
  await host.line(/router hears .*tasks/);
  expect(host.lines.filter((line) => line.includes("router hears"))).toEqual([
    'router hears {"type":"stopped","stopped":null}',
    'router hears {"type":"tasks","tasks":[{"name":"count"},{"name":"drive","timeoutMs":50}]}',
  ]);
  await expectCleanStop(host, "SIGINT");
});

for (const [plan, reason] of [
  [{ scan: "fatal" }, "port 1 is taken"],
  [{ scan: "crash" }, "scan of the task files ended with exit code 3"],
  [{ scan: "mute", onlineMs: 500 }, "scan of the task files was not done after 500 ms and was killed"],
  [
    { scan: "no list" },
    "scan of the task files ended without a list of tasks: does one of them end the process while it is loaded?",
  ],
  [{ router: "fatal" }, "router cannot start: port 1 is taken"],
  [{ first: "crash" }, "task worker ended with exit code 3 before it was online"],
  [{ second: "mute", onlineMs: 2000 }, "data worker was not online after 2000 ms and was killed"],
  [{ second: "killed" }, "data worker ended by SIGKILL before it was online"],
] as const) {
  test(`a start fails and leaves nothing behind when ${reason}`, async () => {
    await using host = supervise(plan);
    expect(await host.outcome()).toEqual({ type: "failed", reason });
    expect(await stillAlive(host.childPids)).toEqual([]);
    expect(host.lines).not.toContain("Ready");
  });
}

/* ── Keep alive ──────────────────────────────────────────────────────────────────────────────────────────────────── */

test("a worker that is killed is reported, the router is told, and another is started; a router that is killed is told the tasks again", async () => {
  await using host = supervise();
  await host.line(/^Ready$/);
  await host.line(/^router hears \{"type":"tasks"/);
  const pid = pidOf(host, "task worker");
  process.kill(pid, "SIGKILL");
  expect(await host.line(/starting another/)).toBe(
    `Process [${pid}]: task worker ended by SIGKILL; starting another in 100 ms`,
  );
  expect(await host.line(/gone/)).toBe(`router hears {"type":"gone","pid":${pid},"begun":0}`);
  await host.line(new RegExp(`^Starting process \\[(?!${pid}\\])\\d+\\]: task worker$`));

  const router = pidOf(host, "router");
  process.kill(router, "SIGKILL");
  await host.line(new RegExp(`^Starting process \\[(?!${router}\\])\\d+\\]: router$`));
  while (host.lines.filter((line) => line.startsWith('router hears {"type":"tasks"')).length < 2) await Bun.sleep(10);
});

test("a process that dies again and again ends the engine, which says why", async () => {
  using folder = tempFolder();
  await using host = supervise({ first: "flaky", marker: folder.at("marker"), restartsMax: 2 });
  await host.line(/^Ready$/);
  writeFileSync(folder.at("marker"), "");
  expect(await host.outcome()).toEqual({
    type: "failed",
    reason: expect.stringMatching(
      /^Process \[\d+\]: task worker ended with exit code 3; giving up, for more than 2 restarts in 60000 ms are too many$/,
    ),
  });
  expect(host.errorLines.map((line) => line.replace(/^.*; /, ""))).toEqual([
    "starting another in 100 ms",
    "starting another in 200 ms",
  ]);
  expect(await stillAlive(host.childPids)).toEqual([]);
});

test("a process that never comes online after its restart is killed, which counts as a death", async () => {
  using folder = tempFolder();
  await using host = supervise({
    first: "mute next time",
    marker: folder.at("marker"),
    restartsMax: 1,
    onlineMs: 1000,
  });
  await host.line(/^Ready$/);
  process.kill(pidOf(host, "task worker"), "SIGKILL");
  expect(await host.outcome()).toMatchObject({
    type: "failed",
    reason: expect.stringContaining("task worker was not online after 1000 ms and was killed; giving up"),
  });
});

test("the router is told which job a dead worker had begun, and of a fresh one that it had begun none", async () => {
  using folder = tempFolder();
  await using host = supervise({ first: "begun", marker: folder.at("marker") });
  await host.line(/^Ready$/);
  const first = pidOf(host, "task worker");
  process.kill(first, "SIGKILL");
  expect(await host.line(/gone/)).toBe(`router hears {"type":"gone","pid":${first},"begun":7}`);
  const second = await successorOf(host, first);
  process.kill(second, "SIGKILL");
  await host.line(new RegExp(`gone","pid":${second},"begun":0}`));
});

test("a worker that the router wants killed is killed, and that is not counted", async () => {
  using folder = tempFolder();
  await using host = supervise({ router: "killer", first: "spinning", marker: folder.at("marker"), restartsMax: 0 });
  await host.line(/^Ready$/);
  await host.line(/^task worker spins$/);
  const pid = pidOf(host, "task worker");
  writeFileSync(folder.at("marker"), `${pid}`);
  await successorOf(host, pid);
  expect(host.errorLines).toEqual([`Process [${pid}]: task worker is killed: spin did not let go`]);
  expect(host.lines).toContain(
    `Process [${pid}]: task worker ended by SIGKILL, for spin did not let go; starting another`,
  );
});

test("nothing but a task worker of its own is killed for the router", async () => {
  using folder = tempFolder();
  await using host = supervise({ router: "killer", second: "good", marker: folder.at("marker") });
  await using other = supervise();
  await host.line(/^Ready$/);
  await other.line(/^Ready$/);
  const pids = [pidOf(host, "data worker"), pidOf(host, "router"), pidOf(other, "task worker"), host.pid, 0, -1];
  for (const pid of pids) {
    writeFileSync(folder.at("marker"), `${pid}`);
    while (existsSync(folder.at("marker"))) await Bun.sleep(5);
  }
  // It hears in order: when this one is dead, the others have been heard.
  const pid = pidOf(host, "task worker");
  writeFileSync(folder.at("marker"), `${pid}`);
  await successorOf(host, pid);
  expect(host.errorLines).toEqual([`Process [${pid}]: task worker is killed: spin did not let go`]);
  expect(pids.slice(0, 4).filter((left) => !isAlive(left))).toEqual([]);
});

test("a worker that has done its share is replaced at once, and that is not counted", async () => {
  using folder = tempFolder();
  await using host = supervise({ first: "recycled", marker: folder.at("marker"), restartsMax: 0 });
  await host.line(/^Ready$/);
  const pid = pidOf(host, "task worker");
  writeFileSync(folder.at("marker"), "0");
  await successorOf(host, pid);
  expect(host.errorLines).toEqual([]);
  expect(host.lines).toContain(
    `Process [${pid}]: task worker ended with exit code 0, for it has run 3 jobs; starting another`,
  );
});

for (const [first, exitCode] of [
  ["recycled", 3],
  ["quiet", 0],
] as const) {
  test(`an end with exit code ${exitCode} of a ${first} worker is a death`, async () => {
    using folder = tempFolder();
    await using host = supervise({ first, marker: folder.at("marker"), restartsMax: 0 });
    await host.line(/^Ready$/);
    writeFileSync(folder.at("marker"), `${exitCode}`);
    expect(await host.outcome()).toMatchObject({
      type: "failed",
      reason: expect.stringContaining(`task worker ended with exit code ${exitCode}; giving up`),
    });
  });
}

test("a worker that a person ends by SIGTERM is replaced at once, and that is not counted", async () => {
  await using host = supervise({ restartsMax: 0 });
  await host.line(/^Ready$/);
  const pid = pidOf(host, "task worker");
  process.kill(pid, "SIGTERM");
  await successorOf(host, pid);
  expect(host.errorLines).toEqual([]);
  expect(host.lines).toContain(
    `Process [${pid}]: task worker ended with exit code 0, for it was told to end; starting another`,
  );
});

/* ── Reload ──────────────────────────────────────────────────────────────────────────────────────────────────────── */

const reloaded = "[ENGINE] Task workers are replaced";

test("SIGHUP tells the router the new tasks, and then replaces the task workers alone; SIGTERM stops it", async () => {
  using folder = tempFolder();
  await using host = supervise({ second: "good", scan: "list again", marker: folder.at("marker"), restartsMax: 0 });
  await host.line(/^Ready$/);
  const before = host.childPids;
  writeFileSync(folder.at("marker"), '[{"name":"drive"}]');
  host.signal("SIGHUP");
  await host.line(/Task workers are replaced/);
  const said = host.lines.slice(host.lines.indexOf("Ready") + 1);
  const [router, taskWorker, dataWorker] = before;
  // What the router hears it prints when it gets to it.
  const heard = said.filter((line) => line.startsWith("router hears")).slice(-2);
  expect(heard).toEqual([
    'router hears {"type":"tasks","tasks":[{"name":"drive"}]}',
    `router hears {"type":"gone","pid":${taskWorker},"begun":0}`,
  ]);
  expect(said.filter((line) => !line.includes(" hears "))).toEqual([
    "[REGISTERED-TASKS]:",
    "[-] task_drive",
    "------------------",
    `Process [${taskWorker}]: task worker ended with exit code 0, for the task files are read again; starting another`,
    `Starting process [${pidOf(host, "task worker")}]: task worker`,
    `${reloaded}; no task any more: count`,
  ]);
  expect([pidOf(host, "router"), pidOf(host, "data worker")]).toEqual([router ?? 0, dataWorker ?? 0]);
  await expectCleanStop(host, "SIGTERM");
});

test("a reload whose scan fails says why and leaves everything as it was", async () => {
  using folder = tempFolder();
  await using host = supervise({ scan: "list again", marker: folder.at("marker") });
  await host.line(/^Ready$/);
  writeFileSync(folder.at("marker"), "crash");
  host.signal("SIGHUP");
  expect(await host.line(/stay as they are/)).toBe(
    "Task workers stay as they are: scan of the task files ended with exit code 3",
  );
  const pids = host.childPids;
  writeFileSync(folder.at("marker"), '[{"name":"drive"}]');
  host.signal("SIGHUP");
  await host.line(/Task workers are replaced/);
  expect(pids).toHaveLength(2);
  expect(host.childPids).toHaveLength(3);
});

test("a worker that does not leave for its successor is killed after the grace time", async () => {
  await using host = supervise({ first: "stubborn", graceMs: 100, terminateMs: 100, restartsMax: 0 });
  await host.line(/^Ready$/);
  const pid = pidOf(host, "task worker");
  host.signal("SIGHUP");
  await host.line(/Task workers are replaced/);
  expect(host.lines).toContain(
    `Process [${pid}]: task worker ended by SIGKILL, for the task files are read again; starting another`,
  );
});

test("SIGHUP during a reload asks for one more, however often it comes", async () => {
  await using host = supervise({ first: "stubborn", graceMs: 300, terminateMs: 300 });
  await host.line(/^Ready$/);
  host.signal("SIGHUP");
  await host.line(/hears {"type":"tasks".*/);
  while (host.lines.filter((line) => line === "[REGISTERED-TASKS]:").length < 2) await Bun.sleep(5);
  for (let round = 0; round < 3; round++) {
    host.signal("SIGHUP");
    await Bun.sleep(20);
  }
  while (host.lines.filter((line) => line === reloaded).length < 2) await Bun.sleep(10);
  host.signal("SIGTERM");
  expect(await host.outcome()).toEqual({ type: "stopped" });
  expect(host.lines.filter((line) => line === "[REGISTERED-TASKS]:")).toHaveLength(3);
});

test("SIGHUP during a start reloads after it", async () => {
  await using host = supervise({ router: "slow to start" });
  await host.line(/^Starting process .*task worker/);
  host.signal("SIGHUP");
  await host.line(/Task workers are replaced/);
  expect(host.lines.indexOf(reloaded)).toBeGreaterThan(host.lines.indexOf("Ready"));
});

test("SIGTERM during a reload stops", async () => {
  await using host = supervise({ first: "stubborn", graceMs: 60_000, terminateMs: 300 });
  await host.line(/^Ready$/);
  host.signal("SIGHUP");
  while (host.lines.filter((line) => line === "[REGISTERED-TASKS]:").length < 2) await Bun.sleep(5);
  host.signal("SIGTERM");
  expect(await host.outcome()).toEqual({ type: "stopped" });
  expect(host.lines).not.toContain(reloaded);
});

test("a SIGHUP that comes because the terminal goes stops the engine, and any other one reloads it", async () => {
  using folder = tempFolder();
  await using host = superviseOnTerminal(folder.at("out"));
  await host.line(/^Ready$/);
  host.signal("SIGHUP");
  await host.line(/Task workers are replaced/);
  host.closeTerminal();
  expect(await host.line(/^Outcome/)).toBe('Outcome: {"type":"stopped"}');
});

test("an engine started by nohup outlives its terminal, and reloads after that", async () => {
  using folder = tempFolder();
  await using host = superviseOnTerminal(folder.at("out"), "nohup");
  await host.line(/^Ready$/);
  host.closeTerminal();
  await Bun.sleep(300);
  expect(host.lines).not.toContain("[ENGINE] Task workers are replaced");
  host.signal("SIGHUP");
  await host.line(/Task workers are replaced/);
  host.signal("SIGTERM");
  expect(await host.line(/^Outcome/)).toBe('Outcome: {"type":"stopped"}');
});

/* ── Stop ────────────────────────────────────────────────────────────────────────────────────────────────────────── */

test("a stop does not wait longer than the grace time for jobs that still run", async () => {
  await using host = supervise({ router: "busy", graceMs: 200 });
  await host.line(/^Ready$/);
  host.signal("SIGTERM");
  expect(await host.outcome()).toEqual({ type: "stopped" });
  expect(host.errorLines).toEqual(["Jobs still run after 200 ms of grace, and are ended"]);
});

for (const first of ["stubborn", "spinning"]) {
  test(`a ${first} process that does not end when it is told to is killed`, async () => {
    await using host = supervise({ first, terminateMs: 300 });
    await host.line(/^Ready$/);
    if (first === "spinning") await host.line(/^task worker spins$/);
    const pid = pidOf(host, "task worker");
    host.signal("SIGTERM");
    expect(await host.outcome()).toEqual({ type: "stopped" });
    expect(host.lines).toContain(`Killed process [${pid}]: task worker`);
  });
}

test("a process that crashes while it is stopped is not called successfully terminated", async () => {
  await using host = supervise({ second: "crash at stop" });
  await host.line(/^Ready$/);
  const pid = pidOf(host, "data worker");
  host.signal("SIGTERM");
  expect(await host.outcome()).toEqual({ type: "stopped" });
  expect(host.lines).toContain(`Process [${pid}]: data worker ended with exit code 9`);
});

test("a second signal kills what is left at once", async () => {
  await using host = supervise({ router: "busy", first: "stubborn" });
  await host.line(/^Ready$/);
  host.signal("SIGINT");
  await host.line(/^router hears {"type":"drain"}$/);
  host.signal("SIGINT");
  expect(await host.outcome()).toEqual({ type: "killed" });
  for (const pid of host.childPids) expect(host.lines.join("\n")).toContain(`Killed process [${pid}]`);
});

test("a stop during the scan, the start or a back-off is a clean stop", async () => {
  using folder = tempFolder();
  await using scanning = supervise({ scan: "mute" });
  await using starting = supervise({ first: "mute" });
  await using backingOff = supervise({ first: "flaky", marker: folder.at("marker"), restartsMax: 100 });
  await starting.line(/^Starting process .*task worker/);
  starting.signal("SIGTERM");
  await backingOff.line(/^Ready$/);
  writeFileSync(folder.at("marker"), "");
  await backingOff.line(/starting another in 400 ms/);
  backingOff.signal("SIGINT");
  // It listens to signals before it does anything else; its scan says nothing by which one could know that it runs.
  while (Bun.spawnSync(["pgrep", "-P", `${scanning.pid}`]).exitCode !== 0) await Bun.sleep(10);
  scanning.signal("SIGTERM");
  for (const host of [scanning, starting, backingOff]) expect(await host.outcome()).toEqual({ type: "stopped" });
});

/* ── Whatever happens ────────────────────────────────────────────────────────────────────────────────────────────── */

test("no child outlives a supervisor that is killed, not even one that spins or has just started", async () => {
  await using running = supervise({ first: "spinning", second: "stubborn" });
  await using starting = supervise({ router: "slow to start", first: "slow to start", second: "slow to start" });
  await running.line(/^Ready$/);
  await running.line(/^task worker spins$/);
  await starting.line(/^Starting process .*data worker/);
  for (const host of [running, starting]) {
    host.signal("SIGKILL");
    expect(host.childPids).toHaveLength(3);
    expect(await stillAlive(host.childPids)).toEqual([]);
  }
});

test("children are given an environment made for them, and nothing of the one the supervisor was given", async () => {
  const given = {
    HOME: "/tmp",
    TZ: "UTC",
    LC_ALL: "C",
    SECRET: "x",
    BUN_FOO: "x",
    NODE_OPTIONS: "",
    TASK_ENGINE_PORT: "1",
  };
  await using host = supervise(
    { router: "environment", first: "environment", env: { ROBOT: "left", TZ: "Asia/Tokyo", BUN_OPTIONS: "x" } },
    given,
  );
  const base = { PATH: process.env.PATH, HOME: "/tmp", LC_ALL: "C" };
  const environmentOf = async (role: string): Promise<unknown> =>
    JSON.parse((await host.line(new RegExp(`^${role} environment`))).replace(/^.* environment /, ""));
  expect(await environmentOf("router")).toEqual({ ...base, TZ: "UTC" });
  expect(await environmentOf("task worker")).toEqual({ ...base, TZ: "Asia/Tokyo", ROBOT: "left" });
  await host.line(/^Ready$/);
});
