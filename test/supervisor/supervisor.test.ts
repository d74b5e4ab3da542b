import { expect, setDefaultTimeout, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { stillAlive } from "../support/engine.ts";
import { type Host, supervise } from "../support/supervise.ts";
import { tempFolder } from "../support/temp-folder.ts";

setDefaultTimeout(60_000); // many processes on a busy machine

const pidOf = (host: Host, role: string): number => {
  const [pid] = host.pidsOf(role);
  if (pid === undefined) throw new Error(`no ${role} is alive`);
  return pid;
};

/* ── Start ───────────────────────────────────────────────────────────────────────────────────────────────────────── */

test("a start prints the tasks, then each process, and last of all that it is ready", async () => {
  await using host = supervise();
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
  expect(await host.line(/router hears/)).toBe('router hears {"type":"tasks","names":["count","drive"]}');
  expect(host.errorLines).toEqual([]);
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
  [{ second: "mute", onlineMs: 500 }, "data worker was not online after 500 ms and was killed"],
  [{ second: "interrupted" }, "data worker ended by SIGINT before it was online"],
] as const) {
  test(`a start fails and leaves nothing behind when ${reason}`, async () => {
    await using host = supervise(plan);
    expect(await host.outcome()).toEqual({ type: "failed", reason });
    expect(await stillAlive(host.childPids)).toEqual([]);
    expect(host.lines).not.toContain("Ready");
  });
}

/* ── Keep alive ──────────────────────────────────────────────────────────────────────────────────────────────────── */

test("a worker that is killed is reported, the router is told, and another is started", async () => {
  await using host = supervise();
  await host.line(/^Ready$/);
  const pid = pidOf(host, "task worker");
  process.kill(pid, "SIGKILL");
  expect(await host.line(/starting another/)).toBe(
    `Process [${pid}]: task worker ended by SIGKILL; starting another in 100 ms`,
  );
  expect(await host.line(/gone/)).toBe(`router hears {"type":"gone","pid":${pid}}`);
  await host.line(new RegExp(`^Starting process \\[(?!${pid}\\])\\d+\\]: task worker$`));
});

test("a router that is killed is started again, and told the tasks again", async () => {
  await using host = supervise();
  await host.line(/^Ready$/);
  const pid = pidOf(host, "router");
  await host.line(/router hears/);
  process.kill(pid, "SIGKILL");
  await host.line(new RegExp(`^Starting process \\[(?!${pid}\\])\\d+\\]: router$`));
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

/* ── Stop ────────────────────────────────────────────────────────────────────────────────────────────────────────── */

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  test(`${signal} drains the router, ends the workers and then the router`, async () => {
    await using host = supervise();
    await host.line(/^Ready$/);
    const [router, taskWorker, dataWorker] = host.childPids;
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
  });
}

test("a stop does not wait longer than the grace time for jobs that still run", async () => {
  await using host = supervise({ router: "busy", graceMs: 200 });
  await host.line(/^Ready$/);
  host.signal("SIGTERM");
  expect(await host.outcome()).toEqual({ type: "stopped" });
  expect(host.errorLines).toEqual(["Jobs still run after 200 ms of grace, and are ended"]);
});

for (const first of ["stubborn", "spinning"]) {
  test(`a ${first} process that does not end on SIGTERM is killed`, async () => {
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
  await starting.line(/^Starting process .*data worker/);
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
