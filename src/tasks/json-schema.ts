/** JSON Schemas of the arguments of tasks, for programs that ask a person for them. */
import { argumentSchemaBytesMax, argumentSchemasBytesMax } from "../limits.ts";
import { isJsonObject, type JsonObject, parseJson } from "../protocol/json.ts";
import type { ArgumentSchema, Policy } from "../protocol/policy.ts";
import type { ArgumentSchemas, Schema } from "./arguments.ts";
import type { Registry } from "./task.ts";

/**
 * The part of Standard JSON Schema, version 1, that this needs: zod's and arktype's schemas have
 * it, and those that `toStandardJsonSchema` of `@valibot/to-json-schema` makes of valibot's.
 * Source: https://standardschema.dev/json-schema
 */
interface JsonSchemaConverter {
  /** The schema of what is validated. Throws where JSON Schema cannot say it. */
  readonly input: (options: { readonly target: string }) => unknown;
}

const target = "draft-2020-12";

/** Lists and objects around a schema in READY, and in the answer to CONTROL `tasks`. */
const outerDepth = 8;

/**
 * The schemas of `args` and of `kwargs`, each where it can be said. Null if there is neither, or if
 * they are too large to travel.
 */
export const argumentSchemaOf = ({ args, kwargs }: ArgumentSchemas): ArgumentSchema | null => {
  const said = { args: jsonSchemaOf(args), kwargs: jsonSchemaOf(kwargs) };
  if (said.args === null && said.kwargs === null) return null;
  const schema: ArgumentSchema = {
    ...(said.args !== null && { args: said.args }),
    ...(said.kwargs !== null && { kwargs: said.kwargs }),
  };
  return bytesOf(schema) > argumentSchemaBytesMax ? null : schema;
};

const jsonSchemaOf = (schema: Schema | undefined): JsonObject | null => {
  const standard: (Schema["~standard"] & { readonly jsonSchema?: Partial<JsonSchemaConverter> }) | undefined =
    schema?.["~standard"];
  try {
    const made = standard?.jsonSchema?.input?.({ target });
    if (!isJsonObject(made)) return null;
    const text = JSON.stringify(made);
    // A worker whose READY the router does not take could not join, so its own rules hold here.
    parseJson("[".repeat(outerDepth) + text + "]".repeat(outerDepth));
    return JSON.parse(text);
  } catch {
    // A schema is only a hint: one that its library cannot give as JSON is left out.
    return null;
  }
};

const bytesOf = (schema: ArgumentSchema): number => Buffer.byteLength(JSON.stringify(schema));

/** A task as READY and the scan list it. */
export type ListedTask = { readonly name: string; readonly schema?: ArgumentSchema } & Policy;

/** All tasks, with schemas as long as all of them together are not too large. */
export const listTasks = (registry: Registry): ListedTask[] => {
  let bytes = 0;
  return [...registry.values()].map(({ name, schema, policy }) => {
    bytes += schema === null ? 0 : bytesOf(schema);
    return { name, ...(schema !== null && bytes <= argumentSchemasBytesMax && { schema }), ...policy };
  });
};
