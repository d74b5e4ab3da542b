/**
 * Emergency stops of an engine that has all it can take: both workers busy, 10,000 jobs waiting, and a client that floods it. Each
 * is followed by one of the same engine with nothing but two running tasks. Not a part of `bun test`:
 * `bun test ./test/soak/estop.ts` runs it, and the gate does; TIMES=200 is the full run.
 *
 * What else runs on the machine delays a run as it likes, while the engine's own delay is in every run: so a quarter of the runs
 * has to keep the bounds always, and 99 of 100 in the full run, which wants a machine of its own. Both are printed.
 */
import { expect, setDefaultTimeout, test } from "bun:test";
import { stopGraceMs } from "../../src/limits.ts";
import { engineFolder, stopSocketPath } from "../../src/security/state-folders.ts";
import { stopBySocket } from "../../src/supervisor/stop-socket.ts";
import { monotonicMs } from "../support/clock.ts";
import { Deaths } from "../support/deaths.ts";
import { allDead, Stoppable, taskWorkers, until } from "../support/stoppable.ts";

setDefaultTimeout(3_600_000);

const times = Number(process.env.TIMES ?? 10);
const isFullRun = times >= 200;
/** ms that the abort signals may be later under load than in an idle engine. */
const loadMsMax = 10;
/** ms beyond the grace until a worker that does not let go is dead. */
const killMsMax = 100;
/** ms until all task workers of an engine whose router hangs are dead. */
const pastRouterMsMax = 1_000;

const ofAll = (share: number, numbers: readonly number[]): number =>
  numbers.toSorted((a, b) => a - b)[Math.min(numbers.length - 1, Math.floor(numbers.length * share))] ?? Number.NaN;
/** The share of the runs that has to keep a bound. */
const kept = (numbers: readonly number[]): number => ofAll(isFullRun ? 0.99 : 0.25, numbers);

const report = (what: string, numbers: readonly number[]): void => {
  const [p25, p50, p99] = [0.25, 0.5, 0.99].map((share) => ofAll(share, numbers).toFixed(1));
  process.stdout.write(`${what}: p25 ${p25} ms, p50 ${p50} ms, p99 ${p99} ms of ${numbers.length}\n`);
};

/** ms from the command's send to the last abort signal; all that ran or waited has ended by it, and nothing began. */
const stopDriving = async (robot: Stoppable, isLoaded: boolean, stop: () => Promise<unknown>): Promise<number> => {
  const running = await robot.busy("drive", "drive");
  const waiting = isLoaded ? await robot.load() : [];
  await Bun.sleep(Math.random() * 50);
  const workers = robot.engine.pidsOf("task worker");
  expect(workers).toHaveLength(taskWorkers);
  const sentMs = monotonicMs();
  await stop();
  const toldMs = await robot.allTold(workers);
  expect(await robot.endings(running)).toEqual({ STOPPED: running.length });
  if (isLoaded) expect(await robot.endings(waiting)).toEqual({ STOPPED: waiting.length });
  await robot.calm();
  expect(robot.noted("step")).toEqual([]);
  return toldMs - sentMs;
};

/** After a reset the engine works; and nothing of what was stopped comes back. */
const resume = async (robot: Stoppable): Promise<void> => {
  await robot.reset();
  await robot.client.call("step");
  expect(robot.noted("step")).toHaveLength(1);
};

test(`${times} emergency stops under full load abort what runs as soon as those of an idle engine`, async () => {
  await using robot = await Stoppable.start();
  const stop = (): Promise<unknown> => robot.client.estop("smoke");
  const idle: number[] = [];
  const loaded: number[] = [];
  for (let time = 0; time < times; time++) {
    idle.push(await stopDriving(robot, false, stop));
    await resume(robot);
    loaded.push(await stopDriving(robot, true, stop));
    await resume(robot);
  }
  report("to the last abort signal, idle", idle);
  report("to the last abort signal, full load", loaded);
  process.stdout.write(`${robot.killed} workers got no processor within their grace, and were killed\n`);
  expect(kept(loaded)).toBeLessThanOrEqual(kept(idle) + loadMsMax);
});

test("`task-engine estop` does so, and a router that is only busy is not taken for one that hangs", async () => {
  await using robot = await Stoppable.start();
  const { engine } = robot;
  const pids = engine.childPids;
  for (const isLoaded of [false, true]) {
    const stop = async (): Promise<void> => {
      const { exitCode, stderr } = await engine.run("estop", "--router", engine.endpoint);
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    };
    report(`from the start of \`task-engine estop\`, ${isLoaded ? "full load" : "idle"}`, [
      await stopDriving(robot, isLoaded, stop),
    ]);
    await resume(robot);
  }
  expect(engine.childPids).toEqual(pids);
});

test(`${times} emergency stops under full load kill a task in an endless loop`, async () => {
  await using robot = await Stoppable.start();
  await using deaths = new Deaths();
  const kills: number[] = [];
  for (let time = 0; time < times; time++) {
    const running = await robot.busy("loop", "drive");
    const waiting = await robot.load();
    const [pid = 0] = await robot.untilNoted("pid", 1);
    const death = deaths.of(pid);
    const sentMs = monotonicMs();
    const stopped = robot.client.estop("smoke");
    // This process has ten thousand replies to read meanwhile, and would see it late.
    kills.push((await death) - sentMs);
    await stopped;
    expect(await robot.endings([...running, ...waiting])).toEqual({ STOPPED: running.length + waiting.length });
    await robot.calm();
    expect(robot.noted("step")).toEqual([]);
    await resume(robot);
  }
  report(`to the last worker killed, grace ${stopGraceMs} ms, full load`, kills);
  expect(kept(kills)).toBeLessThanOrEqual(stopGraceMs + killMsMax);
});

test("what is under way when the emergency stop comes is the last that begins", async () => {
  await using robot = await Stoppable.start();
  const lasts: number[] = [];
  for (let time = 0; time < times; time++) {
    await robot.busy();
    const waiting = await robot.load();
    await robot.untilNoted("step", 100);
    const sentMs = monotonicMs();
    await robot.client.estop("smoke");
    const endings = await robot.endings(waiting);
    expect(Object.values(endings).reduce((sum, count) => sum + count)).toBe(waiting.length);
    expect(Object.keys(endings).filter((ending) => ending !== "STOPPED" && ending !== "done")).toEqual([]);
    const begun = robot.noted("step");
    lasts.push(Math.max(0, Math.max(...begun) - sentMs));
    await robot.calm();
    expect(robot.noted("step").length).toBe(begun.length);
    await robot.reset();
  }
  report("to the last begin of a job", lasts);
  expect(kept(lasts)).toBeLessThanOrEqual(stopGraceMs);
});

test("with a router that hangs, all task workers that were there are dead within a second", async () => {
  await using robot = await Stoppable.start();
  const { engine } = robot;
  const socket = stopSocketPath(engineFolder(engine.state, engine.ports.frontend));
  const deaths: number[] = [];
  for (let time = 0; time < Math.min(times, 20); time++) {
    await robot.busy("drive", "loop");
    const workers = engine.pidsOf("task worker");
    const [router = 0] = engine.pidsOf("router");
    process.kill(router, "SIGSTOP");
    const sentMs = monotonicMs();
    const stopped = stopBySocket(socket, "smoke", AbortSignal.timeout(60_000));
    await allDead(workers);
    deaths.push(monotonicMs() - sentMs);
    await stopped;
    expect(workers).toHaveLength(taskWorkers);
    await until("another router", () => engine.pidsOf("router").length === 1);
    // What is asked before the client has noticed that the connection is lost is INTERRUPTED.
    await until("an answer of it", () =>
      robot.client.status().then(
        () => true,
        () => false,
      ),
    );
    await resume(robot);
  }
  report("past a router that hangs, to the last worker's death", deaths);
  expect(kept(deaths)).toBeLessThanOrEqual(pastRouterMsMax);
});
