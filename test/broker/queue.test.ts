import { expect, test } from "bun:test";
import fc from "fast-check";
import { JobQueues } from "../../src/broker/queue.ts";
import type { Job } from "../../src/broker/state.ts";
import { priorityHeadStartMs, priorityMax, queueBytesMax, queueJobsMax } from "../../src/limits.ts";
import { makeJob } from "../support/job.ts";

const queue = "task count";

const takeAll = (queues: JobQueues): Job[] => {
  const jobs: Job[] = [];
  for (let job = queues.first(queue); job !== undefined; job = queues.first(queue)) {
    jobs.push(job);
    queues.remove(job);
  }
  return jobs;
};

test("of jobs that come together the highest priority goes first, and within one the first", () => {
  const queues = new JobQueues();
  const jobs = [5, 9, 5, 0, 9].map((priority) => makeJob({ options: { priority } }));
  for (const job of jobs) queues.push(job);
  const [middle1, high1, middle2, low, high2] = jobs;
  expect(takeAll(queues)).toEqual([high1, high2, middle1, middle2, low].filter((job) => job !== undefined));
});

test("the lowest priority is overtaken by those that come within the head start, and by none that come later", () => {
  const queues = new JobQueues();
  const low = makeJob({ options: { priority: 0 } });
  const within = makeJob({ at: priorityMax * priorityHeadStartMs, options: { priority: priorityMax } });
  const later = makeJob({ at: priorityMax * priorityHeadStartMs + 1, options: { priority: priorityMax } });
  for (const job of [low, within, later]) queues.push(job);
  expect(takeAll(queues)).toEqual([within, low, later]);
});

test("whatever is taken and put back in whatever order, each priority stays in the order of acceptance", () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(priorityMax), { minLength: 1, maxLength: 40 }),
      fc.infiniteStream(fc.nat()),
      (priorities, chance) => {
        const queues = new JobQueues();
        const jobs = priorities.map((priority, index) => makeJob({ at: index, options: { priority } }));
        for (const job of jobs) queues.push(job);
        const taken = jobs.filter(() => (chance.next().value ?? 0) % 2 === 0);
        for (const job of taken) queues.remove(job);
        taken.sort(() => ((chance.next().value ?? 0) % 2) - 0.5);
        for (const job of taken) queues.putBack(job);
        const expected = [...jobs].sort((a, b) => b.priority - a.priority || a.id - b.id);
        expect(takeAll(queues).map(({ id }) => id)).toEqual(expected.map(({ id }) => id));
      },
    ),
  );
});

test("there is room up to the limits of jobs and of bytes", () => {
  const queues = new JobQueues();
  expect(queues.hasRoom(queueJobsMax, queueBytesMax)).toBe(true);
  const job = makeJob({ bytes: 100 });
  queues.push(job);
  expect(queues.hasRoom(queueJobsMax, 0)).toBe(false);
  expect(queues.hasRoom(1, queueBytesMax - 99)).toBe(false);
  expect(queues.hasRoom(queueJobsMax - 1, queueBytesMax - 100)).toBe(true);
  queues.remove(job);
  expect(queues.hasRoom(queueJobsMax, queueBytesMax)).toBe(true);
});

test("a job that waits for its next try counts, and is not handed out", () => {
  const queues = new JobQueues();
  const job = makeJob({ bytes: 100 });
  queues.park(job, "retrying");
  expect([queues.jobs, queues.bytes, queues.depth(queue)]).toEqual([1, 100, 0]);
  expect(queues.first(queue)).toBeUndefined();
  queues.putBack(job);
  expect([queues.jobs, queues.bytes, queues.depth(queue)]).toEqual([1, 100, 1]);
  expect(queues.first(queue)).toBe(job);
  queues.remove(job);
  queues.remove(job);
  expect([queues.jobs, queues.bytes, queues.depth(queue)]).toEqual([0, 0, 0]);
});

test("of a queue that is empty nothing stays", () => {
  const queues = new JobQueues();
  const job = makeJob();
  queues.push(job);
  expect([...queues.names()]).toEqual([queue]);
  queues.remove(job);
  expect([...queues.names()]).toEqual([]);
});
