/** What a task's definition may have besides `run`: its policy, and the schemas of its arguments. */
import * as v from "valibot";
import { type Policy, policyRows } from "../protocol/policy.ts";
import { type ArgumentCheck, argumentCheck } from "./arguments.ts";
import { isSchema, type Schema } from "./schema.ts";
import type { StopFunction, TaskFunction } from "./task.ts";

export type TaskPolicy = Policy;

const schema = v.custom<Schema>(isSchema, "must be a Standard Schema, version 1, as those of valibot and zod are");

const definitionSchema = v.strictObject({
  run: v.custom<TaskFunction>((value) => typeof value === "function", "must be a function"),
  args: v.optional(schema),
  kwargs: v.optional(schema),
  ...policyRows(),
  // Of the wire's policy it is a flag; what is to be run only the task's process has.
  onStop: v.optional(v.custom<StopFunction>((value) => typeof value === "function", "must be a function")),
});
const knownKeys = Object.keys(definitionSchema.entries).join(", ");

export interface Definition {
  readonly run: TaskFunction;
  /** null: it takes whatever it is given. */
  readonly check: ArgumentCheck | null;
  /** null: there is nothing to be made safe. */
  readonly onStop: StopFunction | null;
  readonly policy: TaskPolicy;
}

/** Takes an exported object apart, or says in one phrase what is wrong with it. */
export const parseDefinition = (definition: object): Definition | string => {
  const result = v.safeParse(definitionSchema, definition, { abortEarly: true });
  if (!result.success) {
    const [issue] = result.issues;
    const key = v.getDotPath(issue) ?? "it";
    // A key nobody knows is mostly a slip of the pen, and a limit with a slip in its name would be no limit.
    const isUnknown = issue.type === "strict_object" && issue.expected === "never";
    return isUnknown ? `has the key ${key}, which is not one of ${knownKeys}` : `has a wrong ${key}: ${issue.message}`;
  }
  const { run, args, kwargs, onStop, ...limits } = result.output;
  const policy = onStop === undefined ? limits : { ...limits, onStop: true };
  // Bound, so that a `run` written as a method finds its own object in `this`.
  const bound = { run: run.bind(definition), onStop: onStop?.bind(definition) ?? null };
  return { ...bound, check: argumentCheck({ args, kwargs }), policy };
};
