/** A real executor with tasks of a test's own. */
import { expect } from "bun:test";
import type { Json, JsonObject } from "../../src/wire/json.ts";
import { type ArgumentSchemas, argumentCheck } from "../../src/worker/arguments.ts";
import { Executor, type Job, type Outcome } from "../../src/worker/executor.ts";
import type { TaskFunction } from "../../src/worker/task.ts";

/** Of an executor that serves `tasks`, all with the same schemas: what its hooks were given, and a way to run one job. */
export const executorFor = (tasks: Record<string, TaskFunction>, schemas: ArgumentSchemas = {}) => {
  const check = argumentCheck(schemas);
  const registry = new Map(
    Object.entries(tasks).map(([name, run]) => [name, { name, file: "the test", run, check, policy: {} }] as const),
  );
  const progress: [serial: string, data: Json][] = [];
  const published: [topic: string, data: Json][] = [];
  const executor = new Executor(registry, {
    tag: "[WORKER-7(TASK)]",
    progress: ({ serial }, frame) => progress.push([serial, JSON.parse(frame.toString()).data]),
    publish: (topic, frame) => published.push([topic, JSON.parse(frame.toString()).data]),
  });
  const job = (name: string, done: Job["done"], args: Json[] = [], kwargs: JsonObject = {}, serial = "s-1"): Job => ({
    name,
    serial,
    task: { task: name, args, kwargs, pack: 1 },
    done,
  });
  const run = (name: string, args: Json[] = [], kwargs: JsonObject = {}): Promise<Outcome> =>
    new Promise((done) => expect(executor.submit(job(name, done, args, kwargs))).toBe("accepted"));
  return { executor, progress, published, job, run };
};

/** The result of a job that must have succeeded. */
export const resultOf = (outcome: Outcome): unknown => {
  if (!outcome.ok) throw new Error(`${outcome.code}: ${outcome.message}`);
  return JSON.parse(outcome.data.toString()).data;
};
/** The message of a job that must have ended as TASK_ERROR. */
export const errorOf = (outcome: Outcome): string => {
  if (outcome.ok) throw new Error(`it succeeded with ${outcome.data.toString()}`);
  expect(outcome.code).toBe("TASK_ERROR");
  return outcome.message;
};
