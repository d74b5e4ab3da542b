/** The arguments of a job, checked by the schemas of its task before it runs. */
import type { Json, JsonObject } from "../protocol/json.ts";

/**
 * The part of Standard Schema, version 1, that checks a value: valibot, zod, arktype and others
 * have it, and a few lines of a task's own can. Source: https://standardschema.dev
 */
export interface Schema<Output = unknown> {
  readonly "~standard": {
    readonly version: 1;
    /** May be async. The `value` of the result may differ from the one given. */
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>;
  };
}

type SchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly SchemaIssue[] };

interface SchemaIssue {
  readonly message: string;
  /** The way from the value to what is wrong in it: keys and indexes, or objects that have one. */
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** Some libraries' schemas are functions. */
export const isSchema = (value: unknown): value is Schema => {
  const isObject = (it: unknown): it is object => typeof it === "object" && it !== null;
  if ((!isObject(value) && typeof value !== "function") || !("~standard" in value)) return false;
  const standard = value["~standard"];
  if (!isObject(standard) || !("version" in standard) || !("validate" in standard)) return false;
  return standard.version === 1 && typeof standard.validate === "function";
};

/** Wrong arguments; `message` names each of them for a person: `args[0]: …`. */
export class BadArgs extends Error {
  override readonly name = "BadArgs";
}

/** The output of the schemas; only the task knows its type. */
export interface CheckedArguments {
  readonly args: unknown;
  readonly kwargs: unknown;
}

/** Throws or rejects with BadArgs, or with anything else for a fault of the schema itself. */
export type ArgumentCheck = (args: Json[], kwargs: JsonObject) => CheckedArguments | Promise<CheckedArguments>;

export interface ArgumentSchemas {
  readonly args?: Schema | undefined;
  readonly kwargs?: Schema | undefined;
}

/** Number of issues that a BadArgs names. */
const issuesShown = 5;

/** Returns null for a task without schemas. */
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

const checked = (args: SchemaResult<unknown>, kwargs: SchemaResult<unknown>): CheckedArguments => {
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
