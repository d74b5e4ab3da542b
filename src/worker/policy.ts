/** The policy of a task: the keys that a task's definition may have besides `run`. */
import * as v from "valibot";
import { type Policy, policyRows } from "../wire/policy.ts";
import type { TaskFunction } from "./task.ts";

export type TaskPolicy = Policy;

const definitionSchema = v.strictObject({
  run: v.custom<TaskFunction>((value) => typeof value === "function", "must be a function"),
  ...policyRows,
});
const knownKeys = Object.keys(definitionSchema.entries).join(", ");

/** Takes an exported object apart into what is run and its policy, or says in one phrase what is wrong with it. */
export const parseDefinition = (definition: object): { run: TaskFunction; policy: TaskPolicy } | string => {
  const result = v.safeParse(definitionSchema, definition, { abortEarly: true });
  if (!result.success) {
    const [issue] = result.issues;
    const key = v.getDotPath(issue) ?? "it";
    // A key nobody knows is mostly a slip of the pen, and a limit with a slip in its name would be no limit.
    const isUnknown = issue.type === "strict_object" && issue.expected === "never";
    return isUnknown ? `has the key ${key}, which is not one of ${knownKeys}` : `has a wrong ${key}: ${issue.message}`;
  }
  const { run, ...policy } = result.output;
  // Bound, so that a `run` written as a method finds its own object in `this`.
  return { run: run.bind(definition), policy };
};
