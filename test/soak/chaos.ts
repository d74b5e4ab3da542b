/**
 * Everything at once, under load: processes killed, stopped and continued, the whole engine killed and started again, reloads,
 * emergency stops and resets, junk connections, a full disk. Then the books: no call without an outcome, none with a result whose
 * job has not run, no job that has run twice, none that began after its requestor was told that it had failed, no emergency stop
 * that did not hold, no memory kept. Not a part of `bun test`: `bun test ./test/soak/chaos.ts` runs it for 15 minutes, and the
 * gate for 2; SECONDS=60 says how long, SEED=1 in which order.
 */
import { expect, test } from "bun:test";
import { connect as connectTcp } from "node:net";
import { TaskEngineError } from "task-engine";
import { stopGraceMs } from "../../src/limits.ts";
import { ChaosRobot } from "../support/chaos-robot.ts";
import { monotonicMs } from "../support/clock.ts";
import { until } from "../support/stoppable.ts";

const seconds = Number(process.env.SECONDS ?? 900);
const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);
/** ms that a message may be under way from a worker that has just lost its router: what begins then begins beside the news. */
const newsMs = 1_000;
/** An engine after all that, idle again, against one that has only just warmed up. */
const memoryGrowthMax = 1.3;
/** ms until what has died is there again, so that not everything is dead all the time. */
const calmMsMax = 1_500;

let state = seed >>> 0 || 1;
/** A whole number below `count`, by xorshift32 of the seed. */
const random = (count: number): number => {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  state >>>= 0;
  return state % count;
};
const pick = <Item>(items: readonly Item[]): Item | undefined => items[random(items.length)];

const kill = (pid: number | undefined, signal: NodeJS.Signals): void => {
  if (pid !== undefined) process.kill(pid, signal);
};

/** An answered emergency stop holds: nothing begins from then on, whatever is asked. Gives whether it is on the disk. */
const stop = async (robot: ChaosRobot): Promise<void> => {
  await until("an answer to the emergency stop", () =>
    robot
      .ask((client) => client.estop("chaos"))
      .then(
        () => true,
        (error: TaskEngineError) => {
          // A router that has just died takes no stop; the person asks again.
          expect(["INTERRUPTED", "NO_ANSWER", "UNAVAILABLE"]).toContain(error.code);
          return false;
        },
      ),
  );
  const answeredMs = monotonicMs();
  await Bun.sleep(stopGraceMs + 200);
  const late = [...robot.runs().values()].flat().filter((begunMs) => begunMs > answeredMs + stopGraceMs);
  expect(late).toEqual([]);
};

/** The engine says that it is stopped; and after a reset it takes jobs again. */
const stoppedUntilReset = async (robot: ChaosRobot): Promise<void> => {
  const codes: unknown[] = [];
  await until("an answer", async () => {
    codes.push(await robot.ask((client) => client.call("mark", [0])).catch((error: TaskEngineError) => error.code));
    return !["INTERRUPTED", "NO_ANSWER", "UNAVAILABLE"].includes(String(codes.at(-1)));
  });
  expect(codes.at(-1)).toBe("STOPPED");
  await until("a reset", () =>
    robot
      .ask((client) => client.reset())
      .then(
        () => true,
        (error: unknown) => {
          if (!(error instanceof TaskEngineError)) throw error;
          return false;
        },
      ),
  );
};

const junk: readonly string[] = [
  "\x05",
  "\x01",
  "GET / HTTP/1.1\r\n\r\n",
  "\xff",
  "\xff\0\0\0\0\0\0\0\x01\x7f\x03",
  "",
];

const connectAndSay = async (port: number, bytes: string): Promise<void> => {
  const socket = connectTcp(port, "127.0.0.1");
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.on("error", () => resolve());
  socket.on("close", () => resolve());
  socket.on("connect", () => socket.end(Buffer.from(bytes, "latin1")));
  socket.resume();
  await Promise.race([promise, Bun.sleep(1_000)]);
  socket.destroy();
};

type Event = readonly [name: string, weight: number, happen: (robot: ChaosRobot) => Promise<void>];

const events: readonly Event[] = [
  ["a worker is killed", 6, async ({ engine }) => kill(pick(engine.pidsOf("task worker")), "SIGKILL")],
  ["the data worker is killed", 1, async ({ engine }) => kill(pick(engine.pidsOf("data worker")), "SIGKILL")],
  ["the router is killed", 4, async ({ engine }) => kill(pick(engine.pidsOf("router")), "SIGKILL")],
  ["the tasks are read again", 3, async ({ engine }) => engine.signal("SIGHUP")],
  [
    "a worker stands still for a while",
    2,
    async ({ engine }) => {
      const pid = pick(engine.pidsOf("task worker"));
      kill(pid, "SIGSTOP");
      await Bun.sleep(random(1_000));
      if (engine.pidsOf("task worker").some((alive) => alive === pid)) kill(pid, "SIGCONT");
    },
  ],
  [
    "the router stands still for longer than clients wait",
    1,
    async ({ engine }) => {
      const [pid] = engine.pidsOf("router");
      kill(pid, "SIGSTOP");
      await Bun.sleep(8_000);
      if (engine.pidsOf("router").some((alive) => alive === pid)) kill(pid, "SIGCONT");
    },
  ],
  [
    "an emergency stop, and its reset",
    3,
    async (robot) => {
      await stop(robot);
      await stoppedUntilReset(robot);
    },
  ],
  [
    "an emergency stop, and all is killed at once",
    2,
    async (robot) => {
      await stop(robot);
      await robot.killAndRestart("everything");
      await stoppedUntilReset(robot);
    },
  ],
  [
    "the same with a full disk",
    2,
    async (robot) => {
      if (!robot.hasDisk) return;
      robot.fillDisk();
      await stop(robot);
      await robot.killAndRestart("everything");
      robot.emptyDisk();
      await stoppedUntilReset(robot);
    },
  ],
  ["the supervisor is killed", 1, (robot) => robot.killAndRestart("supervisor")],
  ["everything is killed", 1, (robot) => robot.killAndRestart("everything")],
  [
    "junk connections",
    3,
    async ({ ports }) => {
      const connections = Array.from({ length: 200 }, () => connectAndSay(pick(ports) ?? 0, pick(junk) ?? ""));
      await Promise.all(connections);
    },
  ],
];

const urn = events.flatMap((event) => Array.from({ length: event[1] }, () => event));

test(
  `${seconds} s of chaos: nothing is lost, run twice, begun after it was told to have failed, or kept (SEED=${seed})`,
  async () => {
    await using robot = await ChaosRobot.start();
    if (!robot.hasDisk && process.env.CI !== undefined) throw new Error("the gate needs root for a disk of its own");
    robot.load();
    await Bun.sleep(5_000);
    const warmMib = robot.memoryMib();
    const counts = new Map<string, number>();
    for (const overAtMs = performance.now() + seconds * 1_000; performance.now() < overAtMs; ) {
      const [name, , happen] = pick(urn) ?? events[0] ?? ["", 0, async () => undefined];
      counts.set(name, (counts.get(name) ?? 0) + 1);
      await happen(robot);
      await Bun.sleep(random(calmMsMax));
    }
    await robot.settle();
    await Bun.sleep(5_000);
    const idleMib = robot.memoryMib();

    const { begunAfterToldMs, ...books } = robot.books();
    const report = { seed, events: Object.fromEntries(counts), ...books, begunAfterTold: begunAfterToldMs.length };
    process.stdout.write(`${JSON.stringify({ ...report, warmMib, idleMib }, null, 2)}\n`);
    expect(books.unanswered).toBe(0);
    expect(books.lost).toBe(0);
    expect(books.doubled).toBe(0);
    expect(begunAfterToldMs.filter((ms) => ms > newsMs)).toEqual([]);
    expect(books.answered).toBeGreaterThan(1_000);
    expect(idleMib).toBeLessThanOrEqual(memoryGrowthMax * warmMib);
  },
  (seconds + 300) * 1_000,
);
