/**
 * Messages between a data worker's stream port and its peers, other than values, PROTOCOL.md 0.3:
 * `["", META, DATA]`. The first frame, which is a topic's name in a value, is empty.
 */
import * as v from "valibot";
import {
  creditBytesMax,
  historyMsMax,
  historyValuesMax,
  maxHzMax,
  nameLengthMax,
  serialLengthMax,
  streamNamesMax,
} from "../limits.ts";
import { type ErrorBody, type ErrorCode, ProtocolError, shorten } from "./errors.ts";
import type { Frame } from "./frame.ts";
import { encodeData, packText } from "./frames.ts";
import type { Json } from "./json.ts";
import { quoted } from "./json-encode.ts";
import { badFrame, checkFrame, decodeObject, lazily, nameSchema } from "./schema.ts";

const types = ["SUBSCRIBE", "UNSUBSCRIBE", "CREDIT", "CONTROL"] as const;

const streamMetaSchema = lazily(() =>
  v.object({
    version: v.literal(0.3),
    type: v.picklist(types),
    pack: v.number(),
    serial: v.pipe(v.string(), v.nonEmpty(), v.maxLength(serialLengthMax)),
  }),
);

const bodySchema = lazily(() => v.object({ data: v.unknown(), pack: v.number() }));

const wholeNumber = (min: number, max: number) => v.pipe(v.number(), v.safeInteger(), v.minValue(min), v.maxValue(max));

/** bytes of values that may be on their way to the subscriber; the last of them may exceed it. */
const creditSchema = lazily(() => wholeNumber(1, creditBytesMax));

const subscribeSchema = lazily(() => {
  const names = v.optional(
    v.pipe(v.array(v.pipe(v.string(), v.maxLength(nameLengthMax))), v.maxLength(streamNamesMax)),
    [],
  );
  return v.pipe(
    v.object({
      /** Whole names. */
      topics: names,
      /** Beginnings of names. */
      prefixes: names,
      mode: v.optional(v.picklist(["all", "latest"]), "all"),
      maxHz: v.optional(v.pipe(v.number(), v.gtValue(0), v.maxValue(maxHzMax))),
      lastMs: v.optional(wholeNumber(0, historyMsMax)),
      credit: creditSchema(),
    }),
    v.check(
      ({ topics, prefixes }) =>
        topics.length + prefixes.length >= 1 && topics.length + prefixes.length <= streamNamesMax,
      `topics and prefixes have together 1 to ${streamNamesMax} names`,
    ),
  );
});

export type SubscribeRequest = v.InferOutput<ReturnType<typeof subscribeSchema>>;

const creditMessageSchema = lazily(() =>
  v.object({
    credit: creditSchema(),
    /** Asks for an ACK after the values that wait, if any. */
    sync: v.optional(v.boolean()),
  }),
);

const streamCommandSchema = lazily(() =>
  v.variant("command", [
    v.object({ command: v.literal("get"), topic: nameSchema() }),
    v.object({
      command: v.literal("history"),
      topic: nameSchema(),
      lastMs: wholeNumber(0, historyMsMax),
      limit: v.optional(wholeNumber(1, historyValuesMax), historyValuesMax),
    }),
    v.object({ command: v.literal("topics"), prefix: v.optional(v.pipe(v.string(), v.maxLength(nameLengthMax)), "") }),
    v.object({ command: v.literal("remove"), topic: nameSchema() }),
  ]),
);

export type StreamCommand = v.InferOutput<ReturnType<typeof streamCommandSchema>>;

export type StreamRequest = { readonly serial: string } & (
  | { readonly type: "SUBSCRIBE"; readonly data: SubscribeRequest }
  | { readonly type: "UNSUBSCRIBE" }
  | { readonly type: "CREDIT"; readonly data: { readonly credit: number; readonly sync?: boolean | undefined } }
  | { readonly type: "CONTROL"; readonly data: StreamCommand }
);

/** A refusal, with the serial of the request if that is known. */
interface StreamRefusal {
  readonly serial: string | undefined;
  readonly error: ProtocolError;
}

/** Decodes the frames after the empty one. */
export const decodeStreamRequest = (frames: readonly Frame[]): StreamRequest | StreamRefusal => {
  const [metaFrame, dataFrame] = frames;
  if (metaFrame === undefined || frames.length > 2) {
    return { serial: undefined, error: badFrame("message", "not an empty frame, META and DATA") };
  }
  const object = decodeObject(metaFrame, "META");
  if (object instanceof ProtocolError) return { serial: undefined, error: object };
  const serial = typeof object.serial === "string" ? object.serial.slice(0, serialLengthMax) : undefined;
  const meta = checkFrame(streamMetaSchema, object, "META");
  if (meta instanceof ProtocolError) return { serial, error: meta };
  // To ignore it would give the request the rights of the program in place of the person's.
  if (object.onBehalf !== undefined) return { serial, error: badFrame("META.onBehalf", "a data worker serves none") };
  if (meta.type === "UNSUBSCRIBE") return { serial: meta.serial, type: meta.type };
  const body = dataFrame === undefined ? badFrame("DATA", "missing") : decodeObject(dataFrame, "DATA");
  if (body instanceof ProtocolError) return { serial, error: body };
  const checked = checkFrame(bodySchema, body, "DATA");
  if (checked instanceof ProtocolError) return { serial, error: checked };
  const data = checkFrame<v.GenericSchema>(schemas[meta.type], checked.data, "DATA.data");
  if (data instanceof ProtocolError) return { serial, error: data };
  return { serial: meta.serial, type: meta.type, data } as StreamRequest;
};

const schemas = { SUBSCRIBE: subscribeSchema, CREDIT: creditMessageSchema, CONTROL: streamCommandSchema };

/**
 * From a data worker to the one that a topic belongs to now: `["", META, topic, (META, payload) ×
 * n]`, the oldest value first, each as its publisher wrote it. ACK or ERR answers it.
 */
export const encodeHandover = (topic: string, values: readonly Frame[]): Frame[] => [
  "",
  `{"version":0.3,"type":"HANDOVER","pack":${packText()}}`,
  topic,
  ...values,
];

/** Returns true for the frames of a HANDOVER after the empty one. */
export const isHandover = ([meta, ...rest]: readonly Frame[]): boolean => {
  if (meta === undefined || rest.length < 3 || rest.length % 2 === 0) return false;
  const object = decodeObject(meta, "META");
  return !(object instanceof ProtocolError) && object.type === "HANDOVER";
};

/** A request of a client, framed but for the transport. */
export const encodeStreamRequest = (type: StreamRequest["type"], serial: string, data?: unknown): string[] => {
  const meta = `{"version":0.3,"type":"${type}","pack":${packText()},"serial":${quoted(serial)}}`;
  return data === undefined ? ["", meta] : ["", meta, encodeData(data)];
};

type StreamReplyType = "ACK" | "ERR" | "DROPPED" | "STALE" | "REMOVED" | "MOVED";

/** Messages of a data worker to a peer of its stream port. */
export const encodeStreamReply = (type: StreamReplyType, serial: string | undefined, data: unknown): string[] => {
  const end = serial === undefined ? "}" : `,"serial":${quoted(serial)}}`;
  return ["", `{"version":0.3,"type":"${type}","pack":${packText()}${end}`, encodeData(data)];
};

export const encodeStreamError = (
  serial: string | undefined,
  code: ErrorCode,
  message: string,
  more: object = {},
): string[] => encodeStreamReply("ERR", serial, { code, message: shorten(message), ...more } satisfies ErrorBody);

const replySchema = lazily(() =>
  v.object({
    type: v.picklist(["ACK", "ERR", "DROPPED", "STALE", "REMOVED", "MOVED"]),
    serial: v.optional(v.string()),
  }),
);

export interface StreamReply {
  readonly type: StreamReplyType;
  readonly serial?: string | undefined;
  readonly data: Json;
}

/** Decodes META and DATA of a reply. */
export const decodeStreamReply = (metaFrame: Frame, dataFrame: Frame): StreamReply | ProtocolError => {
  const object = decodeObject(metaFrame, "META");
  if (object instanceof ProtocolError) return object;
  const meta = checkFrame(replySchema, object, "META");
  if (meta instanceof ProtocolError) return meta;
  const body = decodeObject(dataFrame, "DATA");
  if (body instanceof ProtocolError) return body;
  return { type: meta.type, serial: meta.serial, data: body.data ?? null };
};
