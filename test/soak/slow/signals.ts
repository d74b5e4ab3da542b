/** Signals that more processes get than the one that was meant: the supervisor's word alone counts. */
import { expect, setDefaultTimeout } from "bun:test";
import { connect } from "task-engine";
import { test } from "../../support/concurrent.ts";
import { type Engine, startEngine } from "../../support/engine.ts";
import { tempFolder } from "../../support/temp-folder.ts";

setDefaultTimeout(300_000); // they wait for one another

const tasks = `
export const task_slow = async ([ms], kwargs, { log }) => {
  log("slow has begun");
  await Bun.sleep(ms);
  return "slept";
};
export const task_child = async ([ms], kwargs, { log }) => {
  const child = Bun.spawn(["sleep", String(ms / 1000)]);
  log("child has begun");
  return await child.exited;
};`;

/** An engine that leads a process group, as one that a shell or a supervisor of processes has started does. */
const startGroup = async () => {
  const folder = tempFolder({ "tasks/slow.ts": tasks });
  const engine = await startEngine({ cwd: folder.path, isGroupLeader: true, flags: ["--data-workers", "0"] });
  const client = connect(engine.endpoint);
  return {
    engine,
    client,
    [Symbol.asyncDispose]: async () => {
      await client.close();
      await engine[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
};

const everywhere: Readonly<Record<string, (engine: Engine, signal: NodeJS.Signals) => void>> = {
  "the process group": ({ pid }, signal) => process.kill(-pid, signal),
  "every process of the engine": ({ pid, childPids }, signal) => {
    for (const each of [...childPids, pid]) process.kill(each, signal);
  },
};
for (const [target, tell] of Object.entries(everywhere)) {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    test(`${signal} to ${target} lets jobs finish within the grace time`, async () => {
      await using group = await startGroup();
      const { engine, client } = group;
      const jobs = [client.call("slow", [300]), client.call("child", [300])];
      await Promise.all([engine.line(/slow has begun/), engine.line(/child has begun/)]);
      tell(engine, signal);
      expect(await Promise.all(jobs)).toEqual(["slept", 0]);
      expect(await engine.ended()).toBe(0);
      expect(engine.errorLines).toEqual([]);
      expect(engine.lines.filter((line) => line.startsWith("Successfully terminated"))).toHaveLength(3);
    });
  }
}

test("SIGHUP to every process reloads, Ctrl-Z leaves none of them stopped, and at SIGQUIT to the process group, which ends the supervisor, the router makes safe what ran", async () => {
  await using group = await startGroup();
  const { engine, client } = group;
  const before = engine.childPids;
  for (const tell of Object.values(everywhere)) tell(engine, "SIGHUP");
  await engine.line(/Task workers are replaced/);
  expect(engine.pidsOf("router")).toEqual(before.slice(0, 1));
  process.kill(-engine.pid, "SIGTSTP");
  await engine.line(/Ctrl-Z is ignored/);
  expect(await client.call("count", [2, 3])).toBe(5);

  const said = engine.errorLines.length;
  const job = client.call("slow", [60_000]).catch(({ code }) => code);
  await engine.line(/slow has begun/);
  process.kill(-engine.pid, "SIGQUIT");
  expect(await job).toBe("INTERRUPTED");
  expect(await engine.ended()).toBe("SIGQUIT");
  expect(engine.errorLines.slice(said)).toEqual([expect.stringContaining("The supervisor has died")]);
});
