/** Finds the tasks among a module's exports, and checks their names and definitions. */
import * as v from "valibot";
import { nameLengthMax } from "../limits.ts";
import { taskName } from "../protocol/frames.ts";
import { type Policy, policyRows } from "../protocol/policy.ts";
import { StartError } from "../transport/start-error.ts";
import { argumentCheck, isSchema, type Schema } from "./arguments.ts";
import { argumentSchemaOf } from "./json-schema.ts";
import type { RegisteredTask, StopFunction, TaskFunction } from "./task.ts";

export const taskPrefix = "task_";
const namePattern = /^[A-Za-z0-9_.-]+$/;

/**
 * Yields the tasks among the exports of `file`, each with the name of its export.
 * @throws StartError, which names the export, for one that is meant as a task and is none
 */
export function* tasksOf(module: object, file: string): Generator<[exportName: string, task: RegisteredTask]> {
  for (const [exportName, value] of Object.entries(module)) {
    if (!isTaskExport(exportName, value)) continue;
    yield [exportName, { name: checkedName(exportName, file), file, ...definitionOf(value, exportName, file) }];
  }
}

/** A task may write TASK_ for task_, as a requestor may; TASK_RETRIES is a constant. */
const isTaskExport = (exportName: string, value: unknown): boolean =>
  exportName.startsWith(taskPrefix) ||
  (taskName(exportName) !== exportName && (typeof value === "function" || hasRun(value)));

const checkedName = (exportName: string, file: string): string => {
  const name = taskName(exportName);
  checkName(name, exportName, taskPrefix, file);
  // `task_x` and `x` are one name to a requestor, so a task `task_x` could be mistaken for `x`.
  if (taskName(name) === name) return name;
  throw new StartError(`${file}: the export ${exportName} has the prefix ${taskPrefix} twice; remove one`);
};

/**
 * Checks what follows the prefix in the name of an export.
 * @throws StartError
 */
export const checkName = (name: string, exportName: string, prefix: string, file: string): void => {
  const lengthMax = nameLengthMax - prefix.length;
  if (namePattern.test(name) && name.length <= lengthMax) return;
  const kind = prefix.slice(0, -1);
  const rule = `1 to ${lengthMax} characters of A-Z a-z 0-9 _ . - after ${prefix}`;
  throw new StartError(`${file}: the export ${exportName} cannot be a ${kind}'s name; it needs ${rule}`);
};

type Definition = Pick<RegisteredTask, "run" | "check" | "schema" | "onStop" | "policy">;

const definitionOf = (value: unknown, exportName: string, file: string): Definition => {
  if (typeof value === "function")
    return { run: value as TaskFunction, check: null, schema: null, onStop: null, policy: {} };
  if (!hasRun(value)) {
    throw new StartError(
      `${file}: ${exportName} is neither a function nor an object with \`run\`; rename it if it is no task`,
    );
  }
  const definition = parseDefinition(value);
  if (typeof definition === "string") throw new StartError(`${file}: ${exportName} ${definition}`);
  return definition;
};

export const hasRun = (value: unknown): value is object =>
  typeof value === "object" && value !== null && "run" in value;

const schema = v.custom<Schema>(isSchema, "must be a Standard Schema, version 1, as those of valibot and zod are");
export const isFunction = (value: unknown): boolean => typeof value === "function";

const definitionSchema = v.strictObject({
  run: v.custom<TaskFunction>(isFunction, "must be a function"),
  args: v.optional(schema),
  kwargs: v.optional(schema),
  ...policyRows(),
  // A flag in the policy that travels; the function itself stays in its process.
  onStop: v.optional(v.custom<StopFunction>(isFunction, "must be a function")),
});

/** Takes an exported object apart, or says in one phrase what is wrong with it. */
export const parseDefinition = (definition: object): Definition | string => {
  const checked = checkDefinition(definitionSchema, definition);
  if (typeof checked === "string") return checked;
  const { run, args, kwargs, onStop, ...limits } = checked;
  const conflict = conflictIn(limits);
  if (conflict !== null) return conflict;
  return {
    // Bound, so that a `run` written as a method finds its own object in `this`.
    run: run.bind(definition),
    onStop: onStop?.bind(definition) ?? null,
    check: argumentCheck({ args, kwargs }),
    schema: argumentSchemaOf({ args, kwargs }),
    policy: onStop === undefined ? limits : { ...limits, onStop: true },
  };
};

/**
 * Returns what a schedule or `durable` excludes, in one phrase; null if it excludes nothing here.
 */
const conflictIn = ({ schedule, everyMs, durable, deadmanMs, moves, resumesAfterRestart }: Policy): string | null => {
  const key = schedule !== undefined ? "schedule" : everyMs !== undefined ? "everyMs" : durable ? "durable" : null;
  if (key === null) return null;
  if (schedule !== undefined && everyMs !== undefined) return "has both schedule and everyMs; remove one";
  if (deadmanMs !== undefined) return `has deadmanMs and ${key}; nobody need be there when it runs; remove one`;
  if (moves === false || resumesAfterRestart === true) return null;
  return `has ${key} and may move something; write \`moves: false\` if it does not, or \`resumesAfterRestart: true\``;
};

/** Returns what the schema makes of it, or in one phrase the first thing that is wrong with it. */
export const checkDefinition = <Schema extends DefinitionSchema>(
  schema: Schema,
  definition: object,
): v.InferOutput<Schema> | string => {
  const result = v.safeParse(schema, definition, { abortEarly: true });
  if (result.success) return result.output;
  const [issue] = result.issues;
  const key = v.getDotPath(issue) ?? "it";
  // An unknown key is mostly a misspelt limit, which would be no limit.
  const isUnknown = issue.type === "strict_object" && issue.expected === "never";
  const knownKeys = Object.keys(schema.entries).join(", ");
  return isUnknown ? `has the key ${key}, which is not one of ${knownKeys}` : `has a wrong ${key}: ${issue.message}`;
};

type DefinitionSchema = v.GenericSchema<unknown, object> & { readonly entries: object };
