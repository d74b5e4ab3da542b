/** Sources of the task files, as the executable calls them. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { type Client, connect, type EngineStatus } from "../../src/client/client.ts";
import { type Engine, startEngine } from "../support/engine.ts";
import { taskEngine } from "../support/executable.ts";
import { tempFolder } from "../support/temp-folder.ts";

setDefaultTimeout(120_000); // emulation is slow

const robot = `
  import type { SourceDefinition, TaskFunction } from "task-engine";
  let calls = 0;
  export const source_distance: SourceDefinition = {
    everyMs: 20,
    topic: "front/distance",
    staleMs: 100,
    run: async () => ({ calls: ++calls, pid: process.pid }),
  };
  export const source_broken = {
    everyMs: 50,
    topic: "broken",
    run: () => {
      throw new Error("no such bus");
    },
  };
  export const task_calls: TaskFunction = () => calls;
`;
const folder = tempFolder({ "tasks/robot.ts": robot });
let engine: Engine;
let client: Client;
beforeAll(async () => {
  engine = await startEngine({ cwd: folder.path });
  client = connect(engine.endpoint, { waitMs: 10_000 });
});
afterAll(async () => {
  await client.close();
  await engine[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

const run = (...args: string[]) => engine.run(...args, "--router", engine.endpoint);

interface Distance {
  readonly calls: number;
  readonly pid: number;
}

/** The values of the topic from now on. */
async function* distances(): AsyncGenerator<Distance> {
  await using subscription = client.subscribe("front/");
  for await (const { data } of subscription) yield data as unknown as Distance;
}

const nextFrom = async (isMeant: (distance: Distance) => boolean): Promise<Distance> => {
  for await (const distance of distances()) if (isMeant(distance)) return distance;
  throw new Error("the subscription has ended");
};

const statusWhen = async (isMeant: (status: EngineStatus) => boolean): Promise<EngineStatus> => {
  for (;;) {
    const status = await client.status();
    if (isMeant(status)) return status;
    await Bun.sleep(50);
  }
};

test("a source publishes to `data get` and `data watch`, from a process in which no task runs", async () => {
  await nextFrom(() => true);
  const { stdout } = await run("data", "get", "front/distance");
  const { pid } = JSON.parse(stdout) as Distance;
  expect(engine.pidsOf("source worker")).toEqual([pid]);
  expect(await run("send", "calls")).toMatchObject({ stdout: "0\n" });

  const watch = Bun.spawn([...taskEngine, "data", "watch", "front/", "--router", engine.endpoint], {
    stdout: "pipe",
    env: { PATH: process.env.PATH ?? "", TASK_ENGINE_STATE: engine.state },
  });
  let text = "";
  for await (const bytes of watch.stdout) {
    text += Buffer.from(bytes).toString();
    if (text.split("\n").length > 5) break;
  }
  watch.kill("SIGTERM");
  await watch.exited;
  for (const line of text.split("\n").slice(0, 5)) expect(line).toMatch(/^front\/distance \{"calls":\d+,"pid":\d+\}$/);
});

test("`status` shows each source, `tasks` none, and an error is logged once", async () => {
  const { sources, workers } = await statusWhen((it) => it.sources.every(({ hz }) => hz !== null));
  const [distance, broken] = sources.toSorted((a, b) => b.name.localeCompare(a.name));
  const worker = workers.find(({ role }) => role === "source")?.id;
  expect(distance).toMatchObject({ name: "distance", topic: "front/distance", everyMs: 20, staleMs: 100, worker });
  expect(distance).toMatchObject({ errors: 0, overruns: expect.any(Number), jitterMs: expect.any(Number) });
  expect(broken).toMatchObject({ name: "broken", topic: "broken", everyMs: 50, staleMs: null, worker });
  expect(broken?.errors).toBeGreaterThan(3);
  expect(engine.errorLines.filter((line) => line.includes("no such bus"))).toEqual([
    expect.stringContaining("The source broken has failed (the same again is only counted): Error: no such bus"),
  ]);
  const { stdout } = await run("status");
  expect(stdout).toMatch(/^SOURCE +TOPIC +EVERY +RATE +JITTER P99 +OVERRUNS +ERRORS$/m);
  expect(stdout).toMatch(/^distance +front\/distance +20 ms +[\d.]+ Hz +[\d.]+ ms +\d+ +0$/m);
  expect((await client.tasks()).map(({ name }) => name)).toEqual(["calls", "count"]);
});

test("an emergency stop leaves the sources running: they move nothing", async () => {
  await client.estop("test");
  const { calls, pid } = await nextFrom(() => true);
  expect((await nextFrom((it) => it.calls > calls + 5)).pid).toBe(pid);
  await client.reset();
});

test("a source worker that is killed is followed by another", async () => {
  const [pid = 0] = engine.pidsOf("source worker");
  process.kill(pid, "SIGKILL");
  await nextFrom((distance) => distance.pid !== pid);
  await engine.line(new RegExp(`^Process \\[${pid}\\]: source worker ended by SIGKILL; starting another in 100 ms$`));
});

test("after the death of the router the sources publish on", async () => {
  const [pid = 0] = engine.pidsOf("router");
  process.kill(pid, "SIGKILL");
  await engine.line(/router ended by SIGKILL; starting another/);
  await statusWhen(({ sources, workers }) => sources.length === 2 && workers.some(({ role }) => role === "data"));
  const { calls, pid: worker } = await nextFrom(() => true);
  expect((await nextFrom((it) => it.calls > calls + 5)).pid).toBe(worker);
});

test("a reload reads the sources anew, refuses two of one topic, and ends the process with the last one", async () => {
  const topicTwice = 'export const source_other = { everyMs: 20, topic: "front/distance", run: () => 1 };';
  writeFileSync(folder.at("tasks/other.ts"), topicTwice);
  const refused = await run("reload");
  expect(refused.exitCode).toBe(1);
  expect(refused.stderr).toContain(`robot.ts: source_distance has the topic front/distance, as has source_other of`);

  writeFileSync(folder.at("tasks/other.ts"), topicTwice.replace("front/distance", "other"));
  expect(await run("reload")).toMatchObject({ exitCode: 0, stdout: "reloaded: 2 tasks\n" });
  await statusWhen(({ sources }) => sources.length === 3);

  rmSync(folder.at("tasks/robot.ts"));
  rmSync(folder.at("tasks/other.ts"));
  expect(await run("reload")).toMatchObject({ exitCode: 0, stdout: "reloaded: 1 task\n" });
  expect(engine.pidsOf("source worker")).toEqual([]);
  expect((await client.status()).sources).toEqual([]);
});
