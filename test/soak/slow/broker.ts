/** The broker with real processes that die, spin, leave and are replaced. What 200 kills make of it is in `soak/kills.ts`. */
import { expect, setDefaultTimeout } from "bun:test";
import { writeFileSync } from "node:fs";
import { Asker } from "../../support/asker.ts";
import { test } from "../../support/concurrent.ts";
import { type Engine, oneWorker, startEngine } from "../../support/engine.ts";
import { killUnderLoad } from "../../support/kills.ts";
import { isAlive } from "../../support/proc.ts";
import { recordToml, robotTasks } from "../../support/robot-tasks.ts";
import { type TempFolder, tempFolder } from "../../support/temp-folder.ts";

setDefaultTimeout(300_000); // they wait for one another

/** A folder to start an engine in, with the tasks of robot-tasks.ts. */
const robotFolder = (files: Readonly<Record<string, string>> = {}): TempFolder => {
  const folder = tempFolder({ "tasks/robot.ts": robotTasks, ...files });
  writeFileSync(folder.at("task-engine.toml"), recordToml(folder.at("record")));
  return folder;
};

/** With these flags a death that is counted would end the engine. */
const noDeathAllowed = ["--restarts-max", "0"];

const oneSturdyWorker = [...oneWorker, ...noDeathAllowed];

const workerOf = (engine: Engine): number => {
  const [pid] = engine.pidsOf("task worker");
  if (pid === undefined) throw new Error("no task worker is alive");
  return pid;
};

/** Sends jobs all the time until `stop`; then what came of each. */
const startLoad = (asker: Asker, task: string, argsOf: (index: number) => readonly unknown[]) => {
  let index = 0;
  const timer = setInterval(() => {
    while (asker.open < 50) asker.send(task, argsOf(index++));
  }, 2);
  return async () => {
    clearInterval(timer);
    return [...(await asker.settled()).values()];
  };
};

test("workers killed under load cost only jobs that had begun, and each job is answered once", async () => {
  await killUnderLoad(3, 2);
});

test("a task that spins ends as TIMEOUT and its worker is killed; the worker's other jobs run on another", async () => {
  using folder = robotFolder();
  await using engine = await startEngine({ cwd: folder.path, flags: oneSturdyWorker });
  using asker = new Asker(engine.endpoint);
  const pid = workerOf(engine);
  // So that the engine takes them for short, and hands over many at a time.
  for (let round = 0; round < 20; round++) expect(await asker.ask("spin", [false])).toEqual({ result: "done" });
  const stuck = asker.send("spin", [true]);
  const others = Array.from({ length: 30 }, () => asker.send("spin", [false]));
  expect(await asker.outcome(stuck)).toEqual({ code: "TIMEOUT" });
  for (const serial of others) expect(await asker.outcome(serial)).toEqual({ result: "done" });
  expect(await asker.ask("pid")).not.toEqual({ result: pid });
  for (const outcomes of (await asker.settled()).values()) expect(outcomes).toHaveLength(1);
  expect(engine.errorLines).toEqual([`Process [${pid}]: task worker is killed: spin did not let go after TIMEOUT`]);
  await engine.line(/ended by SIGKILL, for spin did not let go after TIMEOUT; starting another$/);
  expect(isAlive(pid)).toBe(false);
});

test("a client that sends endless loops again and again does not bring the engine down", async () => {
  using folder = robotFolder();
  await using engine = await startEngine({ cwd: folder.path, flags: oneSturdyWorker });
  using asker = new Asker(engine.endpoint);
  const spins = Array.from({ length: 5 }, () => asker.send("spin", [true], { timeoutMs: 50 }));
  for (const serial of spins) expect(await asker.outcome(serial)).toEqual({ code: "TIMEOUT" });
  expect(await asker.ask("count", [2, 3])).toEqual({ result: 5 });
});

test("workers that are replaced after so many jobs lose none", async () => {
  using folder = robotFolder();
  const flags = ["--worker-jobs-max", "40", "--data-workers", "0", ...noDeathAllowed];
  await using engine = await startEngine({ cwd: folder.path, flags });
  using asker = new Asker(engine.endpoint);
  const serials = Array.from({ length: 200 }, (_, index) => asker.send("step", [index, 0]));
  const outcomes = await asker.settled();
  for (const [index, serial] of serials.entries()) expect(outcomes.get(serial)).toEqual([{ result: index }]);
  expect(engine.errorLines).toEqual([]);
  await engine.line(/ended with exit code 0, for it has run 40 jobs; starting another$/);
});

test("SIGTERM lets a worker finish its job; what it had not begun goes to another", async () => {
  using folder = robotFolder();
  await using engine = await startEngine({ cwd: folder.path, flags: oneSturdyWorker });
  using asker = new Asker(engine.endpoint);
  const pid = workerOf(engine);
  for (let round = 0; round < 20; round++) await asker.ask("gate", ["/"]);
  const running = asker.send("gate", [folder.at("gate")]);
  const waiting = Array.from({ length: 10 }, () => asker.send("gate", ["/"]));
  while (engine.lines.filter((line) => line.includes("gate has begun")).length < 21) await Bun.sleep(5);
  process.kill(pid, "SIGTERM");
  // It gives back what it has not begun before its job is over, and takes no more.
  await Bun.sleep(100);
  expect(isAlive(pid)).toBe(true);
  writeFileSync(folder.at("gate"), "");
  for (const serial of [running, ...waiting]) expect(await asker.outcome(serial)).toEqual({ result: "open" });
  await engine.line(
    new RegExp(`^Process \\[${pid}\\]: task worker ended with exit code 0, for it was told to end; starting another$`),
  );
  expect(engine.errorLines).toEqual([]);
});

test("SIGHUP serves changed task files without losing a job, and a broken one changes nothing", async () => {
  const version = (number: number): string =>
    `export const task_version = async ([ms]) => { await Bun.sleep(ms); return ${number}; };`;
  using folder = robotFolder({ "tasks/version.ts": version(1) });
  await using engine = await startEngine({ cwd: folder.path, flags: oneSturdyWorker });
  using asker = new Asker(engine.endpoint);
  const stopLoad = startLoad(asker, "version", (index) => [index % 10]);
  while (asker.answered < 50) await Bun.sleep(5);
  writeFileSync(folder.at("tasks/version.ts"), version(2));
  writeFileSync(folder.at("tasks/more.ts"), "export const task_more = () => 'more';");
  engine.signal("SIGHUP");
  await engine.line(/Task workers are replaced/);
  expect(await asker.ask("version", [0])).toEqual({ result: 2 });
  expect(await asker.ask("more")).toEqual({ result: "more" });
  writeFileSync(folder.at("tasks/version.ts"), "export const task_version = ;");
  engine.signal("SIGHUP");
  expect(await engine.line(/stay as they are/)).toContain(folder.at("tasks/version.ts"));
  expect(await asker.ask("version", [0])).toEqual({ result: 2 });
  const outcomes = await stopLoad();
  const given = outcomes.map(([first]) => (first !== undefined && "result" in first ? first.result : first));
  expect(outcomes.filter(({ length }) => length !== 1)).toEqual([]);
  expect(given.filter((result) => result === 1).length).toBeGreaterThan(0);
  expect(given.filter((result) => typeof result === "object" && result !== null && "code" in result)).toEqual([]);
  expect(engine.errorLines).toHaveLength(1);
});

test("a requestor that goes while its job runs costs a reply, which is counted, and nothing else", async () => {
  using folder = robotFolder();
  await using engine = await startEngine({ cwd: folder.path, flags: oneSturdyWorker });
  using asker = new Asker(engine.endpoint);
  const gone = new Asker(engine.endpoint);
  gone.send("gate", [folder.at("gate")]);
  await engine.line(/gate has begun/);
  gone[Symbol.dispose]();
  // The router hears of it as soon as it reads: only then the reply has nowhere to go.
  await asker.control({ command: "tasks" });
  await Bun.sleep(100);
  writeFileSync(folder.at("gate"), "");
  await engine.line(/Dropped a reply: its requestor is gone/);
  const status = (await asker.control({ command: "status" })) as { jobs: { dropped: unknown; held: number } };
  expect(status.jobs).toMatchObject({ dropped: { requestorGone: 1 }, held: 0, done: 1 });
  expect(await asker.ask("count", [2, 3])).toEqual({ result: 5 });
});
