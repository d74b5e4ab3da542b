/** The emergency stop and what else keeps a robot safe, with real tasks in real processes. */
import { expect, setDefaultTimeout } from "bun:test";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { type Client, connect } from "../../../src/client/client.ts";
import { stopBySocket } from "../../../src/supervisor/stop-socket.ts";
import { Asker } from "../../support/asker.ts";
import { test } from "../../support/concurrent.ts";
import { Engine, oneWorker, runCommand, startEngine } from "../../support/engine.ts";
import { taskEngine } from "../../support/executable.ts";
import { onlyPid, robotFolder, startRobot } from "../../support/noting-robot.ts";
import { freePorts } from "../../support/ports.ts";
import { isAlive, stillAlive } from "../../support/proc.ts";
import { tempFolder } from "../../support/temp-folder.ts";

setDefaultTimeout(300_000); // they wait for one another

/** The engine's processes, at the same moment. */
const killAll = (engine: Engine): void => {
  for (const pid of [engine.pid, ...engine.childPids.filter(isAlive)]) process.kill(pid, "SIGKILL");
};

const firstLine = async (stream: ReadableStream<Uint8Array>): Promise<string> => {
  let text = "";
  for await (const bytes of stream) {
    text += Buffer.from(bytes).toString();
    if (text.includes("\n")) break;
  }
  return text;
};

/* ── By the command line ─────────────────────────────────────────────────────────────────────────────────────────── */

test("`estop` ends all that moves, refuses what comes, spares what is allowed, and holds until `reset`", async () => {
  await using robot = await startRobot("--on-stop", "park");
  using asker = new Asker(robot.engine.endpoint);
  const [motor, spin, waiting] = [asker.send("motor"), asker.send("spin"), asker.send("motor")];
  const spinning = await robot.noted(/^spin on/);
  await robot.noted(/^motor on/);

  // By the router alone: the supervisor kills one that a busy machine keeps from answering at once, and with it what it would answer.
  const stopped = await robot.run("estop", "--reason", "smoke", "--state", "/none");
  expect(stopped).toMatchObject({ exitCode: 0, stderr: "" });
  expect(stopped.stdout).toMatch(
    /^stopped since 2\S+Z: smoke; task-engine reset ends it \(confirmed by the router alone; /,
  );
  for (const serial of [motor, spin, waiting]) expect(await asker.outcome(serial)).toEqual({ code: "STOPPED" });
  expect(await stillAlive([spinning])).toEqual([]);
  await robot.noted(/^motor off for STOPPED$/);
  await robot.noted(/^parked for STOPPED$/);
  expect(robot.notes.filter((note) => note === "motor on")).toHaveLength(1);

  expect(await robot.run("send", "count", "1", "2")).toMatchObject({
    exitCode: 1,
    stderr: expect.stringMatching(/^task-engine: STOPPED: .*smoke/),
  });
  expect((await robot.run("send", "look")).stdout).toBe("seen\n");
  expect(await robot.run("reset")).toEqual({ exitCode: 0, stdout: "reset: the engine takes jobs again\n", stderr: "" });
  expect((await robot.run("send", "count", "1", "2")).stdout).toBe("3\n");
  expect(await robot.run("reset")).toMatchObject({ exitCode: 0 });
});

test("an emergency stop, whoever was asked for it, outlives the end of the whole engine at once, SIGKILL of the supervisor, a clean stop, and the death of the router", async () => {
  using folder = tempFolder();
  const first = freePorts(5);
  const start = () => startEngine({ state: folder.path, first, flags: oneWorker });
  const isStopped = async (engine: Engine): Promise<void> => {
    const { stderr } = await engine.run("send", "count", "--router", engine.endpoint);
    expect(stderr).toMatch(/STOPPED.*smoke/);
  };
  const ways = [
    (_: Engine, client: Client) => client.estop("smoke"),
    (engine: Engine) => engine.run("estop", "--reason", "smoke", "--router", engine.endpoint),
    () => stopBySocket(folder.at(`${first}/stop.sock`), "smoke", AbortSignal.timeout(20_000)),
  ];
  for (const stop of ways) {
    await using engine = await start();
    await using client = connect(engine.endpoint);
    if (stop !== ways[0]) {
      await isStopped(engine);
      expect(await engine.run("reset", "--router", engine.endpoint)).toMatchObject({ exitCode: 0 });
    }
    const stopped = await stop(engine, client);
    killAll(engine);
    expect(stopped).toMatchObject("exitCode" in stopped ? { exitCode: 0 } : { durable: true });
    await engine.ended();
  }
  for (const signal of ["SIGKILL", "SIGTERM"] as const) {
    await using engine = await start();
    await isStopped(engine);
    engine.signal(signal);
    await engine.ended();
    expect(await stillAlive(engine.childPids)).toEqual([]);
  }
  await using engine = await start();
  process.kill(onlyPid(engine, "router"), "SIGKILL");
  while (engine.lines.filter((line) => line.includes("Routing started")).length < 2) await Bun.sleep(10);
  await isStopped(engine);
  await engine.run("reset", "--router", engine.endpoint);
  expect(existsSync(folder.at(`${first}/stopped`))).toBe(false);
});

test("`estop` says so, and exits with 1, where the stop is not known to be on the disk", async () => {
  await using robot = await startRobot();
  const { engine } = robot;
  using asker = new Asker(engine.endpoint);
  const motor = asker.send("motor");
  await robot.noted(/^motor on/);
  engine.signal("SIGSTOP");
  const stopped = await robot.run("estop", "--reason", "smoke");
  engine.signal("SIGCONT");
  expect(await asker.outcome(motor)).toEqual({ code: "STOPPED" });
  expect(stopped).toMatchObject({ exitCode: 1, stdout: "" });
  expect(stopped.stderr).toMatch(
    /^task-engine: stopped since \S+Z: smoke, but the stop will not outlast this engine: the supervisor has not said [^\n]+\n$/,
  );
  // It has been heard meanwhile.
  expect(await robot.run("estop")).toMatchObject({ exitCode: 0, stdout: expect.stringContaining(": smoke;") });
});

test("a stop reaches what came by a worker's own port although the supervisor hangs, and its end opens that port again", async () => {
  await using robot = await startRobot();
  const { engine } = robot;
  await using client = connect(engine.endpoint);
  using direct = new Asker(`tcp://127.0.0.1:${engine.ports.worker}`);
  const turning = direct.send("turn");
  await robot.noted(/^turns$/);
  engine.signal("SIGSTOP");
  const stopped = await client.estop("smoke");
  expect(await direct.outcome(turning)).toEqual({ code: "STOPPED" });
  expect(await direct.ask("count")).toEqual({ code: "STOPPED" });
  expect(await direct.ask("look")).toEqual({ result: "seen" });
  expect(stopped).toMatchObject({ durable: false, why: expect.stringContaining("the supervisor has not said") });
  expect((await client.status()).stopped).toMatchObject({ reason: "smoke", durable: false });
  engine.signal("SIGCONT");
  // From here on the worker hears of each stop and of its end in two ways.
  for (let round = 0; round < 5; round++) {
    await client.reset();
    while ("code" in (await direct.ask("count", [1, 2]))) await Bun.sleep(5);
    expect(await client.estop("fire")).toMatchObject({ durable: true });
    expect((await client.status()).stopped).toMatchObject({ reason: "fire", durable: true });
    expect(await direct.ask("count")).toEqual({ code: "STOPPED" });
  }
});

test("`reset` says what it waits for, and one that is given up does not end the stop later", async () => {
  await using robot = await startRobot("--task-workers", "1", "--on-stop", "wait");
  const { engine } = robot;
  const reset = (): Bun.Subprocess<"ignore", "ignore", "pipe"> =>
    Bun.spawn([...taskEngine, "reset", "--router", engine.endpoint], { stdout: "ignore", stderr: "pipe" });
  await using client = connect(engine.endpoint);
  expect(await client.estop("smoke")).toMatchObject({ durable: true });
  // All at once: what they wait for does not go on for ever.
  const [interrupted, killed, impatient] = [reset(), reset(), robot.run("reset", "--wait", "1")];
  expect(await firstLine(interrupted.stderr)).toStartWith(
    "task-engine: waiting until the engine has made the robot safe",
  );
  await firstLine(killed.stderr);
  interrupted.kill("SIGINT");
  killed.kill("SIGKILL");
  expect(await interrupted.exited).toBe(130);
  expect(await impatient).toMatchObject({ exitCode: 3 });
  writeFileSync(robot.folder.at("record.go"), "");
  await robot.noted(/^waited/);
  expect((await robot.run("send", "count")).stderr).toContain("smoke");
  expect(await robot.run("reset")).toMatchObject({ exitCode: 0, stderr: "" });
});

test("`estop` stops a robot whose router hangs: every task worker is still or dead, and the router begun anew", async () => {
  await using robot = await startRobot("--on-stop", "park");
  const { engine } = robot;
  using asker = new Asker(engine.endpoint);
  asker.send("spin");
  await robot.noted(/^spin on/);
  const workers = engine.pidsOf("task worker");
  const router = onlyPid(engine, "router");
  process.kill(router, "SIGSTOP");

  const { exitCode, stdout } = await robot.run("estop", "--reason", "hung");
  // Before it is confirmed all of that has happened.
  expect([...workers, router].filter(isAlive)).toEqual([]);
  expect(exitCode).toBe(0);
  expect(stdout).toContain(": hung; task-engine reset ends it");
  await robot.noted(/^parked for STOPPED$/);

  while (engine.lines.filter((line) => line.includes("Routing started")).length < 2) await Bun.sleep(10);
  expect((await robot.run("send", "count")).stderr).toContain("STOPPED");
  expect(await robot.run("reset")).toMatchObject({ exitCode: 0 });
  expect((await robot.run("send", "count", "1", "2", "--wait", "30000")).stdout).toBe("3\n");
});

test("`estop` stops a robot whose router is dead", async () => {
  await using robot = await startRobot("--task-workers", "1", "--restarts-max", "1000");
  const killing = setInterval(() => {
    for (const pid of robot.engine.pidsOf("router")) process.kill(pid, "SIGKILL");
  }, 1);
  const { exitCode, stdout } = await robot.run("estop", "--reason", "dead router");
  clearInterval(killing);
  expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: expect.stringContaining(": dead router;") });
  while (!existsSync(`${robot.engine.state}/${robot.engine.ports.frontend}/stopped`)) await Bun.sleep(5);
});

test("`estop` says which way has not confirmed it, and that nothing has stopped where none has", async () => {
  await using engine = await startEngine();
  const estop = (...args: string[]) =>
    runCommand(taskEngine, ["estop", "--state", "/none", ...args], { env: { PATH: process.env.PATH ?? "" } });
  const byRouter = await estop("--router", engine.endpoint);
  const path = `/none/${engine.ports.frontend}/stop.sock`;
  expect(byRouter.exitCode).toBe(0);
  expect(byRouter.stdout).toEndWith(`(confirmed by the router alone; no engine listens at ${path} (ENOENT))\n`);

  const port = freePorts(1);
  const nobody = await estop("--router", `tcp://127.0.0.1:${port}`);
  expect(nobody.exitCode).toBe(3);
  expect(nobody.stderr).toMatch(/^task-engine: NOT known to be stopped: [^\n]+\n$/);
  expect(nobody.stderr).toContain("nobody listens there (ECONNREFUSED)");
  expect(nobody.stderr).toContain(`/none/${port}/stop.sock`);
  expect((await estop("--reason", "x".repeat(201))).exitCode).toBe(2);
});

test("two engines of one user do not meet, and each can be stopped", async () => {
  using folder = tempFolder();
  await using one = await startEngine({ state: folder.path, flags: oneWorker });
  await using other = await startEngine({ state: folder.path, flags: oneWorker });
  expect((await one.run("estop", "--router", one.endpoint)).exitCode).toBe(0);
  expect((await other.run("send", "count", "1", "2", "--router", other.endpoint)).stdout).toBe("3\n");
  const mode = statSync(folder.at(`${other.ports.frontend}/stop.sock`)).mode & 0o777;
  expect(mode).toBe(0o666);
});

/* ── Deaths ──────────────────────────────────────────────────────────────────────────────────────────────────────── */

test("when the router dies, what it left running is made safe or killed before its successor routes", async () => {
  await using robot = await startRobot();
  const { engine } = robot;
  using asker = new Asker(engine.endpoint);
  asker.send("motor");
  asker.send("spin");
  await robot.noted(/^motor on/);
  const spinning = await robot.noted(/^spin on/);
  process.kill(onlyPid(engine, "router"), "SIGKILL");
  while (engine.lines.filter((line) => line.includes("Routing started")).length < 2) await Bun.sleep(5);
  expect(isAlive(spinning)).toBe(false);
  await robot.noted(/^motor off for INTERRUPTED$/);
  expect((await robot.run("send", "count", "1", "2", "--wait", "30000")).stdout).toBe("3\n");
});

test("when the supervisor is killed, what runs is answered INTERRUPTED and made safe, and nothing is left", async () => {
  await using robot = await startRobot("--on-stop", "park");
  const { engine } = robot;
  using asker = new Asker(engine.endpoint);
  const jobs = [asker.send("motor"), asker.send("spin"), asker.send("count")];
  await robot.noted(/^motor on/);
  await robot.noted(/^spin on/);
  engine.signal("SIGKILL");
  for (const job of jobs) expect(await asker.outcome(job)).toEqual({ code: "INTERRUPTED" });
  await robot.noted(/^motor off for INTERRUPTED$/);
  await robot.noted(/^parked for INTERRUPTED$/);
  await engine.ended();
  expect(await stillAlive(engine.childPids)).toEqual([]);
  expect(engine.errorLines.filter((line) => line.includes("may not be safe"))).toEqual([]);
  expect(existsSync(`${engine.state}/${engine.ports.frontend}/running`)).toBe(true);
});

test("when the supervisor is killed while its router is halted, that goes on and ends", async () => {
  await using robot = await startRobot("--on-stop", "park");
  process.kill(onlyPid(robot.engine, "router"), "SIGSTOP");
  robot.engine.signal("SIGKILL");
  await robot.noted(/^parked for INTERRUPTED$/);
  expect(await stillAlive(robot.engine.childPids)).toEqual([]);
});

test("what should make the robot safe and hangs dies with the router", async () => {
  await using robot = await startRobot("--task-workers", "1", "--on-stop", "hang");
  robot.engine.signal("SIGKILL");
  const hanging = await robot.noted(/^hangs/);
  expect(isAlive(hanging)).toBe(true);
  process.kill(onlyPid(robot.engine, "router"), "SIGKILL");
  expect(await stillAlive([hanging, ...robot.engine.childPids])).toEqual([]);
});

test("a start waits for what a killed engine still makes safe, and has its ports then", async () => {
  using folder = robotFolder();
  const flags = [...oneWorker, "--on-stop", "wait"];
  const first = freePorts(5);
  const options = { cwd: folder.path, flags, state: folder.at("state"), first };
  await using killed = await startEngine(options);
  const lock = statSync(folder.at(`state/${first}/lock`));
  const hasLock = (pid: number): boolean =>
    readdirSync(`/proc/${pid}/fd`).some(
      (name) => statSync(`/proc/${pid}/fd/${name}`, { throwIfNoEntry: false })?.ino === lock.ino,
    );
  const routers = killed.pidsOf("router");
  expect(killed.childPids.filter(hasLock)).toEqual(routers);
  killed.signal("SIGKILL");
  await using engine = new Engine(options, {
    frontend: first,
    backend: first + 1,
    worker: first + 2,
    data: freePorts(8),
  });
  await engine.line(new RegExp(`Waiting until process ${routers[0]} of the last engine has ended, for 30 s at most`));
  writeFileSync(folder.at("record.go"), "");
  await engine.line(/ready/i);
  expect((await engine.run("send", "count", "1", "2", "--router", engine.endpoint)).stdout).toBe("3\n");
  await killed.ended();
});

test("at a stop, what had to be killed is made safe before the engine ends", async () => {
  await using robot = await startRobot("--task-workers", "1", "--grace-ms", "100", "--on-stop", "park");
  const { engine } = robot;
  using asker = new Asker(engine.endpoint);
  asker.send("jammed");
  await robot.noted(/^jammed on/);
  engine.signal("SIGTERM");
  expect(await engine.ended()).toBe(0);
  expect(robot.notes.filter((note) => note.startsWith("jammed off"))).toHaveLength(1);
  expect(robot.notes).toContain("parked for SHUTTING_DOWN");
  expect(existsSync(`${engine.state}/${engine.ports.frontend}/running`)).toBe(false);
});

test("what a crash has left is made safe by the next start, before anything else runs", async () => {
  using folder = robotFolder();
  const first = freePorts(5);
  const state = folder.at("state");
  await Bun.write(`${state}/${first}/running`, "");
  const flags = [...oneWorker, "--on-stop", "park"];
  await using engine = await startEngine({ cwd: folder.path, flags, state, first });
  while (!readFileSync(folder.at("record"), "utf8").includes("motor off")) await Bun.sleep(10);
  expect(readFileSync(folder.at("record"), "utf8")).toStartWith("parked for INTERRUPTED\n");
  engine.signal("SIGTERM");
  expect(await engine.ended()).toBe(0);
  expect(readFileSync(folder.at("record"), "utf8")).toEndWith("parked for SHUTTING_DOWN\n");
  expect(existsSync(`${state}/${first}/running`)).toBe(false);
});
