/** Arguments held against the schemas of a task's definition: before it runs, and in the form that the schemas give them. */
import type { Json, JsonObject } from "../protocol/json.ts";
import type { Schema, SchemaIssue, SchemaResult } from "./schema.ts";

/** Arguments that the task does not take. `message` says for a person what is wrong with which: `args[0]: …`. */
export class BadArgs extends Error {
  override readonly name = "BadArgs";
}

/** What the schemas made of the arguments. */
export interface Checked {
  readonly args: unknown;
  readonly kwargs: unknown;
}

/** Throws BadArgs, or its promise rejects with it; anything else that is thrown is the schema's own fault. */
export type ArgumentCheck = (args: Json[], kwargs: JsonObject) => Checked | Promise<Checked>;

export interface ArgumentSchemas {
  readonly args?: Schema | undefined;
  readonly kwargs?: Schema | undefined;
}

/** So many things that are wrong are named, of those that were found. */
const issuesShown = 5;

/** Null where nothing is to be checked. */
export const argumentCheck = (schemas: ArgumentSchemas): ArgumentCheck | null => {
  if (schemas.args === undefined && schemas.kwargs === undefined) return null;
  return (args, kwargs) => {
    const results = [validate(schemas.args, args), validate(schemas.kwargs, kwargs)] as const;
    const [argsResult, kwargsResult] = results;
    if (argsResult instanceof Promise || kwargsResult instanceof Promise) {
      return Promise.all(results).then(([first, second]) => checked(first, second));
    }
    return checked(argsResult, kwargsResult);
  };
};

const validate = (
  schema: Schema | undefined,
  value: unknown,
): SchemaResult<unknown> | Promise<SchemaResult<unknown>> =>
  schema === undefined ? { value } : schema["~standard"].validate(value);

const checked = (args: SchemaResult<unknown>, kwargs: SchemaResult<unknown>): Checked => {
  if (args.issues === undefined && kwargs.issues === undefined) return { args: args.value, kwargs: kwargs.value };
  const found = [...described("args", args.issues), ...described("kwargs", kwargs.issues)];
  const more = found.length > issuesShown ? `; and ${found.length - issuesShown} more` : "";
  throw new BadArgs(found.slice(0, issuesShown).join("; ") + more);
};

const described = (root: string, issues: readonly SchemaIssue[] = []): string[] =>
  issues.map(({ message, path = [] }) => `${root}${path.map(step).join("")}: ${message}`);

const step = (segment: NonNullable<SchemaIssue["path"]>[number]): string => {
  const key = typeof segment === "object" ? segment.key : segment;
  return typeof key === "number" ? `[${key}]` : `.${String(key)}`;
};
