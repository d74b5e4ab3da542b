/**
 * The frames META, TASK and DATA, the same in both protocol versions; PROTOCOL.md describes them in
 * full.
 *
 * Most frames are valid, and a `fast…` function recognizes those without valibot, which takes
 * several times as long and would take a tenth of the engine's time. It returns what valibot would,
 * or undefined where valibot has to look. A test holds each against its schema.
 */
import * as v from "valibot";
import { frameBytesMax, nameLengthMax, onBehalfLengthMax, serialLengthMax } from "../limits.ts";
import { type ErrorBody, type ErrorCode, ProtocolError, shorten } from "./errors.ts";
import { type Frame, isLonger, textOf } from "./frame.ts";
import { isJsonObject, type Json, type JsonObject } from "./json.ts";
import { jsonText, quoted } from "./json-encode.ts";
import { MetaCache, type OnBehalf } from "./meta-cache.ts";
import { laterOptions, optionsSchema, type TaskOptions } from "./policy.ts";
import { badFrame, checkFrame, decodeObject, lazily, nameSchema } from "./schema.ts";

export type { OnBehalf };

const protocolVersions = [0.1, 0.2, 0.3] as const;
export type ProtocolVersion = (typeof protocolVersions)[number];

/** seconds since 1970, with fractions: a frame's `pack`. */
export type PackSeconds = number;

export const packNow = (): PackSeconds => Date.now() / 1000;

let stampedMs = 0;
let stamp = "0";

/**
 * `packNow` as text. Most frames are written in the same millisecond as the last one, and its text
 * serves again.
 */
export const packText = (): string => {
  const now = Date.now();
  if (now !== stampedMs) {
    stampedMs = now;
    stamp = `${now / 1000}`;
  }
  return stamp;
};

/* ── META ── */

export interface Meta {
  readonly id: string;
  readonly role: string;
  readonly version: ProtocolVersion;
  readonly type: string;
  readonly pack: PackSeconds;
  readonly serial?: string;
  /** v0.3: for whom a program with the right `delegate` asks. */
  readonly onBehalf?: OnBehalf;
}

const onBehalfSchema = lazily(() =>
  v.object({
    name: nameSchema(),
    rights: v.pipe(
      v.array(v.string()),
      v.nonEmpty(),
      v.check(
        (rights) => JSON.stringify(rights).length <= onBehalfLengthMax,
        `Invalid length: more than ${onBehalfLengthMax} characters`,
      ),
    ),
  }),
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

const isText = (value: unknown, lengthMax: number): value is string =>
  typeof value === "string" && value.length <= lengthMax;

export const fastMeta = ({ id, role, version, type, pack, serial }: JsonObject) => {
  if (!isText(id, nameLengthMax) || !isText(role, nameLengthMax) || typeof type !== "string") return undefined;
  if (typeof pack !== "number" || (typeof version !== "number" && typeof version !== "string")) return undefined;
  if (serial === undefined) return { id, role, version, type, pack };
  if (!isText(serial, serialLengthMax) || serial === "") return undefined;
  return { id, role, version, type, pack, serial };
};

const metaCache = new MetaCache<ProtocolVersion>();

export const decodeMeta = (frame: Frame): Meta | ProtocolError => {
  const cached = typeof frame === "string" ? metaCache.find(frame) : undefined;
  if (cached !== undefined) return cached;
  const meta = parseMeta(frame);
  if (typeof frame === "string" && !(meta instanceof ProtocolError)) metaCache.add(frame, meta);
  return meta;
};

const parseMeta = (frame: Frame): Meta | ProtocolError => {
  const value = decodeObject(frame, "META");
  if (value instanceof ProtocolError) return value;
  const meta = fastMeta(value) ?? checkFrame(metaSchema, value, "META");
  if (meta instanceof ProtocolError) return meta;
  const version = protocolVersions.find((known) => known === meta.version || String(known) === meta.version);
  if (version === undefined) {
    const known = protocolVersions.join(", ");
    const message = `META.version: ${JSON.stringify(meta.version)} is not one of ${known}, which this engine speaks`;
    return new ProtocolError("UNSUPPORTED_VERSION", shorten(message));
  }
  if (version === 0.3 && value.onBehalf !== undefined) {
    const onBehalf = checkFrame(onBehalfSchema, value.onBehalf, "META.onBehalf");
    return onBehalf instanceof ProtocolError ? onBehalf : ({ ...meta, version, onBehalf } as Meta);
  }
  return (version === meta.version ? meta : { ...meta, version }) as Meta;
};

/** The part of META that an answer needs: its version and, but for 0.1, its serial. */
export type Addressing = Pick<Meta, "version" | "serial">;

/**
 * The addressing of a frame that is not valid as META; null if it has none. A requestor that names
 * an unknown version, or has a serial, knows 0.2.
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
  const own = version === 0.3 || version === "0.3" ? 0.3 : 0.2;
  if (isText(serial, serialLengthMax) && serial !== "") return { version: own, serial };
  return typeof version === "number" || typeof version === "string" ? { version: own } : null;
};

/** META of now. JSON.stringify would take several times as long for the object. */
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

/* ── TASK ── */

export interface Task {
  readonly task: string;
  readonly args: Json[];
  readonly kwargs: JsonObject;
  readonly pack: PackSeconds;
  readonly options?: TaskOptions;
}

/** v0.1, which ignores `options` like any unknown field. */
export const taskSchema = lazily(() =>
  v.object({
    task: nameSchema(),
    args: v.array(v.unknown()),
    kwargs: v.custom<JsonObject>(isJsonObject, "Invalid type: Expected Object"),
    pack: v.number(),
  }),
);

/** v0.2 and 0.3 */
export const taskSchemaWithOptions = lazily(() =>
  v.object({ ...taskSchema().entries, options: v.optional(optionsSchema()) }),
);

/** Without `options`. */
export const fastTask = ({ task, args, kwargs, pack }: JsonObject) => {
  if (!isText(task, nameLengthMax) || task === "" || !Array.isArray(args) || typeof pack !== "number") return undefined;
  if (!isJsonObject(kwargs)) return undefined;
  return { task, args, kwargs, pack };
};

/** @param frame a TASK frame's object, in a message of this version */
export const checkTask = (frame: JsonObject, version: ProtocolVersion): Task | ProtocolError => {
  const checked =
    version === 0.1 || frame.options === undefined
      ? (fastTask(frame) ?? checkFrame(taskSchema, frame, "TASK"))
      : checkFrame(taskSchemaWithOptions, frame, "TASK");
  const task = checked as Task | ProtocolError;
  if (version !== 0.2 || task instanceof ProtocolError || task.options === undefined) return task;
  const { options } = task;
  const later = laterOptions.find((key) => options[key] !== undefined);
  return later === undefined ? task : badFrame(`TASK.options.${later}`, "takes version 0.3");
};

/** `task_count`, `TASK_count` and `count` name one task: `count`. */
export const taskName = (written: string): string =>
  written.startsWith("task_") || written.startsWith("TASK_") ? written.slice(5) : written;

/* ── DATA ── */

export interface Data {
  readonly data: Json;
  readonly pack: PackSeconds;
  readonly topic?: string;
}

export const dataSchema = lazily(() =>
  v.object({
    data: v.custom<Json>((value) => value !== undefined, "Invalid key: Expected a value"),
    pack: v.number(),
    /** v0.2; without it META's `id` is the topic. */
    topic: v.optional(nameSchema()),
  }),
);

/** A DATA frame of now, of a value that the engine made. */
export const encodeData = (data: unknown): string => `{"data":${JSON.stringify(data)},"pack":${packText()}}`;

/**
 * A DATA frame of now, of a value that a program made. Throws JsonError for one that JSON has no
 * text for.
 * @param name of the value, in errors
 */
export const encodeValue = (value: unknown, name: string): string =>
  `{"data":${jsonText(value, name, 1)},"pack":${packText()}}`;

/** A DATA frame of a JSON text. */
export const encodeDataText = (json: string): string => `{"data":${json},"pack":${packText()}}`;

/** The DATA frame of an ERR. */
export const encodeError = (code: ErrorCode, message: string): string => {
  const data: ErrorBody = { code, message: shorten(message) };
  return encodeData(data);
};
