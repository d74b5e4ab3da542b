/** Tasks that kill their workers: they are closed, and neither the engine nor any other task is. */
import { expect, setDefaultTimeout } from "bun:test";
import { writeFileSync } from "node:fs";
import { connect } from "task-engine";
import { Asker, type Outcome } from "../../support/asker.ts";
import { test } from "../../support/concurrent.ts";
import { until } from "../../support/connections.ts";
import { type Engine, oneWorker, startEngine } from "../../support/engine.ts";
import { type TempFolder, tempFolder } from "../../support/temp-folder.ts";

setDefaultTimeout(300_000); // they wait for one another

const tasks = `
let isGoodRunning = false;
export const task_late = () => void setInterval(() => { if (isGoodRunning) throw new Error("late"); }, 5);
export const task_exit = () => process.exit(3);
export const task_good = async ([ms], kwargs, { log }) => {
  isGoodRunning = true;
  log("begun");
  await Bun.sleep(ms);
  return "good";
};
`;

const folderWith = (files: Readonly<Record<string, string>> = {}): TempFolder =>
  tempFolder({ "tasks/robot.ts": tasks, ...files });

/** With these flags one death that counts as the engine's own would end it. */
const start = (folder: TempFolder): Promise<Engine> =>
  startEngine({ cwd: folder.path, flags: ["--restarts-max", "0", ...oneWorker] });

const isClosed = (outcome: Outcome): boolean => "code" in outcome && outcome.code === "UNAVAILABLE";

/** Asks for it until it is closed, which must come to pass; gives what came before. */
const askUntilClosed = async (asker: Asker, task: string): Promise<Outcome[]> => {
  const outcomes: Outcome[] = [];
  for (let outcome = await asker.ask(task); !isClosed(outcome); outcome = await asker.ask(task)) {
    outcomes.push(outcome);
    if (outcomes.length > 100) throw new Error(`${task} is never closed`);
    await Bun.sleep(50);
  }
  return outcomes;
};

const statusOf = async (engine: Engine) => {
  await using client = connect(engine.endpoint);
  return await client.status();
};

test("a task that ends its process is closed after three workers, by whatever port it is asked for, until it is resumed or the files are read again", async () => {
  using folder = folderWith();
  await using engine = await start(folder);
  using asker = new Asker(engine.endpoint);
  using direct = new Asker(`tcp://127.0.0.1:${engine.ports.worker}`);
  direct.send("exit");
  await engine.line(/exit code 3, by a job of exit; starting another in 100 ms$/);
  expect(await askUntilClosed(asker, "exit")).toEqual(Array(2).fill({ code: "INTERRUPTED" }));
  expect(await engine.line(/quarantined/)).toBe(
    "[ENGINE] exit is quarantined: its jobs have killed 3 workers within 60 s, the last of which ended with exit code 3; fix it, then run task-engine reload",
  );
  const send = await engine.run("send", "exit", "--router", engine.endpoint);
  expect(send).toMatchObject({
    exitCode: 1,
    stderr: expect.stringMatching(/^task-engine: UNAVAILABLE: exit is quarantined since/),
  });
  const { stdout } = await engine.run("status", "--router", engine.endpoint);
  expect(stdout).toMatch(
    /^QUARANTINED: exit since 20.* UTC: 3 workers died of its jobs, the last of which ended with exit code 3; fix it/m,
  );
  using again = new Asker(`tcp://127.0.0.1:${engine.ports.worker}`);
  expect(await again.ask("exit")).toEqual({ code: "UNAVAILABLE" });
  expect(await asker.ask("good", [0])).toEqual({ result: "good" });

  const resume = await engine.run("resume", "exit", "--router", engine.endpoint);
  expect(resume).toEqual({ exitCode: 0, stdout: "resumed: jobs of exit begin again\n", stderr: "" });
  expect(await asker.ask("exit")).toEqual({ code: "INTERRUPTED" });

  writeFileSync(folder.at("tasks/robot.ts"), tasks.replace("process.exit(3)", "'mended'"));
  engine.signal("SIGHUP");
  await engine.line(/Task workers are replaced/);
  expect(await asker.ask("exit")).toEqual({ result: "mended" });
  expect((await statusOf(engine)).quarantined).toEqual([]);
});

test("a task that throws when it is over is closed, and not the one whose jobs run then", async () => {
  using folder = folderWith();
  await using engine = await start(folder);
  using asker = new Asker(engine.endpoint);
  for (let count = 0; count < 3; count++) {
    expect(await asker.ask("late")).toEqual({ result: null });
    expect(await asker.ask("good", [5_000])).toEqual({ code: "INTERRUPTED" });
  }
  expect(await asker.ask("late")).toEqual({ code: "UNAVAILABLE" });
  expect(await asker.ask("good", [0])).toEqual({ result: "good" });
  expect((await statusOf(engine)).quarantined.map((it) => it.task)).toEqual(["late"]);
});

test("who kills workers from outside closes no task", async () => {
  using folder = folderWith();
  await using engine = await start(folder);
  using asker = new Asker(engine.endpoint);
  for (let count = 1; count <= 3; count++) {
    const cut = asker.send("good", [60_000]);
    await until("begun", () => engine.lines.filter((line) => line.endsWith("good: begun")).length === count);
    process.kill(engine.pidsOf("task worker")[0] ?? 0, "SIGKILL");
    expect(await asker.outcome(cut)).toEqual({ code: "INTERRUPTED" });
  }
  expect(await asker.ask("good", [0])).toEqual({ result: "good" });
});
