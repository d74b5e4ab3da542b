/** Stops of a fleet, and its roster: robots of one hub that are there, silent, and forgotten. */
import { afterAll, test as anyTest, beforeAll, expect, setDefaultTimeout } from "bun:test";
import { startCommand } from "../../support/command.ts";
import { type CommandResult, type Engine, oneWorker, runCommand, startEngine } from "../../support/engine.ts";
import { taskEngine } from "../../support/executable.ts";
import { type Hub, lacksNats, startHub } from "../../support/nats.ts";
import { type TempFolder, tempFolder } from "../../support/temp-folder.ts";

setDefaultTimeout(120_000);

const test = anyTest.skipIf(lacksNats);

let hub: Hub;
let folder: TempFolder;
let r1: Engine;
let r2: Engine;
const start = (robot: string, groups: string): Promise<Engine> =>
  startEngine({ cwd: folder.path, flags: [...oneWorker, "--nats", hub.url, "--robot", robot, "--groups", groups] });
beforeAll(async () => {
  if (lacksNats) return;
  hub = await startHub();
  folder = tempFolder({ "task-engine.toml": '[link]\nallow = ["control", "send"]\n' });
  [r1, r2] = await Promise.all([start("r1", "arms"), start("r2", "arms,lab")]);
  await Promise.all([r1, r2].map((robot) => robot.line(/\[LINK\] r. listens/)));
});
afterAll(async () => {
  if (lacksNats) return;
  await Promise.all([r1, r2].map((robot) => robot[Symbol.asyncDispose]()));
  folder[Symbol.dispose]();
  await hub[Symbol.asyncDispose]();
});

const run = (...args: string[]): Promise<CommandResult> =>
  runCommand(taskEngine, [...args, "--nats", hub.url], { env: { PATH: process.env.PATH ?? "" } });

const robots = async (): Promise<Record<string, { there: boolean; stopped: { reason: string } | null }>> => {
  const { stdout } = await run("robots", "--json");
  return Object.fromEntries(JSON.parse(stdout).map((robot: { robot: string }) => [robot.robot, robot]));
};

test("estop stops one robot, a group and all of them, and each confirms; reset goes to one at a time", async () => {
  const one = await run("estop", "--robot", "r2", "--reason", "smoke");
  expect(one).toMatchObject({
    exitCode: 0,
    stderr: "",
    stdout: expect.stringMatching(/^r2: stopped since \S+: smoke\n$/),
  });
  const lab = await run("estop", "--group", "lab", "--reason", "again");
  expect(lab.stdout).toMatch(/^r2: stopped since \S+: smoke\n$/);
  const all = await run("estop", "--all");
  expect(all.exitCode).toBe(0);
  expect(all.stdout).toMatch(/^r1: stopped since \S+: by the fleet\nr2: stopped since \S+: smoke\n$/);
  await Promise.all([r1, r2].map((robot) => robot.line(/EMERGENCY STOP/)));
  expect(await run("send", "count", "1", "2", "--robot", "r1")).toMatchObject({ exitCode: 1 });
  expect(await run("send", "count", "1", "2", "--group", "arms")).toMatchObject({
    exitCode: 1,
    stderr: "task-engine: UNAVAILABLE: no robot of the group arms is free and serves count\n",
  });
  expect(await run("reset", "--group", "arms")).toMatchObject({ exitCode: 2 });
  for (const robot of ["r1", "r2"]) expect(await run("reset", "--robot", robot)).toMatchObject({ exitCode: 0 });
  expect((await run("send", "count", "1", "2", "--robot", "r1")).stdout).toBe("3\n");
});

test("robots lists who is there, who is silent and since when, until it is forgotten", async () => {
  const gone = await start("r3", "lab");
  await gone.line(/\[LINK\] r3 listens/);
  while ((await robots()).r3?.there !== true) await Bun.sleep(50);
  await gone[Symbol.asyncDispose]();
  const { r3, ...others } = await robots();
  expect(r3?.there).toBe(false);
  expect(Object.values(others).map(({ there }) => there)).toEqual([true, true]);
  expect((await run("robots")).stdout).toMatch(/^r3 +silent +0 +lab +\d\S+ +\d{4}-\S+Z +count$/m);
  const stop = await run("estop", "--group", "lab");
  expect(stop).toMatchObject({ exitCode: 1, stderr: "task-engine: not stopped for sure: r3\n" });
  expect(stop.stdout).toMatch(/^r2: stopped since .*\nr3: no answer within 1000 ms\n$/);
  expect(await run("reset", "--robot", "r2")).toMatchObject({ exitCode: 0 });
  expect(await run("robots", "forget", "r3")).toMatchObject({ exitCode: 0 });
  expect(await run("robots", "forget", "r3")).toMatchObject({ exitCode: 1 });
  expect(Object.keys(await robots())).toEqual(["r1", "r2"]);
});

test("a second robot of the same name is told so", async () => {
  await using namesake = startCommand(["link", "--nats", hub.url, "--robot", "r1", "--router", "tcp://127.0.0.1:1"], {
    env: { PATH: process.env.PATH ?? "" },
  });
  await namesake.shown(/\[LINK\] another robot has the name r1, and tasks would run on both/);
});

test("a link that is killed, and a hub that is, leave the robot as it is; both come back by themselves", async () => {
  const [pid = 0] = r1.pidsOf("link");
  process.kill(pid, "SIGKILL");
  await r1.line(/link ended by SIGKILL.*; starting another/);
  while (r1.lines.filter((line) => /\[LINK\] r1 listens/.test(line)).length < 2) await Bun.sleep(20);
  expect((await run("send", "count", "1", "2", "--robot", "r1")).stdout).toBe("3\n");
  await hub.kill();
  await r1.line(/\[LINK\] the connection to NATS .* is lost; the robot goes on by itself/);
  const { stdout } = await r1.run("send", "count", "2", "2", "--router", r1.endpoint);
  expect(stdout).toBe("4\n");
  expect(await run("send", "count", "1", "2", "--robot", "r1")).toMatchObject({ exitCode: 3 });
  await hub.start();
  await r1.line(/\[LINK\] connected to NATS .* again/);
  expect((await run("send", "count", "1", "2", "--robot", "r1")).stdout).toBe("3\n");
});

test("without JetStream a stop of all reaches those who listen, and says that nobody knows whether it was all", async () => {
  await using bare = await startHub("");
  const flags = [...oneWorker, "--nats", bare.url, "--robot", "r9"];
  await using robot = await startEngine({ flags });
  await robot.line(/\[LINK\] r9 listens/);
  const env = { PATH: process.env.PATH ?? "" };
  const stop = await runCommand(taskEngine, ["estop", "--all", "--nats", bare.url], { env });
  expect(stop.exitCode).toBe(1);
  expect(stop.stdout).toMatch(/^r9: stopped since /);
  const forget = (name: string) => runCommand(taskEngine, ["robots", "forget", name, "--nats", bare.url], { env });
  expect((await forget("r9")).stderr).toMatch(/^task-engine: UNAVAILABLE: the roster of the fleet cannot be/);
  expect(await forget("a b")).toMatchObject({ exitCode: 2 });
  expect(stop.stderr).toMatch(/the roster of the fleet cannot be read: .*robots that are not listed may still move/);
  // A link ends without its hub, too.
  await bare.kill();
  await robot.line(/\[LINK\] the connection to NATS .* is lost/);
  robot.signal("SIGTERM");
  expect(await robot.ended()).toBe(0);
  expect(robot.errorLines.filter((line) => /unexpected|link ended/.test(line))).toEqual([]);
});
