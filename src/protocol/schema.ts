/** Checks of untrusted bytes: JSON first, then a valibot schema. */
import * as v from "valibot";
import { frameBytesMax, nameLengthMax } from "../limits.ts";
import { ProtocolError, shorten } from "./errors.ts";
import { type Frame, isLonger, sizeOf } from "./frame.ts";
import { isJsonObject, type Json, JsonError, type JsonObject, parseJson } from "./json.ts";

/**
 * Makes a value at its first use. Most processes never need most schemas, and making one takes
 * longer than a check: without this every command would start later.
 */
export const lazily = <Made>(make: () => Made): (() => Made) => {
  let made: { readonly value: Made } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
};

/** The header of one type of message, and how to check it. */
export interface HeaderSchema<Type extends string, Schema extends v.GenericSchema> {
  readonly type: Type;
  readonly schema: () => Schema;
}

/**
 * Its schema is made when the first header of this type comes; `entries` are those beside `type`.
 */
export const headerSchema = <const Type extends string, Entries extends v.ObjectEntries = Record<never, never>>(
  type: Type,
  entries?: () => Entries,
) => ({ type, schema: lazily(() => v.object({ type: v.literal(type), ...(entries?.() as Entries) })) });

/** The name of a task, a topic or a resource. */
export const nameSchema = lazily(() =>
  v.pipe(v.string(), v.nonEmpty("is empty"), v.maxLength(nameLengthMax, `is longer than ${nameLengthMax} characters`)),
);

/**
 * A frame's object, before its schema. `label` is the frame's name in the error: `META`, `frame 2`.
 */
export const decodeObject = (frame: Frame, label: string): JsonObject | ProtocolError => {
  if (isLonger(frame, frameBytesMax)) {
    return new ProtocolError("TOO_LARGE", `${label}: ${sizeOf(frame)} bytes, the limit is ${frameBytesMax}`);
  }
  let value: Json;
  try {
    value = parseJson(frame);
  } catch (error) {
    if (error instanceof JsonError) return badFrame(label, error.message);
    throw error;
  }
  if (!isJsonObject(value)) {
    const kind = value === null ? "null" : Array.isArray(value) ? "a list" : `a ${typeof value}`;
    return badFrame(label, `${kind}, not an object`);
  }
  return value;
};

/** Checks `value` against `schema`. An error names the frame and the field: `META.pack: …`. */
export const checkFrame = <Schema extends v.GenericSchema>(
  schema: () => Schema,
  value: unknown,
  label: string,
): v.InferOutput<Schema> | ProtocolError => {
  const result = v.safeParse(schema(), value, { abortEarly: true });
  if (result.success) return result.output;
  const [issue] = result.issues;
  const path = v.getDotPath(issue);
  return badFrame(path === null ? label : `${label}.${path}`, issue.message);
};

export const badFrame = (label: string, problem: string): ProtocolError =>
  new ProtocolError("BAD_FRAME", shorten(`${label}: ${problem}`));
