import { expect, setDefaultTimeout, spyOn } from "bun:test";
import { beatIntervalMs, recycleLookMs } from "../../../src/limits.ts";
import { RecycleRule } from "../../../src/worker/recycle.ts";
import { test } from "../../support/concurrent.ts";
import { until } from "../../support/connections.ts";
import { oneWorker, startEngine } from "../../support/engine.ts";
import { tempFolder } from "../../support/temp-folder.ts";

setDefaultTimeout(300_000); // they wait for one another

interface Limits {
  readonly jobsMax?: number;
  readonly memoryBytesMax?: number;
}

const ruleOf = (limits: Limits, lookEveryMs = beatIntervalMs) => {
  const said: string[] = [];
  const all = { jobsMax: null, memoryBytesMax: null, ...limits };
  return { rule: new RecycleRule(all, (why) => said.push(why), "[WORKER]", lookEveryMs), said };
};

/** What a worker with these limits says, job by job. */
const reasons = (limits: Limits, jobs: number, jobMs = 0): [job: number, why: string][] => {
  const { rule, said } = ruleOf(limits);
  using _rule = rule;
  const heard: [number, string][] = [];
  for (let job = 1; job <= jobs; job++) {
    rule.jobEnded(jobMs);
    for (const why of said.splice(0)) heard.push([job, why]);
  }
  return heard;
};

const tooMuch = expect.stringMatching(/^it holds \d+ MiB of memory, more than --worker-memory-max 0$/);

test("a worker has done its share after so many jobs, and says so once", () => {
  expect(reasons({ jobsMax: 3 }, 10)).toEqual([[3, "it has run 3 jobs"]]);
});

test("a worker's memory is looked at after each job that is not short, and after short ones that add up to one", () => {
  expect(reasons({ memoryBytesMax: 1 }, 10, recycleLookMs)).toEqual([[1, tooMuch]]);
  expect(reasons({ memoryBytesMax: 1 }, 10, 60_000)).toEqual([[1, tooMuch]]);
  expect(reasons({ memoryBytesMax: 1 }, 100, recycleLookMs / 16)).toEqual([[16, tooMuch]]);
  expect(reasons({ memoryBytesMax: 2 ** 50 }, 100, 60_000)).toEqual([]);
});

test("short jobs do not pay for looking at the memory", () => {
  const rss = spyOn(process.memoryUsage, "rss");
  expect(reasons({ memoryBytesMax: 2 ** 50 }, 1_000, recycleLookMs / 500)).toEqual([]);
  // One is that of the start.
  expect(rss.mock.calls.length).toBe(1 + 2);
  rss.mockRestore();
});

test("a worker's memory is looked at by time as well, once it has run a job", async () => {
  const { rule, said } = ruleOf({ memoryBytesMax: 1 }, 4);
  await Bun.sleep(40);
  expect(said).toEqual([]);
  rule.jobEnded(0);
  await until("a look", () => said.length > 0);
  expect(said).toEqual([tooMuch]);
});

test("without limits a worker's share is never done", () => {
  expect(reasons({}, 100, 60_000)).toEqual([]);
});

const leak = `
const kept = [];
export const task_leak = async ([mib, ms]) => {
  kept.push(Buffer.alloc(mib * 2 ** 20, 1));
  await Bun.sleep(ms);
  return process.pid;
};`;

test("a worker that leaks is replaced as soon as it holds more than its limit, and after the job that leaks", async () => {
  using folder = tempFolder({ "leak.ts": leak });
  const flags = ["--worker-memory-max", "128", ...oneWorker, "--tasks", folder.path, "--restarts-max", "0"];
  await using engine = await startEngine({ flags });
  const run = async (args: string[], ...way: string[]): Promise<number> => {
    const { stdout, stderr } = await engine.run("send", "leak", ...args, ...way);
    expect(stderr).toBe("");
    return Number(stdout);
  };
  const router = ["--router", engine.endpoint];
  const pids: number[] = [];
  for (let job = 0; job < 5; job++) pids.push(await run(["40", "0"], ...router));
  expect(new Set(pids).size).toBeGreaterThan(1);
  await engine.line(
    new RegExp(`^Process \\[${pids[0]}\\]: .* for it holds 1\\d\\d MiB of memory, .*; starting another$`),
  );
  // Far beyond the limit it still gives its result.
  const pid = await run(["200", "100"], ...router);
  await engine.line(new RegExp(`^Process \\[${pid}\\]: .* for it holds [23]\\d\\d MiB of memory`));
});

test("a worker that holds more than its limit before its first job says so", async () => {
  using folder = tempFolder({
    "large.ts": "const all = Buffer.alloc(150 * 2 ** 20, 1); export const task_all = () => all;",
  });
  const flags = ["--worker-memory-max", "128", ...oneWorker, "--tasks", folder.path];
  await using engine = await startEngine({ flags });
  await engine.line(/ Holds \d+ MiB of memory before its first job, more than --worker-memory-max 128: /);
});
