/** A real executor with tasks of a test's own. */

import { expect } from "bun:test";
import type { Frame } from "../../src/protocol/frame.ts";
import type { Json, JsonObject } from "../../src/protocol/json.ts";
import { type ArgumentSchemas, argumentCheck } from "../../src/tasks/arguments.ts";
import type { RegisteredTask, TaskFunction } from "../../src/tasks/task.ts";
import { Executor } from "../../src/worker/executor.ts";
import type { TaskJob, TaskOutcome } from "../../src/worker/job.ts";
import { Restrictions } from "../../src/worker/restrictions.ts";

/** A task as the registry has it, from its function alone, or from what of it matters to the test. */
export type TestTask = TaskFunction | Partial<RegisteredTask>;

export const registryOf = (
  tasks: Record<string, TestTask>,
  schemas: ArgumentSchemas = {},
): ReadonlyMap<string, RegisteredTask> => {
  const check = argumentCheck(schemas);
  const defaults = { file: "the test", run: () => null, check, schema: null, onStop: null, policy: {} };
  const registered = (name: string, task: TestTask): RegisteredTask =>
    typeof task === "function" ? { ...defaults, name, run: task } : { ...defaults, name, ...task };
  return new Map(Object.entries(tasks).map(([name, task]) => [name, registered(name, task)]));
};

/** Of an executor that serves `tasks`, all with the same schemas: what its hooks were given, and a way to run one job. */
export const executorFor = (tasks: Record<string, TestTask>, schemas: ArgumentSchemas = {}) => {
  const registry = registryOf(tasks, schemas);
  const progress: [serial: string, data: Json][] = [];
  const published: [topic: string, data: Json][] = [];
  const restrictions = new Restrictions();
  const hooks = {
    tag: "[WORKER-7(TASK)]",
    publish: (topic: string, payload: Frame) => published.push([topic, JSON.parse(`${payload}`)]) > 0,
  };
  const executor = new Executor(registry, hooks, restrictions);
  const job = (
    name: string,
    done: TaskJob["done"],
    args: Json[] = [],
    kwargs: JsonObject = {},
    serial = "s-1",
  ): TaskJob => ({
    name,
    serial,
    task: { task: name, args, kwargs, pack: 1 },
    progress: (frame) => progress.push([serial, JSON.parse(frame).data]),
    done,
  });
  const run = (name: string, args: Json[] = [], kwargs: JsonObject = {}): Promise<TaskOutcome> =>
    new Promise((done) => expect(executor.submit(job(name, done, args, kwargs))).toBe("accepted"));
  return { executor, restrictions, progress, published, job, run };
};

/** The result of a job that must have succeeded. */
export const resultOf = (outcome: TaskOutcome): unknown => {
  if (!outcome.ok) throw new Error(`${outcome.code}: ${outcome.message}`);
  return JSON.parse(outcome.data.toString()).data;
};
/** The message of a job that must have ended as TASK_ERROR. */
export const errorOf = (outcome: TaskOutcome): string => {
  if (outcome.ok) throw new Error(`it succeeded with ${outcome.data.toString()}`);
  expect(outcome.code).toBe("TASK_ERROR");
  return outcome.message;
};
