import { expect, test } from "bun:test";
import { RecycleRule } from "../../src/worker/recycle.ts";

/** What a worker with these limits says, job by job. */
const reasons = (limits: { jobsMax?: number; memoryBytesMax?: number }, jobs: number): [job: number, why: string][] => {
  const said: [number, string][] = [];
  let job = 0;
  const rule = new RecycleRule({ jobsMax: null, memoryBytesMax: null, ...limits }, (why) => said.push([job, why]));
  while (job++ < jobs) rule.jobEnded();
  return said;
};

test("a worker has done its share after so many jobs, and says so once", () => {
  expect(reasons({ jobsMax: 3 }, 10)).toEqual([[3, "it has run 3 jobs"]]);
});

test("a worker has done its share when it holds too much memory, which is looked at now and then", () => {
  expect(reasons({ memoryBytesMax: 1 }, 100)).toEqual([[16, expect.stringMatching(/^it holds \d+ MiB of memory$/)]]);
  expect(reasons({ memoryBytesMax: 2 ** 50 }, 100)).toEqual([]);
});

test("without limits a worker's share is never done", () => {
  expect(reasons({}, 100)).toEqual([]);
});
