/** `worker`: a task worker that a person starts, for an engine that is somewhere else. */
import { expect, setDefaultTimeout } from "bun:test";
import { writeFileSync } from "node:fs";
import { Asker } from "../../support/asker.ts";
import { test } from "../../support/concurrent.ts";
import { type Engine, oneWorker, runCommand, startEngine } from "../../support/engine.ts";
import { taskEngine } from "../../support/executable.ts";
import { freePorts } from "../../support/ports.ts";
import { runProgram } from "../../support/program.ts";
import { robotTasks } from "../../support/robot-tasks.ts";
import { tempFolder } from "../../support/temp-folder.ts";

setDefaultTimeout(300_000); // they wait for one another

const bareEngine = { flags: ["--task-workers", "0", "--data-workers", "0", "--restarts-max", "0"] };

test("a worker joins an engine from outside, serves its tasks, and leaves when it is told to: Ctrl-C lets its job end, and a second one does not", async () => {
  using folder = tempFolder({ "arm/robot.ts": robotTasks });
  await using engine = await startEngine(bareEngine);
  const backend = `tcp://127.0.0.1:${engine.ports.backend}`;
  await using worker = runProgram(["worker", "--router", backend, "--tasks", folder.at("arm")]);
  expect(await worker.line(/Joined/)).toBe(`[WORKER-${worker.pid}(TASK)] Joined ${backend}`);
  using asker = new Asker(engine.endpoint);
  expect(await asker.ask("pid")).toEqual({ result: worker.pid });

  const running = asker.send("gate", [folder.at("gate")]);
  await worker.line(/gate has begun/);
  worker.signal("SIGTERM");
  await worker.line(/^Leaving the engine once the running job has ended/);
  writeFileSync(folder.at("gate"), "");
  expect(await asker.outcome(running)).toEqual({ result: "open" });
  expect(await worker.ended()).toBe(0);
  expect(worker.errorLines).toEqual([]);
  expect(await asker.ask("pid")).toEqual({ code: "UNAVAILABLE" });
  expect(engine.errorLines).toEqual([]);

  await using impatient = runProgram(["worker", "--router", backend, "--tasks", folder.at("arm")]);
  await impatient.line(/Joined/);
  const cut = asker.send("gate", [folder.at("never")]);
  await impatient.line(/gate has begun/);
  impatient.signal("SIGINT");
  await impatient.line(/^Leaving the engine/);
  impatient.signal("SIGINT");
  expect(await impatient.ended()).toBe(130);
  expect(impatient.errorLines).toEqual([
    "task-engine: stopped at once, on a second signal; the running job was cut off",
  ]);
  expect(await asker.outcome(cut)).toEqual({ code: "INTERRUPTED" });
});

test("a worker says once that no router answers, and joins when one does, and again after its restart", async () => {
  const first = freePorts(5);
  const backend = `tcp://127.0.0.1:${first + 1}`;
  await using worker = runProgram(["worker", "--router", backend]);
  await worker.line(/No router answers/);
  {
    await using engine = await startEngine({ ...bareEngine, first });
    await worker.line(/Joined/);
    using asker = new Asker(engine.endpoint);
    expect(await asker.ask("count", [2, 3])).toEqual({ result: 5 });
  }
  await using engine = await startEngine({ ...bareEngine, first });
  while (worker.lines.filter((line) => line.includes("Joined")).length < 2) await Bun.sleep(10);
  using asker = new Asker(engine.endpoint);
  expect(await asker.ask("count", [2, 3])).toEqual({ result: 5 });
  expect(worker.errorLines).toEqual([
    `[WORKER-${worker.pid}(TASK)] No router answers at ${backend}; retrying until one does`,
  ]);
  worker.signal("SIGINT");
  expect(await worker.ended()).toBe(0);
});

test("a worker that cannot start says why", async () => {
  using folder = tempFolder({ "arm/broken.ts": "export const task_x = ;" });
  const run = (...args: readonly string[]) =>
    runCommand(taskEngine, ["worker", ...args], { env: { PATH: process.env.PATH ?? "", HOME: folder.path } });
  const [broken, nowhere, without] = await Promise.all([
    run("--router", "tcp://127.0.0.1:9001", "--tasks", folder.at("arm")),
    run("--router", "127.0.0.1:9001"),
    run(),
  ]);
  expect(broken.exitCode).toBe(1);
  expect(broken.stderr).toStartWith(`task-engine: ${folder.at("arm/broken.ts")}`);
  expect(nowhere.exitCode).toBe(2);
  expect(nowhere.stderr).toStartWith(
    'task-engine: --router is "127.0.0.1:9001", which is not of the form tcp://HOST:PORT',
  );
  expect(without.exitCode).toBe(2);
  expect(without.stderr).toStartWith("task-engine: --router is required; see task-engine worker --help");
});

test("a worker from outside whose policy of a task is another than the engine's own is refused on both sides by name", async () => {
  const drive = (timeoutMs: number): string =>
    `export const task_drive = { run: () => "driven", timeoutMs: ${timeoutMs} };`;
  using folder = tempFolder({
    "tasks/drive.ts": drive(5000),
    "same/drive.ts": `${drive(5000)} export const task_grip = () => "gripped";`,
    "other/drive.ts": drive(3000),
  });
  await using engine = await startEngine({ cwd: folder.path, flags: oneWorker });
  const backend = `tcp://127.0.0.1:${engine.ports.backend}`;
  const join = (tasks: string) => runProgram(["worker", "--router", backend, "--tasks", folder.at(tasks)]);
  await using same = join("same");
  await using other = join("other");
  await same.line(/Joined/);
  const what = "READY.tasks: drive has timeoutMs 3000 here and 5000 in force \\(set by the engine's own tasks\\)";
  await other.line(new RegExp(`Not admitted by the router: ${what}`));
  await engine.line(new RegExp(`worker TASK-${other.pid} is not admitted: ${what}`));

  using asker = new Asker(engine.endpoint);
  expect(await asker.ask("grip")).toEqual({ result: "gripped" });
  same.signal("SIGKILL");
  await same.ended();
  let outcome = await asker.ask("grip");
  for (; "result" in outcome; outcome = await asker.ask("grip")) await Bun.sleep(5);
  expect(["UNAVAILABLE", "INTERRUPTED"]).toContain(outcome.code);
  const send = await engine.run("send", "grip", "--router", engine.endpoint);
  expect(send.stderr).toStartWith(
    `task-engine: UNAVAILABLE: no worker serves grip at present: the last, TASK-${same.pid}, is gone`,
  );
});

test("what a worker from outside held that overran and was killed is locked; status says so, and a reset frees it, as a restart does", async () => {
  const hang = `export const task_hang = {
    run: () => new Promise(() => undefined), timeoutMs: 100, graceMs: 50, resources: ["motors"], onStop: () => undefined,
  };`;
  using folder = tempFolder({
    "tasks/drive.ts": `export const task_drive = { run: () => "driven", resources: ["motors"] };`,
    "outside/hang.ts": hang,
  });
  using state = tempFolder();
  const start = () => startEngine({ cwd: folder.path, state: state.path, flags: oneWorker });
  const locked = async (engine: Engine): Promise<void> => {
    const backend = `tcp://127.0.0.1:${engine.ports.backend}`;
    await using worker = runProgram(["worker", "--router", backend, "--tasks", folder.at("outside")]);
    await worker.line(/Joined/);
    using asker = new Asker(engine.endpoint);
    const cut = asker.send("hang");
    expect(await asker.outcome(cut)).toEqual({ code: "TIMEOUT" });
    worker.signal("SIGKILL");
    await worker.ended();
  };
  const router = (engine: Engine) => ["--router", engine.endpoint];
  const drive = (engine: Engine) => engine.run("send", "drive", ...router(engine));
  const why =
    /resource motors is locked: onStop of hang is to be run, after TIMEOUT .*; start one, or look whether all is safe and run task-engine reset/;
  {
    await using engine = await start();
    await locked(engine);
    let sent = await drive(engine);
    for (; sent.exitCode === 0 || !why.test(sent.stderr); sent = await drive(engine)) await Bun.sleep(20);
    expect(sent.stderr).toStartWith("task-engine: UNAVAILABLE: ");
    const { stdout } = await engine.run("status", ...router(engine));
    expect(stdout).toMatch(
      /^LOCKED: motors by hang since 20.* UTC: onStop of hang is to be run, .*run task-engine reset$/m,
    );
    expect((await engine.run("reset", ...router(engine))).exitCode).toBe(0);
    expect(await drive(engine)).toMatchObject({ exitCode: 0, stdout: "driven\n" });
    await locked(engine);
  }
  await using engine = await start();
  expect(await drive(engine)).toMatchObject({ exitCode: 0, stdout: "driven\n" });
});
