import { beforeEach, expect, test } from "bun:test";
import { headOf } from "../../src/broker/job.ts";
import type { Worker } from "../../src/broker/state.ts";
import { Workers } from "../../src/broker/workers.ts";
import { workerCreditMax, workerCreditMs } from "../../src/limits.ts";
import type { ReadyHeader } from "../../src/protocol/backend.ts";
import { makeJob } from "../support/job.ts";

let workers: Workers;
beforeEach(() => {
  workers = new Workers();
});

const add = (key: string, tasks: ReadyHeader["tasks"]): Worker =>
  workers.add(key, null, { type: "READY", role: "task", id: "TASK-1", pid: 1, tasks, endpoint: "" }, 0);

/** Hands out until nobody takes more; says how many that were. */
const fill = (name: string): number => {
  for (let count = 0; ; count++) {
    const job = makeJob({ name });
    const worker = workers.freeFor(job);
    if (worker === undefined) return count;
    workers.assign(worker, job);
  }
};

test("a job of which nothing is known is handed over alone", () => {
  add("w1", ["count"]);
  expect(fill("count")).toBe(1);
});

test("of short jobs a worker gets as many as are expected to be done within its credit", () => {
  add("w1", ["count"]);
  workers.learn("task count", workerCreditMs / 4);
  expect(fill("count")).toBe(4);
});

test("however short they are, not more than the limit", () => {
  add("w1", ["count"]);
  workers.learn("task count", 1e-6);
  expect(fill("count")).toBe(workerCreditMax);
});

test("of long jobs each worker gets one", () => {
  add("w1", ["count"]);
  add("w2", ["count"]);
  workers.learn("task count", 1000);
  expect(fill("count")).toBe(2);
});

test("behind a long job there is no place for a short one", () => {
  add("w1", ["slow", "count"]);
  workers.learn("task slow", 1000);
  workers.learn("task count", 0.01);
  expect(fill("slow")).toBe(1);
  expect(fill("count")).toBe(0);
});

test("what takes longer than it did is handed over less", () => {
  add("w1", ["count"]);
  workers.learn("task count", 0.1);
  for (let run = 0; run < 50; run++) workers.learn("task count", 100);
  expect(fill("count")).toBe(1);
});

test("what has killed a worker is kept from the rest", () => {
  const worker = add("w1", ["count"]);
  workers.learn("task count", 0.01);
  const job = makeJob();
  job.kills = 1;
  workers.assign(worker, job);
  expect(fill("count")).toBe(0);
});

test("the worker that holds the least gets the next", () => {
  const [busy, free] = [add("w1", ["count"]), add("w2", ["count"])];
  workers.learn("task count", 0.01);
  workers.assign(busy, makeJob());
  expect(workers.freeFor(makeJob())).toBe(free);
});

test("one that is retired or stuck gets nothing", () => {
  const worker = add("w1", ["count"]);
  worker.retired = "leaving";
  expect(fill("count")).toBe(0);
  worker.retired = null;
  worker.givenUp.set(7, makeJob());
  expect(fill("count")).toBe(0);
});

test("credit comes back with what is released, and the first that is held is the head", () => {
  const worker = add("w1", ["count"]);
  workers.learn("task count", workerCreditMs / 3);
  const jobs = [makeJob(), makeJob(), makeJob()];
  for (const job of jobs) workers.assign(worker, job);
  expect(workers.freeFor(makeJob())).toBeUndefined();
  expect(headOf(worker)?.job).toBe(jobs[0]);
  expect(workers.release(worker, jobs[0]?.id ?? 0)).toBe(jobs[0]);
  expect(workers.release(worker, jobs[0]?.id ?? 0)).toBeUndefined();
  expect(headOf(worker)?.job).toBe(jobs[1]);
  expect(fill("count")).toBe(1);
});

test("of a worker that has gone nothing stays", () => {
  const worker = add("w1", ["count"]);
  workers.learn("task count", 0.01);
  workers.remove(worker, "it has left", 0);
  expect([workers.size, workers.serving("task count").length]).toEqual([0, 0]);
  add("w2", ["count"]);
  expect(fill("count")).toBe(1);
});
