/** What a requestor may send, and what it gets back. Frames here are without the envelope. */
import * as v from "valibot";
import { batchTasksMax, messageFramesMax, nameLengthMax } from "../limits.ts";
import { type ErrorBody, type ErrorCode, errorCodes, ProtocolError } from "./errors.ts";
import {
  badFrame,
  checkFrame,
  type Data,
  dataSchema,
  decodeMeta,
  decodeObject,
  encodeData,
  encodeMeta,
  encodeTask,
  type Meta,
  packNow,
  type Task,
  taskName,
  taskSchema,
} from "./frames.ts";
import type { Json } from "./json.ts";

/** One TASK frame of a request: what it says, and its bytes to hand on as they came. */
export interface TaskPart {
  /** without the prefix `task_` */
  readonly name: string;
  readonly task: Task;
  readonly bytes: Uint8Array;
}

export type Request =
  | { readonly kind: "ping"; readonly meta: Meta }
  | { readonly kind: "task"; readonly meta: Meta; readonly parts: readonly TaskPart[] }
  | { readonly kind: "data"; readonly meta: Meta; readonly topic: string; readonly bytes: Uint8Array }
  | { readonly kind: "control"; readonly meta: Meta; readonly control: Control };

const controlSchema = v.variant("command", [
  v.object({ command: v.literal("status") }),
  v.object({ command: v.literal("tasks") }),
  v.object({ command: v.literal("get"), topic: v.pipe(v.string(), v.nonEmpty(), v.maxLength(nameLengthMax)) }),
]);
export type Control = v.InferOutput<typeof controlSchema>;
const controlCommands = ["status", "tasks", "get"] as const;

/** A request that could not be understood, and as much of its META as could be, so that the answer finds its question. */
export interface BadRequest {
  readonly kind: "bad";
  readonly meta: Meta | null;
  readonly error: ProtocolError;
}

/** Any frames in, a request or the reason why it is none out; never an exception. */
export const decodeRequest = (frames: readonly Uint8Array[]): Request | BadRequest => {
  const [metaBytes, ...rest] = frames;
  if (metaBytes === undefined) return bad(null, badFrame("META", "missing; a message begins with a META frame"));
  if (frames.length > messageFramesMax) {
    return bad(null, new ProtocolError("TOO_LARGE", `message: more than ${messageFramesMax} frames`));
  }
  const meta = decodeMeta(metaBytes);
  if (meta instanceof ProtocolError) return bad(null, meta);
  if (meta.type === "CONTROL" && meta.version !== 0.1) return decodeControl(meta, rest);
  if (meta.type === "ACK" && rest.length === 0) return { kind: "ping", meta };
  if (meta.type !== "REQ") {
    const known = meta.version === 0.1 ? "REQ" : "REQ, CONTROL";
    return bad(meta, badFrame("META.type", `${JSON.stringify(meta.type.slice(0, 64))} is not one of ${known}`));
  }
  if (rest.length === 0) return { kind: "ping", meta };
  return decodeBody(meta, rest);
};

const decodeBody = (meta: Meta, frames: readonly Uint8Array[]): Request | BadRequest => {
  if (meta.version === 0.1 && frames.length > 1) {
    return bad(meta, badFrame("frame 3", `one too many: version 0.1 has META and one TASK or DATA`));
  }
  if (frames.length > batchTasksMax) {
    return bad(
      meta,
      new ProtocolError("TOO_LARGE", `message: ${frames.length} TASK frames, the limit is ${batchTasksMax}`),
    );
  }
  const parts: TaskPart[] = [];
  for (const [index, bytes] of frames.entries()) {
    const label = `frame ${index + 2}`;
    const value = decodeObject(bytes, label);
    if (value instanceof ProtocolError) return bad(meta, value);
    if ("task" in value) {
      const task = checkFrame(taskSchema, value, "TASK");
      if (task instanceof ProtocolError) return bad(meta, inFrame(index, frames.length, task));
      parts.push({ name: taskName(task.task), task: task as Task, bytes });
      continue;
    }
    if (!("data" in value)) return bad(meta, badFrame(label, "has neither `task` (TASK) nor `data` (DATA)"));
    if (frames.length > 1) return bad(meta, badFrame(label, "a DATA frame must be the only one after META"));
    const data = checkFrame(dataSchema, value, "DATA");
    if (data instanceof ProtocolError) return bad(meta, data);
    const topic = (meta.version === 0.1 ? undefined : data.topic) ?? meta.id;
    if (topic === "") return bad(meta, badFrame("META.id", "empty, and it is the topic"));
    return { kind: "data", meta, topic, bytes };
  }
  return { kind: "task", meta, parts };
};

/** In a batch the frame's number says which TASK it was. */
const inFrame = (index: number, count: number, error: ProtocolError): ProtocolError =>
  count === 1 ? error : new ProtocolError(error.code, `frame ${index + 2}: ${error.message}`);

/** A TASK frame alone, as a worker gets it. */
export const decodeTaskFrame = (bytes: Uint8Array): TaskPart | ProtocolError => {
  const value = decodeObject(bytes, "TASK");
  if (value instanceof ProtocolError) return value;
  const task = checkFrame(taskSchema, value, "TASK");
  if (task instanceof ProtocolError) return task;
  return { name: taskName(task.task), task: task as Task, bytes };
};

const decodeControl = (meta: Meta, frames: readonly Uint8Array[]): Request | BadRequest => {
  const [bytes] = frames;
  if (bytes === undefined || frames.length > 1) {
    return bad(meta, badFrame("CONTROL", `needs META and one DATA frame, got ${frames.length} after META`));
  }
  const value = decodeObject(bytes, "DATA");
  if (value instanceof ProtocolError) return bad(meta, value);
  const data = checkFrame(dataSchema, value, "DATA");
  if (data instanceof ProtocolError) return bad(meta, data);
  const command = typeof data.data === "object" && data.data !== null && !Array.isArray(data.data) && data.data.command;
  if (typeof command === "string" && !controlCommands.some((known) => known === command)) {
    const message = `DATA.data.command: ${JSON.stringify(command.slice(0, 64))} is not one of ${controlCommands.join(", ")}`;
    return bad(meta, new ProtocolError("UNKNOWN_COMMAND", message));
  }
  const control = checkFrame(controlSchema, data.data, "DATA.data");
  if (control instanceof ProtocolError) return bad(meta, control);
  return { kind: "control", meta, control };
};

const bad = (meta: Meta | null, error: ProtocolError): BadRequest => ({ kind: "bad", meta, error });

/* ── What a requestor builds ─────────────────────────────────────────────────────────────────────────────────────── */

export interface RequestOptions {
  /** META's `id`: who asks. */
  readonly id: string;
  readonly serial: string;
}

const requestMeta = ({ id, serial }: RequestOptions, type: "REQ" | "CONTROL"): Buffer =>
  encodeMeta({ id, role: "requestor", version: 0.2, type, pack: packNow(), serial });

/** Throws JsonError for arguments that cannot travel. */
export const encodeTaskRequest = (options: RequestOptions, task: string, args: unknown[], kwargs: object): Buffer[] => [
  requestMeta(options, "REQ"),
  encodeTask({ task, args: args as Json[], kwargs: kwargs as { [key: string]: Json }, pack: packNow() }),
];

/** Throws JsonError for data that cannot travel. */
export const encodeDataRequest = (options: RequestOptions, topic: string, data: unknown): Buffer[] => [
  requestMeta(options, "REQ"),
  encodeData({ topic, data: data as Json, pack: packNow() }),
];

export const encodeControlRequest = (options: RequestOptions, control: Control): Buffer[] => [
  requestMeta(options, "CONTROL"),
  encodeData({ data: control, pack: packNow() }),
];

/* ── What comes back ─────────────────────────────────────────────────────────────────────────────────────────────── */

export type Reply =
  | { readonly kind: "ack"; readonly meta: Meta; readonly data: Json | undefined }
  | { readonly kind: "error"; readonly meta: Meta; readonly error: ErrorBody };

const errorBodySchema = v.object({ code: v.string(), message: v.string() });

/** Any frames in, a reply or the reason why it is none out; never an exception. */
export const decodeReply = (frames: readonly Uint8Array[]): Reply | ProtocolError => {
  const [metaBytes, bodyBytes] = frames;
  if (metaBytes === undefined) return badFrame("META", "missing");
  const meta = decodeMeta(metaBytes);
  if (meta instanceof ProtocolError) return meta;
  let body: Data | undefined;
  if (bodyBytes !== undefined) {
    const value = decodeObject(bodyBytes, "DATA");
    if (value instanceof ProtocolError) return value;
    const data = checkFrame(dataSchema, value, "DATA");
    if (data instanceof ProtocolError) return data;
    body = data as Data;
  }
  if (meta.type === "ACK") return { kind: "ack", meta, data: body?.data };
  if (meta.type !== "ERR") return badFrame("META.type", `${JSON.stringify(meta.type)} is not one of ACK, ERR`);
  const error = checkFrame(errorBodySchema, body?.data, "DATA.data");
  if (error instanceof ProtocolError) return error;
  return { kind: "error", meta, error: { code: error.code as ErrorCode, message: error.message } };
};

export const isErrorCode = (code: string): code is ErrorCode => Object.hasOwn(errorCodes, code);

/** The frames of an answer to a request: who answers, in the version of the question. */
export const encodeReplyMeta = (id: string, type: "ACK" | "ERR", version: Meta["version"], serial?: string): Buffer =>
  encodeMeta({
    id,
    role: "responder",
    version,
    type,
    pack: packNow(),
    ...(serial !== undefined && version !== 0.1 ? { serial } : {}),
  });
