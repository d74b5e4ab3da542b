/**
 * Values of the data plane as they travel: `[topic, META, payload]`, PROTOCOL.md 0.3.
 *
 * The data worker forwards a publisher's META as it came, behind a prefix of fixed length with the
 * value's place in its topic. So forwarding decodes nothing, and a reader finds `seq` at a fixed
 * place.
 */
import * as v from "valibot";
import { nameLengthMax, serialLengthMax } from "../limits.ts";
import { ProtocolError } from "./errors.ts";
import type { Frame } from "./frame.ts";
import type { PackSeconds } from "./frames.ts";
import { JsonError, openBrace, parseJson } from "./json.ts";
import { quoted } from "./json-encode.ts";
import { badFrame, checkFrame, decodeObject, lazily } from "./schema.ts";

/** How a payload that is not JSON is to be read. */
export interface PayloadType {
  /** As in HTTP: `image/jpeg`. JSON if there is none. */
  readonly contentType?: string | undefined;
  /** With `application/octet-stream`: the type of the array's items, little endian. */
  readonly dtype?: ItemType | undefined;
  /** With `dtype`: the length of each dimension. */
  readonly shape?: readonly number[] | undefined;
}

/** How the bytes of a task's binary result are to be read. */
export interface BinaryType extends PayloadType {
  readonly contentType: string;
}

/** bytes of an item. */
const itemBytes = {
  bool: 1,
  int8: 1,
  uint8: 1,
  int16: 2,
  uint16: 2,
  float16: 2,
  int32: 4,
  uint32: 4,
  float32: 4,
  int64: 8,
  uint64: 8,
  float64: 8,
} as const;
export type ItemType = keyof typeof itemBytes;

const dimensionsMax = 8;
/** The contentType of an array, whose items `dtype` names. */
export const arrayType = "application/octet-stream";

/** RFC 9110, 8.3.1: type, subtype and parameters, which are passed on unread. */
const contentTypePattern = /^[\w!#$&^.+-]+\/[\w!#$&^.+-]+([ \t]*;[ -~]*)?$/;

export const isContentType = (text: string): boolean => text.length <= nameLengthMax && contentTypePattern.test(text);

const typeEntries = () => ({
  contentType: v.optional(
    v.pipe(v.string(), v.maxLength(nameLengthMax), v.regex(contentTypePattern, "not of the form image/jpeg")),
  ),
  dtype: v.optional(v.picklist(Object.keys(itemBytes) as ItemType[])),
  shape: v.optional(v.pipe(v.array(v.pipe(v.number(), v.safeInteger(), v.minValue(0))), v.maxLength(dimensionsMax))),
});

/** A BinaryType, as it travels from a worker. */
export const binaryTypeSchema = lazily(() => {
  const { contentType, ...entries } = typeEntries();
  return v.object({ contentType: contentType.wrapped, ...entries });
});

/** META of the reply with a task's result. */
const resultMetaSchema = lazily(() => v.object(typeEntries()));

/** How the frame after the META of a result is to be read. */
export const decodeResultType = (meta: Frame): PayloadType | ProtocolError => {
  const value = decodeObject(meta, "META");
  return value instanceof ProtocolError ? value : checkFrame(resultMetaSchema, value, "META");
};

/** META of a value as a publisher writes it. */
const publicationSchema = lazily(() =>
  v.object({
    version: v.literal(0.3),
    type: v.literal("DATA"),
    pack: v.number(),
    serial: v.optional(v.pipe(v.string(), v.nonEmpty(), v.maxLength(serialLengthMax))),
    seq: v.optional(v.undefined_("the data worker writes it")),
    epoch: v.optional(v.undefined_("the data worker writes it")),
    ...typeEntries(),
  }),
);

interface Publication extends PayloadType {
  readonly pack: PackSeconds;
  /** Asks for an acknowledgement. */
  readonly serial?: string | undefined;
}

/** Checks META of a publication and the length of its payload. */
export const decodePublication = (meta: Frame, payloadBytes: number): Publication | ProtocolError => {
  const value = decodeObject(meta, "META");
  if (value instanceof ProtocolError) return value;
  // The prefix takes the place of this brace, so nothing may stand before it.
  if (meta[0] !== (typeof meta === "string" ? "{" : openBrace)) return badFrame("META", "does not begin with {");
  const checked = checkFrame(publicationSchema, value, "META");
  if (checked instanceof ProtocolError) return checked;
  return mistakeInType(checked, payloadBytes) ?? checked;
};

/** The serial of META that is no valid publication, so that its refusal finds who waits for it. */
export const serialOf = (meta: Frame): string | undefined => {
  const value = decodeObject(meta, "META");
  const serial = value instanceof ProtocolError ? undefined : value.serial;
  return typeof serial === "string" && serial !== "" && serial.length <= serialLengthMax ? serial : undefined;
};

/** null for none. A payload that is not JSON is not looked at. */
export const mistakeInPayload = ({ contentType }: PayloadType, payload: Frame): ProtocolError | null => {
  if (contentType !== undefined) return null;
  try {
    parseJson(payload);
    return null;
  } catch (error) {
    if (error instanceof JsonError) return badFrame("payload", error.message);
    throw error;
  }
};

/** null for none. */
export const mistakeInType = (
  { contentType, dtype, shape }: PayloadType,
  payloadBytes: number,
): ProtocolError | null => {
  if (dtype === undefined && shape === undefined) return null;
  if (contentType !== arrayType) return badFrame("META.dtype", `only with the contentType ${arrayType}`);
  if (dtype === undefined) return badFrame("META.shape", "only with dtype");
  const items = shape?.reduce((product, length) => product * length, 1) ?? payloadBytes / itemBytes[dtype];
  const bytes = items * itemBytes[dtype];
  if (Number.isInteger(items) && bytes === payloadBytes) return null;
  const expected = shape === undefined ? `a multiple of ${itemBytes[dtype]}` : `${bytes}`;
  return badFrame("payload", `${payloadBytes} bytes, where dtype and shape ask for ${expected}`);
};

/**
 * META of a publication. Without a type it is the same text for all values of a millisecond.
 * @param pack text of the time that the value has, if that is not now
 */
export const encodePublicationMeta = (type: PayloadType | null, serial?: string, pack?: string): string => {
  const now = Date.now();
  if (now !== stampedMs) stampMeta(now);
  if (type === null && serial === undefined && pack === undefined) return plainMeta;
  const end = serial === undefined ? "}" : `,"serial":${quoted(serial)}}`;
  return `{"version":0.3,"type":"DATA"${type === null ? "" : typeText(type)},"pack":${pack ?? stamp}${end}`;
};

let stampedMs = 0;
let stamp = "0.000";
let plainMeta = "";

/** `pack` always has three decimals, so that the data worker need not decode META of each value. */
const stampMeta = (now: number): void => {
  stampedMs = now;
  stamp = (now / 1000).toFixed(3);
  plainMeta = `{"version":0.3,"type":"DATA","pack":${stamp}}`;
};

/** The keys of META, each with a comma before it. */
export const typeText = ({ contentType, dtype, shape }: PayloadType): string =>
  (contentType === undefined ? "" : `,"contentType":${quoted(contentType)}`) +
  (dtype === undefined ? "" : `,"dtype":"${dtype}"`) +
  (shape === undefined ? "" : `,"shape":[${shape.join(",")}]`);

/* ── The prefix ── */

/** `{"seq":` */
const seqAt = 7;
const seqLength = 16;
const epochAt = seqAt + seqLength + ',"epoch":"'.length;
export const epochLength = 8;
/** bytes of the prefix, which takes the place of META's first brace. */
export const prefixLength = epochAt + epochLength + '",'.length;

/** @param seq 0, where `writeNextSeq` counts it */
export const seqPrefix = (epoch: string, seq = 0): string =>
  `{"seq":${`${seq}`.padStart(seqLength)},"epoch":"${epoch}",`;

const zero = 0x30;
const nine = 0x39;
const blank = 0x20;

/** Adds 1 to the digits of a prefix that begins at `start`: most times one byte changes. */
export const writeNextSeq = (bytes: Uint8Array, start: number): void => {
  for (let at = start + seqAt + seqLength - 1; ; at--) {
    const digit = bytes[at];
    if (digit !== nine) {
      bytes[at] = digit === blank ? zero + 1 : (digit ?? zero) + 1;
      return;
    }
    bytes[at] = zero;
  }
};

/** `seq` of META that begins at `start`; 0 if there is no prefix. */
export const readSeq = (bytes: Uint8Array, start: number, end: number): number => {
  if (end - start < prefixLength || bytes[start + 2] !== 0x73 || bytes[start + 3] !== 0x65) return 0;
  let seq = 0;
  for (let at = start + seqAt; at < start + seqAt + seqLength; at++) {
    const digit = bytes[at] ?? 0;
    if (digit >= zero && digit <= nine) seq = seq * 10 + digit - zero;
    else if (digit !== blank) return 0;
  }
  return seq;
};

/** `epoch` of META that begins at `start` and has a `seq`. */
export const readEpoch = (bytes: Buffer, start: number): string =>
  bytes.toString("latin1", start + epochAt, start + epochAt + epochLength);

/** The same of META as text. */
export const epochFrom = (meta: string): string =>
  meta.startsWith('{"seq":') ? meta.slice(epochAt, epochAt + epochLength) : "";

/** As `readEpoch(…) === epoch`, without making a text. */
export const hasEpoch = (bytes: Uint8Array, start: number, epoch: string): boolean => {
  for (let index = 0; index < epochLength; index++) {
    if (bytes[start + epochAt + index] !== epoch.charCodeAt(index)) return false;
  }
  return true;
};

/** META of a value as a subscriber gets it. */
const valueMetaSchema = lazily(() =>
  v.object({
    seq: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
    epoch: v.pipe(v.string(), v.length(epochLength)),
    pack: v.number(),
    ...typeEntries(),
  }),
);

export interface ValueMeta extends PayloadType {
  readonly seq: number;
  readonly epoch: string;
  readonly pack: PackSeconds;
}

export const decodeValueMeta = (meta: Frame): ValueMeta | ProtocolError => {
  const value = decodeObject(meta, "META");
  return value instanceof ProtocolError ? value : checkFrame(valueMetaSchema, value, "META");
};
