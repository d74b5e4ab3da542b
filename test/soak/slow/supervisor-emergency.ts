/** What keeps a robot safe when something goes wrong, with roles that do not run any task: see role.ts. */
import { expect, setDefaultTimeout } from "bun:test";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { Stopped, StopResult } from "../../../src/protocol/blocked.ts";
import { stopBySocket } from "../../../src/supervisor/stop-socket.ts";
import { test } from "../../support/concurrent.ts";
import { isAlive } from "../../support/proc.ts";
import { type Host, type Plan, supervise } from "../../support/supervise.ts";
import { type TempFolder, tempFolder } from "../../support/temp-folder.ts";

setDefaultTimeout(300_000); // they wait for one another

const stopAndDisk = (host: Host, reason = ""): Promise<StopResult> =>
  stopBySocket(join(host.state, "stop.sock"), reason, AbortSignal.timeout(30_000));

/** The stop alone. */
const stop = async (host: Host, reason = ""): Promise<Stopped> => {
  const { reason: first, since } = await stopAndDisk(host, reason);
  return { reason: first, since };
};

const pidOf = (host: Host, role: string): number => {
  const [pid] = host.pidsOf(role);
  if (pid === undefined) throw new Error(`no ${role} is alive`);
  return pid;
};

/** What a role has heard since, as it printed it. */
const heard = (host: Host, role: string): Record<string, unknown>[] =>
  host.lines
    .filter((line) => line.startsWith(`${role} hears `))
    .map((line) => JSON.parse(line.slice(`${role} hears `.length)));

/** Waits until there are as many lines like this. */
const lines = async (host: Host, pattern: RegExp, count: number): Promise<void> => {
  const overAtMs = performance.now() + 20_000;
  while (host.lines.filter((line) => pattern.test(line)).length < count) {
    if (performance.now() > overAtMs)
      throw new Error(`not ${count} lines like ${pattern} in:\n${host.lines.join("\n")}`);
    await Bun.sleep(10);
  }
};

const stoppedIn = (state: string): unknown => JSON.parse(readFileSync(join(state, "stopped"), "utf8"));

/* ── Emergency stop ──────────────────────────────────────────────────────────────────────────────────────────────── */

/** Has the router (a `wisher`) ask for these, one after the other. */
const wish = async (host: Host, folder: TempFolder, ...wishes: object[]): Promise<void> => {
  await host.line(/^Ready$/);
  writeFileSync(folder.at("marker"), JSON.stringify(wishes));
  while (existsSync(folder.at("marker"))) await Bun.sleep(5);
};

test("a stop past the router tells router and task workers, halts the workers, and is written down; what is asked for again keeps its first reason, and halts them again", async () => {
  await using host = supervise({ second: "good" });
  await host.line(/^Ready$/);
  const stopped = await stop(host, "smoke");
  expect(stopped.reason).toBe("smoke");
  expect(Math.abs(stopped.since - Date.now() / 1000)).toBeLessThan(60);
  const halt = { type: "halt", halt: 1, code: "STOPPED", message: "Emergency stop: smoke", spares: true };
  await host.line(/task worker hears .*halt/);
  expect(heard(host, "task worker")).toEqual([
    { type: "stopped", stopped: null },
    { type: "stopped", stopped: { ...stopped } },
    halt,
  ]);
  await host.line(/router hears .*smoke/);
  expect(heard(host, "data worker")).toEqual([]);
  expect(stoppedIn(host.state)).toEqual({ ...stopped });
  expect(host.errorLines).toEqual(["[ENGINE] Emergency stop: smoke; `task-engine reset` ends it"]);

  // As long as the first is not over, it does for both.
  while (!host.lines.some((line) => /^task worker hears .*"halt":2/.test(line))) {
    expect(await stop(host, "fire")).toEqual(stopped);
  }
});

test("a worker that is not still in time is killed, and only that one", async () => {
  await using host = supervise({ first: "restless", second: "good", stopGraceMs: 100, restartsMax: 0 });
  await host.line(/^Ready$/);
  const [worker, data, router] = [pidOf(host, "task worker"), pidOf(host, "data worker"), pidOf(host, "router")];
  await stop(host);
  expect(isAlive(worker)).toBe(false);
  expect(await host.line(/is killed/)).toBe(
    `Process [${worker}]: task worker is killed: it was not still after 100 ms: Emergency stop`,
  );
  await host.line(new RegExp(`^Starting process \\[(?!${worker}\\])\\d+\\]: task worker$`));
  expect([data, router].filter(isAlive)).toHaveLength(2);
});

test("a router that does not answer is killed with all task workers, and their successors are told of the stop", async () => {
  await using host = supervise({ router: "spinning", restartsMax: 0, graceMs: 100, terminateMs: 200 });
  await host.line(/^Ready$/);
  await host.line(/^router spins$/);
  const before = [pidOf(host, "router"), pidOf(host, "task worker")];
  const stopped = await stop(host, "stuck");
  expect(before.filter(isAlive)).toEqual([]);
  await lines(host, /^router hears .*"tasks"/, 2);
  await lines(host, /^task worker hears .*stuck/, 2);
  const told = heard(host, "router").filter(({ type }) => type !== "gone" && type !== "latched");
  expect(told.slice(-2)).toEqual([
    { type: "stopped", stopped: { ...stopped } },
    { type: "tasks", tasks: [{ name: "count" }, { name: "drive", timeoutMs: 50 }], isUnsafe: true },
  ]);
});

test("an emergency stop outlives the supervisor, however that ends, until it is reset", async () => {
  using folder = tempFolder();
  const plan: Plan = { router: "wisher", marker: folder.at("marker") };
  const state = folder.at("state");
  const since = 1_700_000_000.5;
  {
    await using host = supervise(plan, {}, state);
    await host.line(/^Ready$/);
    writeFileSync(
      folder.at("marker"),
      JSON.stringify([{ type: "estop", request: 7, stopped: { reason: "smoke", since } }]),
    );
    await host.line(/^router hears {"type":"latched","request":7,"failure":null}/);
    host.signal("SIGKILL");
    await host.ended();
  }
  {
    await using host = supervise(plan, {}, state);
    await host.line(/^Ready$/);
    await host.line(/^task worker hears .*smoke/);
    await host.line(/^router hears .*tasks/);
    expect(heard(host, "router").slice(0, 2)).toEqual([
      { type: "stopped", stopped: { reason: "smoke", since } },
      { type: "latched", request: 0, failure: null },
    ]);
    host.signal("SIGTERM");
    expect(await host.outcome()).toEqual({ type: "stopped" });
  }
  {
    await using host = supervise(plan, {}, state);
    await host.line(/^Ready$/);
    writeFileSync(folder.at("marker"), JSON.stringify([{ type: "reset", request: 1 }]));
    await host.line(/The emergency stop is ended/);
    await lines(host, /^(router|task worker) hears {"type":"stopped","stopped":null}/, 2);
    expect(existsSync(join(state, "stopped"))).toBe(false);
  }
  await using host = supervise(plan, {}, state);
  await host.line(/^router hears .*tasks/);
  expect(heard(host, "router")[0]).toEqual({ type: "stopped", stopped: null });
});

test("a reset that a stop overtakes is void", async () => {
  using folder = tempFolder();
  await using host = supervise({ router: "wisher", marker: folder.at("marker"), hook: "safe well" });
  await host.line(/^Ready$/);
  let count = 0;
  const estop = (reason: string) => ({ type: "estop", request: ++count, stopped: { reason, since: 1 } });
  const reset = () => ({ type: "reset", request: ++count });
  // The first stop is not done yet when the others come. Of its reason a program can be given all but the last character.
  await wish(host, folder, estop("smoke\0"), reset(), estop("fire"));
  await host.line(/^safe for --run count --code=STOPPED --message=Emergency stop: smoke $/);
  // Said once the first stop is done; a stop that came before would be a part of it.
  await host.line(/^router hears {"type":"resetRefused","request":2/);
  await wish(host, folder, reset(), estop("fire"));
  await lines(host, /^safe for/, 2);
  await host.line(/^router hears {"type":"resetRefused","request":4/);
  const router = heard(host, "router");
  expect(router.findLast(({ type }) => type === "resetRefused")).toMatchObject({
    why: expect.stringContaining("after this reset"),
  });
  expect(router.findLast(({ type }) => type === "stopped")).toMatchObject({ stopped: { reason: "smoke\0" } });
  expect(stoppedIn(host.state)).toMatchObject({ reason: "smoke\0" });

  await wish(host, folder, reset());
  await host.line(/The emergency stop is ended/);
  await lines(host, /^router hears {"type":"stopped","stopped":null}/, 2);
});

test("a reset for which nobody waits any more does not end the stop, which can be reset later", async () => {
  using folder = tempFolder();
  await using host = supervise({ router: "wisher", marker: folder.at("marker"), hook: "safe slowly" });
  await host.line(/^Ready$/);
  const stopped = { reason: "smoke", since: 1 };
  const withdraw = { type: "withdrawReset", stopped };
  await wish(host, folder, { type: "estop", request: 1, stopped }, { type: "reset", request: 2 }, withdraw);
  // It is as if it had been refused, when what it waits for is over.
  await host.line(/^router hears {"type":"resetRefused","request":2/);
  expect(stoppedIn(host.state)).toEqual(stopped);
  await wish(host, folder, { type: "reset", request: 3 });
  await host.line(/The emergency stop is ended/);
  // One that has been carried out at this very moment is taken back.
  await wish(host, folder, withdraw);
  await lines(host, /^router hears {"type":"stopped","stopped":{/, 2);
  while (!existsSync(join(host.state, "stopped"))) await Bun.sleep(5);
  expect(heard(host, "router").findLast(({ type }) => type === "stopped")).toEqual({ type: "stopped", stopped });
});

test("a reset that a router has asked for which is dead now does not end the stop", async () => {
  using folder = tempFolder();
  await using host = supervise({ router: "wisher", marker: folder.at("marker"), hook: "safe slowly" });
  await host.line(/^Ready$/);
  const stopped = { reason: "smoke", since: 1 };
  await wish(host, folder, { type: "estop", request: 1, stopped }, { type: "reset", request: 2 });
  process.kill(pidOf(host, "router"), "SIGKILL");
  await host.line(/^safe for/);
  await lines(host, /^router hears .*"tasks"/, 2);
  await wish(host, folder, { type: "estop", request: 1, stopped });
  await lines(host, /^router hears {"type":"latched"/, 1);
  expect(stoppedIn(host.state)).toEqual(stopped);
  expect(host.lines.filter((line) => line.includes("is ended"))).toEqual([]);
});

/* ── On the disk ─────────────────────────────────────────────────────────────────────────────────────────────────── */

test("a state folder that is gone or another one is said, and a stop for which it is back is durable", async () => {
  await using host = supervise();
  await host.line(/^Ready$/);
  const aside = `${host.state}.aside`;
  renameSync(host.state, aside);
  const ask = (): Promise<StopResult> => stopBySocket(join(aside, "stop.sock"), "smoke", AbortSignal.timeout(30_000));
  expect(await ask()).toMatchObject({ durable: false, why: expect.stringContaining("is gone; put it back") });
  expect(await host.line(/cannot be put on the disk/)).toContain("[ENGINE] The emergency stop will not outlive");
  mkdirSync(host.state);
  expect(await ask()).toMatchObject({ durable: false, why: expect.stringContaining("is another one") });
  rmSync(host.state, { recursive: true });
  renameSync(aside, host.state);
  expect(await stopAndDisk(host, "fire")).toMatchObject({ reason: "smoke", durable: true });
  expect(stoppedIn(host.state)).toMatchObject({ reason: "smoke" });
});

test("a latch that cannot be removed refuses the reset with what is in the way, and the stop stays", async () => {
  using folder = tempFolder({ "state/stopped/notes": "" });
  const plan = { router: "wisher", marker: folder.at("marker") };
  await using host = supervise(plan, {}, folder.at("state"));
  await wish(host, folder, { type: "reset", request: 1 });
  const refused = await host.line(/^router hears {"type":"resetRefused","request":1/);
  expect(refused).toMatch(/the emergency stop stays, for it cannot be taken from the disk: ENOTEMPTY.*stopped/);
  rmSync(folder.at("state/stopped/notes"));
  rmdirSync(folder.at("state/stopped"));
  await wish(host, folder, { type: "reset", request: 2 });
  await host.line(/The emergency stop is ended/);
});

test("a file of an emergency stop that cannot be read is an emergency stop", async () => {
  using folder = tempFolder({ "state/stopped": "{" });
  await using host = supervise({}, {}, folder.at("state"));
  await host.line(/^router hears .*tasks/);
  expect(heard(host, "router")[0]).toMatchObject({
    stopped: { reason: `${folder.at("state/stopped")} is there and cannot be read` },
  });
});

/* ── Death of the router, and of the engine ──────────────────────────────────────────────────────────────────────── */

test("a new router is told its tasks only once what its predecessor left running is still or dead", async () => {
  await using host = supervise({ first: "restless" });
  await host.line(/^Ready$/);
  await host.line(/^router hears .*tasks/);
  const worker = pidOf(host, "task worker");
  process.kill(pidOf(host, "router"), "SIGKILL");
  await lines(host, /^router hears .*"tasks"/, 2);
  const killed = host.lines.findIndex((line) => line.startsWith(`Process [${worker}]: task worker ended by SIGKILL`));
  const told = host.lines.findLastIndex((line) => line.startsWith('router hears {"type":"tasks"'));
  expect(killed).toBeGreaterThan(0);
  expect(told).toBeGreaterThan(killed);
  expect(heard(host, "task worker")).toContainEqual({
    type: "halt",
    halt: 1,
    code: "INTERRUPTED",
    message: "the router has died",
    spares: false,
  });
  expect(heard(host, "router").at(-1)).toMatchObject({ isUnsafe: true });
});

test("a router is told that its tasks are unsafe after a crash, and not after a clean stop", async () => {
  using folder = tempFolder();
  for (const [signal, isUnsafe] of [
    ["SIGKILL", undefined],
    ["SIGTERM", true],
    ["SIGTERM", undefined],
  ] as const) {
    await using host = supervise({}, {}, folder.path);
    await host.line(/^Ready$/);
    await host.line(/^router hears .*"tasks"/);
    expect(heard(host, "router")[1]?.isUnsafe).toBe(isUnsafe as unknown as boolean);
    host.signal(signal);
    await host.ended();
  }
  expect(readdirSync(folder.path).sort()).toEqual(["lock", "stop.spare"]);
});

test("a stop that is cut short, or after which the router has not said what is safe, counts as a crash", async () => {
  using folder = tempFolder();
  {
    await using host = supervise({ router: "silent" }, {}, folder.at("a"));
    await host.line(/^Ready$/);
    host.signal("SIGTERM");
    expect(await host.outcome()).toEqual({ type: "stopped" });
  }
  {
    await using host = supervise({ first: "stubborn" }, {}, folder.at("b"));
    await host.line(/^Ready$/);
    host.signal("SIGTERM");
    await host.line(/^router hears .*drain/);
    host.signal("SIGTERM");
    expect(await host.outcome()).toEqual({ type: "killed" });
  }
  for (const name of ["a", "b"]) expect(existsSync(folder.at(`${name}/running`))).toBe(true);
});

test("what a router has left unsafe at a stop is made safe in its place", async () => {
  using folder = tempFolder();
  await using host = supervise({ router: "unsafe" }, {}, folder.path);
  await host.line(/^Ready$/);
  host.signal("SIGTERM");
  expect(await host.outcome()).toEqual({ type: "stopped" });
  expect(host.lines).toContain("safe for --on-stop=drive --code=SHUTTING_DOWN --message=the engine stops");
  expect(readdirSync(folder.path).sort()).toEqual(["lock", "stop.spare"]);
});

/* ── The task of on-stop ─────────────────────────────────────────────────────────────────────────────────────────── */

test("the task of on-stop runs at an emergency stop, at the engine's stop, and first of all after a crash", async () => {
  using folder = tempFolder();
  {
    await using host = supervise({ hook: "safe well" }, {}, folder.path);
    await host.line(/^Ready$/);
    await stop(host, "smoke");
    await host.line(/^safe for --run count --code=STOPPED --message=Emergency stop: smoke$/);
    host.signal("SIGKILL");
    await host.ended();
    expect(host.lines.filter((line) => line.startsWith("safe"))).toHaveLength(1);
  }
  await using host = supervise({ hook: "safe well" }, {}, folder.path);
  await host.line(/^Ready$/);
  const after = host.lines.findIndex((line) => line.startsWith("Starting process"));
  expect(host.lines.slice(0, after)).toContain(
    "safe for --run count --code=INTERRUPTED --message=the last engine ended without notice",
  );
  host.signal("SIGTERM");
  expect(await host.outcome()).toEqual({ type: "stopped" });
  const said = host.lines.filter((line) => /^(safe|Successfully)/.test(line));
  expect(said.at(-1)).toBe("safe for --run count --code=SHUTTING_DOWN --message=the engine stops");
  expect(existsSync(join(folder.path, "running"))).toBe(false);
});

test("a task of on-stop that fails at a start leaves the engine in emergency stop, for good", async () => {
  using folder = tempFolder({ "state/running": "" });
  const reason = "the safe stop ended with exit code 1, after a crash of the engine";
  await using host = supervise({ hook: "safe badly" }, {}, folder.at("state"));
  await host.line(/^Ready$/);
  await host.line(/^router hears .*tasks/);
  expect(heard(host, "router")[0]).toMatchObject({ stopped: { reason } });
  expect(stoppedIn(folder.at("state"))).toMatchObject({ reason });
  host.signal("SIGTERM");
  expect(await host.outcome()).toEqual({ type: "stopped" });
  // It has failed at the stop, too, so the next start tries again.
  expect(existsSync(folder.at("state/running"))).toBe(true);
});

test("a task of on-stop that has an accident is run again, and one that fails is not", async () => {
  using folder = tempFolder();
  await using clumsy = supervise({ hook: "safe at last", marker: folder.at("marker") });
  await using failing = supervise({ hook: "safe badly" });
  for (const host of [clumsy, failing]) {
    await host.line(/^Ready$/);
    await stop(host);
  }
  await clumsy.line(/^safe for/);
  expect(await failing.line(/may not be safe/)).toBe(
    "[ENGINE] The robot may not be safe: its safe stop ended with exit code 1",
  );
  expect(failing.lines.filter((line) => line.startsWith("safe for"))).toHaveLength(1);
  expect(clumsy.errorLines.filter((line) => line.includes("safe:"))).toEqual([]);
});

test("a task of on-stop that does not end is killed at a second signal", async () => {
  await using host = supervise({ hook: "safe never" });
  await host.line(/^Ready$/);
  host.signal("SIGTERM");
  await host.line(/^safe begins$/);
  host.signal("SIGTERM");
  expect(await host.outcome()).toEqual({ type: "killed" });
});

test("a task of on-stop that is not registered fails the start", async () => {
  using folder = tempFolder({ marker: '[{"name":"drive"}]' });
  await using host = supervise({ hook: "safe well", scan: "list again", marker: folder.at("marker") });
  expect(await host.outcome()).toEqual({
    type: "failed",
    reason: 'no task "count" is registered, which on-stop names; the robot could not be made safe',
  });
  expect(host.childPids).toEqual([]);
});

/* ── The state folder ────────────────────────────────────────────────────────────────────────────────────────────── */

test("a state folder that cannot be used fails the start with one line that says what to do", async () => {
  using folder = tempFolder({ file: "" });
  for (const state of [folder.at("file"), folder.at("file/below"), "/proc/task-engine"]) {
    await using host = supervise({}, {}, state);
    expect(await host.outcome()).toEqual({
      type: "failed",
      reason: expect.stringMatching(/^the state folder \S+ cannot be used: .*; fix it, or name another with --state$/),
    });
    expect(host.childPids).toEqual([]);
  }
});

test("a state folder whose path is too long for a socket fails the start", async () => {
  using folder = tempFolder();
  await using host = supervise({}, {}, folder.at("x".repeat(100)));
  expect(await host.outcome()).toMatchObject({ reason: expect.stringContaining("too long for a socket") });
});

test("a second engine with the same folder does not start, and leaves the first one alone", async () => {
  await using first = supervise({ hook: "safe well" });
  await first.line(/^Ready$/);
  await using second = supervise({ hook: "safe well" }, {}, first.state);
  expect(await second.outcome()).toMatchObject({
    reason: `an engine with this port and state folder runs already, as process ${first.pid}; stop it (kill ${first.pid}), or give one another --port or --state`,
  });
  expect(second.lines.filter((line) => line.startsWith("safe"))).toEqual([]);
  expect((await stop(first, "still there")).reason).toBe("still there");
});

test("a second engine leaves one alone that is halted, and says how to go on", async () => {
  await using first = supervise();
  await first.line(/^Ready$/);
  const sockets = (): number[] => ["stop.sock", "lock"].map((name) => statSync(join(first.state, name)).ino);
  const before = sockets();
  first.signal("SIGSTOP");
  try {
    await using second = supervise({}, {}, first.state);
    expect(await second.outcome()).toEqual({
      type: "failed",
      reason: `an engine with this port and state folder runs already, as process ${first.pid}; it is halted: continue it (kill -CONT ${first.pid}) or end it (kill -KILL ${first.pid})`,
    });
  } finally {
    first.signal("SIGCONT");
  }
  expect(sockets()).toEqual(before);
  expect((await stop(first, "still there")).reason).toBe("still there");
});

test("what is left of a dead engine is waited for, and an engine that is told to stop meanwhile does not start", async () => {
  using folder = tempFolder();
  const path = folder.at("lock");
  // As a router that outlives its supervisor: it has the lock, and another process's id is in the file.
  const holding = `
    import { lockFile } from ${JSON.stringify(join(import.meta.dir, "../../../src/transport/libc.ts"))};
    const { openSync, writeSync } = require("node:fs");
    const file = openSync(${JSON.stringify(path)}, "w+");
    writeSync(file, "4194304");
    console.log(lockFile(file));
    setInterval(() => undefined, 60_000);`;
  const left = Bun.spawn([process.execPath, "-e", holding], { stdout: "pipe" });
  for await (const bytes of left.stdout) {
    expect(bytes.toString()).toBeDefined();
    break;
  }
  const waiting = new RegExp(`Waiting until process ${left.pid} of the last engine has ended, for 30 s at most`);
  {
    await using told = supervise({}, {}, folder.path);
    await told.line(waiting);
    told.signal("SIGTERM");
    expect(await told.outcome()).toEqual({ type: "stopped" });
    expect(told.childPids).toEqual([]);
  }
  await using host = supervise({}, {}, folder.path);
  await host.line(waiting);
  expect(existsSync(folder.at("running"))).toBe(false);
  left.kill("SIGKILL");
  await host.line(/^Ready$/);
  expect(Number.parseInt(readFileSync(path, "utf8"), 10)).toBe(host.pid);
});

test.serial(
  "everybody may use the socket of an engine without keys, whatever the umask, and its user alone that of one with keys",
  async () => {
    const umask = process.umask(0o077);
    try {
      await using open = supervise();
      await using closed = supervise({ isPrivate: true });
      const modes = async (host: Host): Promise<number[]> => {
        await host.line(/^Ready$/);
        return [host.state, join(host.state, "stop.sock")].map((path) => statSync(path).mode & 0o777);
      };
      expect(await modes(open)).toEqual([0o711, 0o666]);
      expect(await modes(closed)).toEqual([0o700, 0o600]);
    } finally {
      process.umask(umask);
    }
  },
);

test("engines with folders of their own do not meet", async () => {
  await using one = supervise();
  await using other = supervise();
  for (const host of [one, other]) await host.line(/^Ready$/);
  await stop(one, "smoke");
  expect(heard(other, "task worker").filter(({ type }) => type === "halt")).toEqual([]);
  expect(existsSync(join(other.state, "stopped"))).toBe(false);
});
