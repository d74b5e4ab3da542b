/** What a task has started ends with its worker, before anything is made safe, and nothing of it outlives the engine. */
import { expect, setDefaultTimeout } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { type Client, connect, type JobOptions } from "task-engine";
import { test } from "../../support/concurrent.ts";
import { type Engine, type EngineOptions, oneWorker, startEngine } from "../../support/engine.ts";
import { stillAlive } from "../../support/proc.ts";
import { until } from "../../support/stoppable.ts";
import { livingSleepers, sleepTime, swarms, swarmTasks } from "../../support/swarm.ts";
import { type TempFolder, tempFolder } from "../../support/temp-folder.ts";

setDefaultTimeout(300_000); // they wait for one another

const allWays = Object.keys(swarms);
const asyncWays = allWays.filter((way) => way !== "spawnSync");

interface Swarm {
  readonly time: string;
  /** The code that it ends with, or `done`. */
  readonly ended: Promise<string>;
}

class Robot implements AsyncDisposable {
  readonly client: Client;
  readonly #times: string[] = [];

  constructor(
    readonly folder: TempFolder,
    readonly engine: Engine,
  ) {
    this.client = connect(engine.endpoint);
  }

  /** A job that has started processes in these ways; resolves when they are there. */
  async swarm(task: string, ways: readonly string[], options: JobOptions = {}): Promise<Swarm> {
    const time = sleepTime();
    this.#times.push(time);
    const ended = this.client.call(task, [time, ...ways], {}, options).then(
      () => "done",
      (error) => error.code as string,
    );
    const count = ways.reduce((sum, way) => sum + (swarms[way]?.[1] ?? 0), 0);
    await until(`${count} processes of ${task}`, () => livingSleepers(time).length >= count);
    return { time, ended };
  }

  /** What was alive when the task was made safe, as it noted. */
  async madeSafe(task: string): Promise<string> {
    const find = () => new RegExp(`^${task} is safe, living: (.*)$`, "m").exec(this.record)?.[1];
    await until(`${task} is made safe`, () => find() !== undefined);
    return find() ?? "";
  }

  get record(): string {
    return readFileSync(this.folder.at("record"), "utf8");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    using _ = this.folder;
    await this.client.close();
    // A test that has failed leaves no storm behind.
    for (const pid of this.#times.flatMap(livingSleepers)) process.kill(pid, "SIGKILL");
    await this.engine[Symbol.asyncDispose]();
  }
}

const startRobot = async (names: readonly string[], workers: number, flags: readonly string[] = []): Promise<Robot> => {
  const folder = tempFolder({ "tasks/swarm.ts": swarmTasks(...names), record: "" });
  writeFileSync(folder.at("task-engine.toml"), `[env]\nRECORD = ${JSON.stringify(folder.at("record"))}\n`);
  const options: EngineOptions = {
    cwd: folder.path,
    workers,
    flags: ["--task-workers", `${workers}`, "--data-workers", "0", ...flags],
    state: folder.at("state"),
  };
  return new Robot(folder, await startEngine(options));
};

const workersByTask = ({ record }: Robot, task: string): number =>
  Number(new RegExp(`^${task} sleeps .* in (\\d+)$`, "m").exec(record)?.[1]);

test("a worker that is killed takes with it all that its job has started, before the job is made safe", async () => {
  await using robot = await startRobot(["timed", "cancelled", "struck", "stopped"], 5);
  const cancel = new AbortController();
  const [timed, cancelled, struck, stopped] = await Promise.all([
    robot.swarm("timed", allWays, { timeoutMs: 4_000 }),
    robot.swarm("cancelled", allWays, { signal: cancel.signal }),
    robot.swarm("struck", asyncWays),
    robot.swarm("stopped", allWays),
  ]);
  cancel.abort();
  process.kill(workersByTask(robot, "struck"), "SIGKILL");
  const outcomes = [
    [cancelled, "cancelled", "CANCELLED"],
    [struck, "struck", "INTERRUPTED"],
    [timed, "timed", "TIMEOUT"],
    [stopped, "stopped", "STOPPED"],
  ] as const;
  for (const [{ ended, time }, task, code] of outcomes) {
    if (code === "STOPPED") {
      expect(livingSleepers(time)).not.toEqual([]);
      await robot.client.estop("smoke");
    }
    expect([task, await ended]).toEqual([task, code]);
    expect([task, await robot.madeSafe(task)]).toEqual([task, "0"]);
    expect(livingSleepers(time)).toEqual([]);
  }
});

test("what a job that has ended leaves running is the task's business, until its worker ends", async () => {
  await using robot = await startRobot(["leaves"], 1);
  const { time, ended } = await robot.swarm("leaves", ["detached"]);
  expect(await ended).toBe("done");
  expect(livingSleepers(time)).toHaveLength(1);
  const [worker] = robot.engine.pidsOf("task worker");
  robot.engine.signal("SIGHUP");
  await robot.engine.line(/Task workers are replaced/);
  expect(robot.engine.pidsOf("task worker")).not.toContain(worker);
  expect(livingSleepers(time)).toEqual([]);
});

for (const [what, end] of [
  ["a clean stop", async ({ engine }) => void engine.signal("SIGTERM")],
  [
    "Ctrl-C twice",
    async ({ engine }) => {
      engine.signal("SIGINT");
      await engine.line(/^Closing application/);
      engine.signal("SIGINT");
    },
  ],
  ["SIGKILL of the supervisor", async ({ engine }) => void engine.signal("SIGKILL")],
] as readonly (readonly [string, (robot: Robot) => Promise<void>])[]) {
  test(`${what} leaves nothing that a task has started, nor that what makes it safe has`, async () => {
    await using robot = await startRobot(["hangs"], 1, ["--grace-ms", "100"]);
    const { time } = await robot.swarm("hangs", allWays);
    await end(robot);
    await robot.engine.ended();
    expect(await stillAlive(robot.engine.childPids)).toEqual([]);
    expect(livingSleepers(time)).toEqual([]);
    if (what !== "Ctrl-C twice") expect(await robot.madeSafe("hangs")).toBe("0");
  });
}

test("what is left where all of the engine is killed at once ends first of all in the next start", async () => {
  await using robot = await startRobot(["hangs"], 1);
  const { time } = await robot.swarm("hangs", asyncWays);
  for (const pid of [robot.engine.pid, ...robot.engine.pidsOf("router")]) process.kill(pid, "SIGKILL");
  expect(await stillAlive([robot.engine.pid, ...robot.engine.childPids])).toEqual([]);
  expect(livingSleepers(time)).not.toEqual([]);
  await using next = await startEngine({
    cwd: robot.folder.path,
    state: robot.engine.state,
    first: robot.engine.ports.frontend,
    flags: oneWorker,
  });
  expect(livingSleepers(time)).toEqual([]);
  expect(await robot.madeSafe("hangs")).toBe("0");
  expect(next.errorLines).toHaveLength(1);
});
