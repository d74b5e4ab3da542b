/** What an engine answers: how it is encoded, and what a requestor makes of it. Frames here are without the envelope. */
import * as v from "valibot";
import { type ErrorBody, type ErrorCode, ProtocolError } from "./errors.ts";
import { plainResult } from "./fast-validate.ts";
import { type Frame, textOf } from "./frame.ts";
import { badFrame, checkFrame, decodeMeta, decodeObject, type Meta, metaText } from "./frames.ts";
import type { Json } from "./json.ts";
import { lazily } from "./lazily.ts";

/** One part of a batch's answer. */
export type ReplyPart = { readonly data: Json } | { readonly error: ErrorBody };

export type Reply =
  | { readonly kind: "ack"; readonly meta: Meta; readonly data: Json | undefined }
  /** The answer to a batch, in the order asked. */
  | { readonly kind: "batch"; readonly meta: Meta; readonly parts: readonly ReplyPart[] }
  /** Not the last word: more is to come for this serial. */
  | { readonly kind: "progress"; readonly meta: Meta; readonly data: Json }
  /** Nor this: the job ends as DEADMAN unless its requestor says KEEPALIVE more often than each `deadmanMs`. */
  | { readonly kind: "keepAlive"; readonly meta: Meta; readonly deadmanMs: number }
  | { readonly kind: "error"; readonly meta: Meta; readonly error: ErrorBody };

const keepAliveSchema = lazily(() => v.object({ deadmanMs: v.pipe(v.number(), v.minValue(1)) }));
const errorBodySchema = lazily(() => v.object({ code: v.string(), message: v.string() }));
export const replyDataSchema = lazily(() =>
  v.object({
    data: v.optional(v.unknown()),
    error: v.optional(errorBodySchema()),
    pack: v.number(),
  }),
);

/** Any frames in, a reply or the reason why it is none out; never an exception. */
export const decodeReply = (frames: readonly Frame[]): Reply | ProtocolError => {
  const [metaBytes, ...rest] = frames;
  if (metaBytes === undefined) return badFrame("META", "missing");
  const meta = decodeMeta(metaBytes);
  if (meta instanceof ProtocolError) return meta;
  const parts: ReplyPart[] = [];
  for (const [index, bytes] of rest.entries()) {
    const part = decodePart(bytes, `frame ${index + 2}`);
    if (part instanceof ProtocolError) return part;
    parts.push(part);
  }
  return replyOf(meta, parts);
};

const replyOf = (meta: Meta, parts: readonly ReplyPart[]): Reply | ProtocolError => {
  const [first] = parts;
  const data = first !== undefined && "data" in first ? first.data : undefined;
  switch (meta.type) {
    case "ACK":
      return parts.length > 1 || (first !== undefined && "error" in first)
        ? { kind: "batch", meta, parts }
        : { kind: "ack", meta, data };
    case "PROGRESS":
      return { kind: "progress", meta, data: data ?? null };
    case "KEEPALIVE": {
      const wish = checkFrame(keepAliveSchema, data, "DATA.data");
      return wish instanceof ProtocolError ? wish : { kind: "keepAlive", meta, deadmanMs: wish.deadmanMs };
    }
    case "ERR": {
      const error = checkFrame(errorBodySchema, data, "DATA.data");
      if (error instanceof ProtocolError) return error;
      return { kind: "error", meta, error: { code: error.code as ErrorCode, message: error.message } };
    }
    default:
      return badFrame(
        "META.type",
        `${JSON.stringify(meta.type.slice(0, 64))} is not one of ACK, ERR, PROGRESS, KEEPALIVE`,
      );
  }
};

const decodePart = (frame: Frame, label: string): ReplyPart | ProtocolError => {
  const value = decodeObject(frame, label);
  if (value instanceof ProtocolError) return value;
  const part = plainResult(value) ?? checkFrame(replyDataSchema, value, label);
  if (part instanceof ProtocolError) return part;
  if (part.error !== undefined) return { error: { code: part.error.code as ErrorCode, message: part.error.message } };
  if (part.data === undefined) return badFrame(label, "has neither `data` nor `error`");
  return { data: part.data as Json };
};

/* ── What the engine encodes ─────────────────────────────────────────────────────────────────────────────────────── */

export type ReplyType = "ACK" | "ERR" | "PROGRESS" | "KEEPALIVE";

/** Who answers, in the version of the question. */
export const encodeReplyMeta = (id: string, type: ReplyType, version: Meta["version"], serial?: string): string =>
  metaText(id, "responder", version, type, version === 0.1 ? undefined : serial);

/** A part of a batch that failed, made of the DATA frame that an ERR would have carried. */
export const partFromError = (errorFrame: Frame): string => {
  const { data, pack } = JSON.parse(textOf(errorFrame)) as { data: ErrorBody; pack: number };
  return JSON.stringify({ error: data, pack });
};
