/** The messages of a requestor, as the engine takes them; frames here are without the envelope. */
import { batchTasksMax, messageBytesMax, messageFramesMax } from "../limits.ts";
import { type Control, decodeControl } from "./control.ts";
import { ProtocolError } from "./errors.ts";
import { areLonger, bytesOf, type Frame } from "./frame.ts";
import {
  type Addressing,
  addressingOf,
  checkTask,
  dataSchema,
  decodeMeta,
  type Meta,
  type Task,
  taskName,
} from "./frames.ts";
import type { JsonObject } from "./json.ts";
import { badFrame, checkFrame, decodeObject } from "./schema.ts";

/** One TASK frame of a request, decoded, and the frame as it came, which is handed on. */
export interface TaskPart {
  /** without the prefix `task_` */
  readonly name: string;
  readonly task: Task;
  readonly frame: Frame;
}

export type RequestMessage =
  | { readonly kind: "ping"; readonly meta: Meta }
  | { readonly kind: "task"; readonly meta: Meta; readonly parts: readonly TaskPart[] }
  | { readonly kind: "data"; readonly meta: Meta; readonly topic: string; readonly frame: Frame }
  | { readonly kind: "cancel"; readonly meta: Meta & { readonly serial: string } }
  /** Shows that the requestor is there. Has no answer. */
  | { readonly kind: "keepAlive"; readonly meta: Meta & { readonly serial: string } }
  | { readonly kind: "control"; readonly meta: Meta; readonly control: Control };

/** An invalid request, and the valid part of its META, which the answer needs. */
export interface BadRequest {
  readonly kind: "bad";
  readonly meta: Addressing | null;
  readonly error: ProtocolError;
}

/** Returns the reason for frames that are no request, and never throws. */
export const decodeRequest = (frames: readonly Frame[]): RequestMessage | BadRequest => {
  const [metaBytes, ...rest] = frames;
  if (metaBytes === undefined) return bad(null, badFrame("META", "missing; a message begins with a META frame"));
  const meta = decodeMeta(metaBytes);
  if (meta instanceof ProtocolError) return bad(addressingOf(metaBytes), meta);
  if (frames.length > messageFramesMax) {
    return bad(meta, new ProtocolError("TOO_LARGE", `message: more than ${messageFramesMax} frames`));
  }
  if (areLonger(frames, messageBytesMax)) {
    return bad(
      meta,
      new ProtocolError("TOO_LARGE", `message: ${bytesOf(frames)} bytes, the limit is ${messageBytesMax}`),
    );
  }
  if (meta.type === "CONTROL" && meta.version !== 0.1) return controlOf(meta, rest);
  if (meta.type === "CANCEL" && meta.version !== 0.1) return decodeBySerial("cancel", meta, rest);
  if (meta.type === "KEEPALIVE" && meta.version !== 0.1) return decodeBySerial("keepAlive", meta, rest);
  if (meta.type === "ACK" && rest.length === 0) return { kind: "ping", meta };
  if (meta.type !== "REQ") {
    const known = meta.version === 0.1 ? "REQ" : "REQ, CANCEL, KEEPALIVE, CONTROL";
    return bad(meta, badFrame("META.type", `${JSON.stringify(meta.type.slice(0, 64))} is not one of ${known}`));
  }
  if (rest.length === 0) return { kind: "ping", meta };
  return decodeBody(meta, rest);
};

/** A message with an invalid envelope: META may be any of its frames. */
export const badEnvelope = (frames: readonly Frame[], error: ProtocolError): BadRequest => {
  for (const frame of frames) {
    const meta = addressingOf(frame);
    if (meta !== null) return bad(meta, error);
  }
  return bad(null, error);
};

const decodeBody = (meta: Meta, frames: readonly Frame[]): RequestMessage | BadRequest => {
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
  for (const frame of frames) {
    const label = `frame ${parts.length + 2}`;
    const value = decodeObject(frame, label);
    if (value instanceof ProtocolError) return bad(meta, value);
    if (!("task" in value)) {
      if (!("data" in value)) return bad(meta, badFrame(label, "has neither `task` (TASK) nor `data` (DATA)"));
      if (frames.length > 1) return bad(meta, badFrame(label, "a DATA frame must be the only one after META"));
      return decodeData(meta, value, frame);
    }
    const lookalike = lookalikeIn(value);
    if (lookalike !== undefined) {
      const key = JSON.stringify(lookalike);
      const problem = `the key ${key} is ${folded(lookalike)} for some parsers, and not for others`;
      return bad(meta, badFrame(label, problem));
    }
    const task = checkTask(value, meta.version);
    if (task instanceof ProtocolError) return bad(meta, inFrame(parts.length, frames.length, task));
    parts.push({ name: taskName(task.task), task, frame });
  }
  return { kind: "task", meta, parts };
};

const decodeData = (meta: Meta, value: JsonObject, frame: Frame): RequestMessage | BadRequest => {
  const data = checkFrame(dataSchema, value, "DATA");
  if (data instanceof ProtocolError) return bad(meta, data);
  const topic = (meta.version === 0.1 ? undefined : data.topic) ?? meta.id;
  if (topic === "") return bad(meta, badFrame("META.id", "empty, and it is the topic"));
  return { kind: "data", meta, topic, frame };
};

const taskKeys: ReadonlySet<string> = new Set(["task", "args", "kwargs", "pack", "options"]);
const folded = (key: string): string => key.toUpperCase().toLowerCase();

/**
 * Go's encoding/json, and others, take `Task` for `task`: a worker in such a language would run
 * another task.
 */
const lookalikeIn = (value: JsonObject): string | undefined => {
  for (const key in value) if (!taskKeys.has(key) && taskKeys.has(folded(key))) return key;
  return undefined;
};

/** In a batch the frame's number says which TASK it was. */
const inFrame = (index: number, count: number, error: ProtocolError): ProtocolError =>
  count === 1 ? error : new ProtocolError(error.code, `frame ${index + 2}: ${error.message}`);

/** A TASK frame that was accepted before, with its options. */
export const decodeAcceptedTask = (frame: Frame): Task | ProtocolError => {
  const value = decodeObject(frame, "TASK");
  return value instanceof ProtocolError ? value : checkTask(value, 0.3);
};

/** A TASK frame alone, as a worker gets it from the router, which has kept its options. */
export const decodeTaskFrame = (frame: Frame): TaskPart | ProtocolError => {
  const value = decodeObject(frame, "TASK");
  if (value instanceof ProtocolError) return value;
  const task = checkTask(value, 0.1);
  return task instanceof ProtocolError ? task : { name: taskName(task.task), task, frame };
};

const decodeBySerial = (
  kind: "cancel" | "keepAlive",
  meta: Meta,
  frames: readonly Frame[],
): RequestMessage | BadRequest => {
  if (frames.length > 0)
    return bad(meta, badFrame(meta.type, `needs META alone, got ${frames.length} frames after it`));
  const { serial } = meta;
  if (serial === undefined) return bad(meta, badFrame("META.serial", "missing; it says which request is meant"));
  return { kind, meta: { ...meta, serial } };
};

const controlOf = (meta: Meta, frames: readonly Frame[]): RequestMessage | BadRequest => {
  const control = decodeControl(meta.version, frames);
  return control instanceof ProtocolError ? bad(meta, control) : { kind: "control", meta, control };
};

const bad = (meta: Addressing | null, error: ProtocolError): BadRequest => ({ kind: "bad", meta, error });
