/**
 * The frames that a message is made of, as valibot schemas, and what makes bytes of them and of them bytes.
 * META, TASK and DATA are the same in both protocol versions; PROTOCOL.md has them in full.
 */
import * as v from "valibot";
import { errorMessageLengthMax, frameBytesMax, nameLengthMax, serialLengthMax } from "../limits.ts";
import { type ErrorBody, type ErrorCode, ProtocolError } from "./errors.ts";
import { isText, plainMeta, plainTask, plainTaskWithoutOptions } from "./fast-validate.ts";
import { type Frame, isLonger, sizeOf, textOf } from "./frame.ts";
import { type Json, JsonError, type JsonObject, parseJson } from "./json.ts";
import { jsonText, quoted } from "./json-encode.ts";
import { lazily } from "./lazily.ts";
import { familiarMeta, learnMeta } from "./meta-cache.ts";
import { optionsSchema, type TaskOptions } from "./policy.ts";

export const protocolVersions = [0.1, 0.2] as const;
export type ProtocolVersion = (typeof protocolVersions)[number];

/** seconds since 1970, with fractions: a frame's `pack`. */
export type PackSeconds = number;

const name = lazily(() =>
  v.pipe(v.string(), v.nonEmpty("is empty"), v.maxLength(nameLengthMax, `is longer than ${nameLengthMax} characters`)),
);

export const metaSchema = lazily(() =>
  v.object({
    id: v.pipe(v.string(), v.maxLength(nameLengthMax)),
    role: v.pipe(v.string(), v.maxLength(nameLengthMax)),
    version: v.union([v.number(), v.string()]),
    type: v.string(),
    pack: v.number(),
    serial: v.optional(v.pipe(v.string(), v.nonEmpty(), v.maxLength(serialLengthMax))),
  }),
);

export const taskSchema = lazily(() =>
  v.object({
    task: name(),
    args: v.array(v.unknown()),
    kwargs: v.custom<JsonObject>(
      (value) => typeof value === "object" && value !== null && !Array.isArray(value),
      "Invalid type: Expected Object",
    ),
    pack: v.number(),
  }),
);

/** v0.2; to v0.1 `options` are a field like any other that it does not know. */
export const taskSchemaWithOptions = lazily(() =>
  v.object({ ...taskSchema().entries, options: v.optional(optionsSchema()) }),
);

export const dataSchema = lazily(() =>
  v.object({
    data: v.custom<Json>((value) => value !== undefined, "Invalid key: Expected a value"),
    pack: v.number(),
    /** v0.2; without it META's `id` is the topic. */
    topic: v.optional(name()),
  }),
);

/** What recognizes most frames of these without valibot. */
const plainOf: ReadonlyMap<() => v.GenericSchema, (frame: JsonObject) => unknown> = new Map<
  () => v.GenericSchema,
  (frame: JsonObject) => unknown
>([
  [metaSchema, plainMeta],
  [taskSchema, plainTask],
  [taskSchemaWithOptions, plainTaskWithoutOptions],
]);

export interface Meta {
  readonly id: string;
  readonly role: string;
  readonly version: ProtocolVersion;
  readonly type: string;
  readonly pack: PackSeconds;
  readonly serial?: string;
}
export interface Task {
  readonly task: string;
  readonly args: Json[];
  readonly kwargs: JsonObject;
  readonly pack: PackSeconds;
  readonly options?: TaskOptions;
}
export interface Data {
  readonly data: Json;
  readonly pack: PackSeconds;
  readonly topic?: string;
}

/** `task_count`, `TASK_count` and `count` name one task: `count`. */
export const taskName = (written: string): string =>
  written.startsWith("task_") || written.startsWith("TASK_") ? written.slice(5) : written;

export const packNow = (): PackSeconds => Date.now() / 1000;

let stampedMs = 0;
let stamp = "0";

/** The same as text: to write a number down takes longer than to see that it is still the last one. */
export const packText = (): string => {
  const now = Date.now();
  if (now !== stampedMs) {
    stampedMs = now;
    stamp = `${now / 1000}`;
  }
  return stamp;
};

/**
 * A frame's object, before its schema. `label` is what the frame is called in the error: `META`, `frame 2`.
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
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    const kind = value === null ? "null" : Array.isArray(value) ? "a list" : `a ${typeof value}`;
    return badFrame(label, `${kind}, not an object`);
  }
  return value;
};

export const badFrame = (label: string, problem: string): ProtocolError =>
  new ProtocolError("BAD_FRAME", shorten(`${label}: ${problem}`));

/** Holds `value` against `schema`; an error names the frame and the field: `META.pack: …`. */
export const checkFrame = <Schema extends v.GenericSchema>(
  schema: () => Schema,
  value: unknown,
  label: string,
): v.InferOutput<Schema> | ProtocolError => {
  const plain = plainOf.get(schema)?.(value as JsonObject);
  if (plain !== undefined) return plain;
  const result = v.safeParse(schema(), value, { abortEarly: true });
  if (result.success) return result.output;
  const [issue] = result.issues;
  const path = v.getDotPath(issue);
  return badFrame(path === null ? label : `${label}.${path}`, issue.message);
};

export const decodeMeta = (frame: Frame): Meta | ProtocolError => {
  const familiar = typeof frame === "string" ? familiarMeta(frame) : undefined;
  if (familiar !== undefined) return familiar;
  const meta = parseMeta(frame);
  if (typeof frame === "string" && !(meta instanceof ProtocolError)) learnMeta(frame, meta);
  return meta;
};

const parseMeta = (frame: Frame): Meta | ProtocolError => {
  const value = decodeObject(frame, "META");
  if (value instanceof ProtocolError) return value;
  const meta = checkFrame(metaSchema, value, "META");
  if (meta instanceof ProtocolError) return meta;
  const version = protocolVersions.find((known) => known === meta.version || String(known) === meta.version);
  if (version === undefined) {
    return new ProtocolError(
      "UNSUPPORTED_VERSION",
      shorten(
        `META.version: ${JSON.stringify(meta.version)} is not one of ${protocolVersions.join(", ")}, which are spoken here`,
      ),
    );
  }
  return (version === meta.version ? meta : { ...meta, version }) as Meta;
};

/** How a message is answered that came with a META: in its version and, but for 0.1, under its serial. */
export type Addressing = Pick<Meta, "version" | "serial">;

/**
 * As much of it as a frame says that is not right as META; null where that is nothing. Whoever speaks a version that is not
 * known here, or has a serial, knows 0.2.
 */
export const addressingOf = (frame: Frame): Addressing | null => {
  if (isLonger(frame, frameBytesMax)) return null;
  let value: unknown;
  try {
    value = JSON.parse(textOf(frame));
  } catch {
    return null;
  }
  const { version, serial } = (value ?? {}) as Partial<Record<keyof Addressing, unknown>>;
  if (version === 0.1 || version === "0.1") return { version: 0.1 };
  if (isText(serial, serialLengthMax) && serial !== "") return { version: 0.2, serial };
  return typeof version === "number" || typeof version === "string" ? { version: 0.2 } : null;
};

/** META of now, as text. Put together by hand: as an object it would take JSON.stringify several times as long. */
export const metaText = (
  id: string,
  role: "requestor" | "responder",
  version: ProtocolVersion,
  type: string,
  serial?: string,
): string => {
  const end = serial === undefined ? "}" : `,"serial":${quoted(serial)}}`;
  return `{"id":${quoted(id)},"role":"${role}","version":${version},"type":"${type}","pack":${packText()}${end}`;
};

export const encodeMeta = (meta: Meta): string => JSON.stringify(meta);

/** A DATA frame of now, of what the engine itself has to say. */
export const encodeData = (data: unknown): string => `{"data":${JSON.stringify(data)},"pack":${packText()}}`;

/**
 * The same of a value that somebody else has made. Throws JsonError for one that JSON cannot say.
 * @param name what the value is called in an error
 */
export const encodeValue = (value: unknown, name: string): string =>
  `{"data":${jsonText(value, name, 1)},"pack":${packText()}}`;

/** The DATA frame of an ERR. */
export const encodeError = (code: ErrorCode, message: string): string => {
  const data: ErrorBody = { code, message: shorten(message) };
  return encodeData(data);
};

/** Keeps a message to a person in bounds. */
export const shorten = (message: string): string =>
  message.length <= errorMessageLengthMax ? message : `${message.slice(0, errorMessageLengthMax - 1)}…`;
