/** The replies of an engine, encoded and decoded; frames here are without the envelope. */
import * as v from "valibot";
import { type ErrorBody, type ErrorCode, ProtocolError } from "./errors.ts";
import { asBuffer, type Frame, textOf } from "./frame.ts";
import { decodeMeta, type Meta, metaText } from "./frames.ts";
import type { Json, JsonObject } from "./json.ts";
import { badFrame, checkFrame, decodeObject, lazily } from "./schema.ts";
import { type BinaryType, decodeResultType, mistakeInType, typeText } from "./values.ts";

/** One part of the reply to a batch. */
export type ReplyPart = { readonly data: Json } | { readonly error: ErrorBody };

export type Reply =
  | { readonly kind: "ack"; readonly meta: Meta; readonly data: Json | undefined }
  /** The result of a task that is not JSON, in version 0.3. */
  | { readonly kind: "binary"; readonly meta: Meta; readonly type: BinaryType; readonly bytes: Buffer }
  /** The reply to a batch, in the order of its parts. */
  | { readonly kind: "batch"; readonly meta: Meta; readonly parts: readonly ReplyPart[] }
  /** A reply of PROGRESS is not terminal. */
  | { readonly kind: "progress"; readonly meta: Meta; readonly data: Json }
  /**
   * This reply is not terminal: the job ends as DEADMAN unless its requestor sends KEEPALIVE more
   * often than each `deadmanMs`.
   */
  | { readonly kind: "keepAlive"; readonly meta: Meta; readonly deadmanMs: number }
  /** The terminal reply to a request with `detach`: the job goes on without its requestor. */
  | { readonly kind: "accepted"; readonly meta: Meta; readonly job: AcceptedJob }
  | { readonly kind: "error"; readonly meta: Meta; readonly error: ErrorBody };

const acceptedSchema = lazily(() =>
  v.object({
    /** Its id. */
    job: v.string(),
    /** A word of the diagram of states. */
    state: v.string(),
    /** It is an earlier job of the same `unique` key. */
    existing: v.boolean(),
  }),
);
export type AcceptedJob = Readonly<v.InferOutput<ReturnType<typeof acceptedSchema>>>;

const keepAliveSchema = lazily(() => v.object({ deadmanMs: v.pipe(v.number(), v.minValue(1)) }));
const errorBodySchema = lazily(() => v.object({ code: v.string(), message: v.string() }));
export const replyDataSchema = lazily(() =>
  v.object({
    data: v.optional(v.unknown()),
    error: v.optional(errorBodySchema()),
    pack: v.number(),
  }),
);

/** A reply's DATA frame without an error; see `frames.ts`. */
export const fastResult = ({ data, error, pack }: JsonObject) =>
  error === undefined && data !== undefined && typeof pack === "number" ? { data, pack, error } : undefined;

/** Returns the reason for frames that are no reply, and never throws. */
export const decodeReply = (frames: readonly Frame[]): Reply | ProtocolError => {
  const [metaBytes, ...rest] = frames;
  if (metaBytes === undefined) return badFrame("META", "missing");
  const meta = decodeMeta(metaBytes);
  if (meta instanceof ProtocolError) return meta;
  if (meta.version === 0.3 && meta.type === "ACK" && rest.length === 1) {
    const binary = binaryReply(meta, metaBytes, rest[0] ?? "");
    if (binary !== null) return binary;
  }
  const parts: ReplyPart[] = [];
  for (const bytes of rest) {
    const part = decodePart(bytes, `frame ${parts.length + 2}`);
    if (part instanceof ProtocolError) return part;
    parts.push(part);
  }
  return replyOf(meta, parts);
};

/** A field of a binary value's type in META, or an escape, which may spell one. */
const saysType = /"(?:contentType|dtype|shape)"|\\/;

/** null for a reply of JSON. */
const binaryReply = (meta: Meta, metaBytes: Frame, body: Frame): Reply | ProtocolError | null => {
  // Most results are JSON, and META is parsed a second time for its type.
  if (!saysType.test(textOf(metaBytes))) return null;
  const type = decodeResultType(metaBytes);
  if (type instanceof ProtocolError) return type;
  const { contentType } = type;
  if (contentType === undefined) return mistakeInType(type, 0);
  const bytes = typeof body === "string" ? Buffer.from(body) : asBuffer(body);
  return mistakeInType(type, bytes.length) ?? { kind: "binary", meta, type: { ...type, contentType }, bytes };
};

const replyOf = (meta: Meta, parts: readonly ReplyPart[]): Reply | ProtocolError => {
  const [first] = parts;
  const data = first !== undefined && "data" in first ? first.data : undefined;
  switch (meta.type) {
    case "ACK":
      return parts.length > 1 || (first !== undefined && "error" in first)
        ? { kind: "batch", meta, parts }
        : { kind: "ack", meta, data };
    case "ACCEPTED": {
      const job = checkFrame(acceptedSchema, data, "DATA.data");
      return job instanceof ProtocolError ? job : { kind: "accepted", meta, job };
    }
    case "PROGRESS":
      return { kind: "progress", meta, data: data ?? null };
    case "KEEPALIVE": {
      const checked = checkFrame(keepAliveSchema, data, "DATA.data");
      return checked instanceof ProtocolError ? checked : { kind: "keepAlive", meta, deadmanMs: checked.deadmanMs };
    }
    case "ERR": {
      const error = checkFrame(errorBodySchema, data, "DATA.data");
      if (error instanceof ProtocolError) return error;
      return { kind: "error", meta, error: { code: error.code as ErrorCode, message: error.message } };
    }
    default:
      return badFrame(
        "META.type",
        `${JSON.stringify(meta.type.slice(0, 64))} is not one of ACK, ACCEPTED, ERR, PROGRESS, KEEPALIVE`,
      );
  }
};

const decodePart = (frame: Frame, label: string): ReplyPart | ProtocolError => {
  const value = decodeObject(frame, label);
  if (value instanceof ProtocolError) return value;
  const part = fastResult(value) ?? checkFrame(replyDataSchema, value, label);
  if (part instanceof ProtocolError) return part;
  if (part.error !== undefined) return { error: { code: part.error.code as ErrorCode, message: part.error.message } };
  if (part.data === undefined) return badFrame(label, "has neither `data` nor `error`");
  return { data: part.data as Json };
};

export type ReplyType = "ACK" | "ACCEPTED" | "ERR" | "PROGRESS" | "KEEPALIVE";

/** META of a reply, in the version of its request. */
export const encodeReplyMeta = (id: string, type: ReplyType, version: Meta["version"], serial?: string): string =>
  metaText(id, "responder", version, type, version === 0.1 ? undefined : serial);

/** META of the reply, of version 0.3, whose second frame has the bytes of a binary result. */
export const encodeBinaryMeta = (id: string, result: BinaryType, serial?: string): string =>
  `${metaText(id, "responder", 0.3, "ACK", serial).slice(0, -1)}${typeText(result)}}`;

/**
 * Why a requestor cannot take a binary result: null if it can. Version 0.1 has no results at all,
 * and so nothing to refuse.
 */
export const refusalOfBinary = ({ contentType }: BinaryType, version: Meta["version"], parts: number): string | null =>
  version === 0.1 || (version === 0.3 && parts === 1)
    ? null
    : `the result is ${contentType}; only a request of version 0.3 outside a batch can take it ` +
      "({ binary: true } in the TypeScript client)";

/** The frame of a failed part of a batch, made of the DATA frame of an ERR. */
export const partFromError = (errorFrame: Frame): string => {
  const { data, pack } = JSON.parse(textOf(errorFrame)) as { data: ErrorBody; pack: number };
  return JSON.stringify({ error: data, pack });
};
