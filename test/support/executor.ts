/** A real executor with tasks of a test's own. */
import { expect } from "bun:test";
import type { Json, JsonObject } from "../../src/protocol/json.ts";
import { type ArgumentSchemas, argumentCheck } from "../../src/tasks/arguments.ts";
import type { RegisteredTask, TaskFunction } from "../../src/tasks/task.ts";
import { EmergencyStop } from "../../src/worker/emergency-stop.ts";
import { Executor } from "../../src/worker/executor.ts";
import type { Job, Outcome } from "../../src/worker/job.ts";

/** A task as the registry has it, from its function alone, or from what of it matters to the test. */
export type TestTask = TaskFunction | Partial<RegisteredTask>;

export const registryOf = (
  tasks: Record<string, TestTask>,
  schemas: ArgumentSchemas = {},
): ReadonlyMap<string, RegisteredTask> => {
  const check = argumentCheck(schemas);
  const defaults = { file: "the test", run: () => null, check, onStop: null, policy: {} };
  const registered = (name: string, task: TestTask): RegisteredTask =>
    typeof task === "function" ? { ...defaults, name, run: task } : { ...defaults, name, ...task };
  return new Map(Object.entries(tasks).map(([name, task]) => [name, registered(name, task)]));
};

/** Of an executor that serves `tasks`, all with the same schemas: what its hooks were given, and a way to run one job. */
export const executorFor = (tasks: Record<string, TestTask>, schemas: ArgumentSchemas = {}) => {
  const registry = registryOf(tasks, schemas);
  const progress: [serial: string, data: Json][] = [];
  const published: [topic: string, data: Json][] = [];
  const emergency = new EmergencyStop();
  const hooks = {
    tag: "[WORKER-7(TASK)]",
    progress: ({ serial }: Job, frame: string) => progress.push([serial, JSON.parse(frame).data]),
    publish: (topic: string, frame: string) => published.push([topic, JSON.parse(frame).data]) > 0,
  };
  const executor = new Executor(registry, hooks, emergency);
  const job = (name: string, done: Job["done"], args: Json[] = [], kwargs: JsonObject = {}, serial = "s-1"): Job => ({
    name,
    serial,
    task: { task: name, args, kwargs, pack: 1 },
    done,
  });
  const run = (name: string, args: Json[] = [], kwargs: JsonObject = {}): Promise<Outcome> =>
    new Promise((done) => expect(executor.submit(job(name, done, args, kwargs))).toBe("accepted"));
  return { executor, emergency, progress, published, job, run };
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
