/**
 * The part of Standard Schema, version 1, that is needed to check a value, so that a task's arguments can be checked by
 * any library that has it (valibot, zod, arktype, …) or by a few lines of one's own. Source: https://standardschema.dev
 */
export interface Schema<Output = unknown> {
  readonly "~standard": {
    readonly version: 1;
    /** May be async. What it gives as `value` may be another one than it was given. */
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>;
  };
}

export type SchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly SchemaIssue[] };

export interface SchemaIssue {
  readonly message: string;
  /** The way from the value to what is wrong in it: keys and indexes, or objects that have one. */
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** Some libraries' schemas are functions. */
export const isSchema = (value: unknown): value is Schema => {
  if ((typeof value !== "object" && typeof value !== "function") || value === null || !("~standard" in value)) {
    return false;
  }
  const standard = value["~standard"];
  if (typeof standard !== "object" || standard === null || !("version" in standard) || !("validate" in standard)) {
    return false;
  }
  return standard.version === 1 && typeof standard.validate === "function";
};
