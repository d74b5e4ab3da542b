/** Workers killed under load: `kills` times SIGKILL to a worker at random while jobs run; what came of the jobs. */
import { expect } from "bun:test";
import { readFileSync } from "node:fs";
import { Asker } from "./asker.ts";
import { startEngine } from "./engine.ts";
import { recordToml, robotTasks } from "./robot-tasks.ts";
import { tempFolder } from "./temp-folder.ts";

/** jobs that are on their way at any time: more than all workers hold. */
const jobsOpen = 300;

/**
 * Each job must be answered exactly once, by its result or by INTERRUPTED; none may begin twice; and INTERRUPTED is for
 * those alone that had begun.
 */
export const killUnderLoad = async (kills: number, workers: number): Promise<void> => {
  using folder = tempFolder({ "tasks/robot.ts": robotTasks });
  await Bun.write(folder.at("task-engine.toml"), recordToml(folder.at("record")));
  const flags = ["--task-workers", `${workers}`, "--restarts-max", "1000"];
  await using engine = await startEngine({ cwd: folder.path, flags, workers: workers + 1 });
  using asker = new Asker(engine.endpoint);

  const names = new Map<string, string>();
  const top = (): void => {
    while (asker.open < jobsOpen) {
      const name = `job ${names.size}`;
      // Most are short, so that a worker holds many that it has not begun when it dies.
      names.set(asker.send("step", [name, names.size % 50 === 0 ? 20 : 0]), name);
    }
  };
  const killed = new Set<number>();
  for (let kill = 0; kill < kills; kill++) {
    top();
    const before = asker.answered;
    while (asker.answered < before + 20) {
      await Bun.sleep(1);
      top();
    }
    killed.add(await killOne(asker, killed));
  }
  const outcomes = await asker.settled();

  const begun = readFileSync(folder.at("record"), "utf8").trimEnd().split("\n");
  expect(new Set(begun).size).toBe(begun.length);
  const hasBegun = new Set(begun);
  let cutOffUnbegun = 0;
  for (const [serial, name] of names) {
    const [outcome, ...more] = outcomes.get(serial) ?? [];
    expect({ name, more }).toEqual({ name, more: [] });
    if (outcome !== undefined && "code" in outcome) {
      expect(outcome).toEqual({ code: "INTERRUPTED" });
      if (!hasBegun.has(name)) cutOffUnbegun++;
    } else expect(outcome).toEqual({ result: name });
  }
  // Between the worker's note that a job begins and the job's own trace a kill may fall, once for each.
  expect(cutOffUnbegun).toBeLessThanOrEqual(kills);
  for (const pid of killed) await engine.line(new RegExp(`^Process \\[${pid}\\]: task worker ended by SIGKILL`));
};

/** Kills one of those that serve and gives its pid; waits for one, if none does at present. */
const killOne = async (asker: Asker, killed: ReadonlySet<number>): Promise<number> => {
  for (;;) {
    const { workers } = (await asker.control({ command: "status" })) as unknown as Status;
    const pids = workers.filter(({ role, pid }) => role === "task" && !killed.has(pid)).map(({ pid }) => pid);
    const pid = pids[Math.floor(Math.random() * pids.length)];
    if (pid !== undefined) {
      process.kill(pid, "SIGKILL");
      return pid;
    }
    await Bun.sleep(5);
  }
};

interface Status {
  readonly workers: readonly { readonly role: string; readonly pid: number }[];
}
