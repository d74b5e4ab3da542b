/** What a requestor may send, as the engine takes it. Frames here are without the envelope. */
import * as v from "valibot";
import {
  batchTasksMax,
  messageBytesMax,
  messageFramesMax,
  nameLengthMax,
  serialLengthMax,
  stopReasonLengthMax,
} from "../limits.ts";
import { ProtocolError } from "./errors.ts";
import { areLonger, bytesOf, type Frame, textOf } from "./frame.ts";
import {
  type Addressing,
  addressingOf,
  badFrame,
  checkFrame,
  dataSchema,
  decodeMeta,
  decodeObject,
  type Meta,
  type Task,
  taskName,
  taskSchema,
  taskSchemaWithOptions,
} from "./frames.ts";
import { lazily } from "./lazily.ts";
import { familiarTaskName } from "./meta-cache.ts";

/** One TASK frame of a request: what it says, and the frame to hand on as it came. */
export interface TaskPart {
  /** without the prefix `task_` */
  readonly name: string;
  /** null where it was familiar: then it has no options, and is parsed by who runs it. */
  readonly task: Task | null;
  readonly frame: Frame;
}

/** What a TASK of a request says. */
export const taskOf = ({ task, frame }: TaskPart): Task => task ?? (JSON.parse(textOf(frame)) as Task);

export type RequestMessage =
  | { readonly kind: "ping"; readonly meta: Meta }
  | { readonly kind: "task"; readonly meta: Meta; readonly parts: readonly TaskPart[] }
  | { readonly kind: "data"; readonly meta: Meta; readonly topic: string; readonly frame: Frame }
  | { readonly kind: "cancel"; readonly meta: Meta & { readonly serial: string } }
  /** Its requestor is there. Has no answer. */
  | { readonly kind: "keepAlive"; readonly meta: Meta & { readonly serial: string } }
  | { readonly kind: "control"; readonly meta: Meta; readonly control: Control };

const controlSchema = lazily(() =>
  v.variant("command", [
    v.object({ command: v.literal("status") }),
    v.object({ command: v.literal("tasks") }),
    v.object({ command: v.literal("cancel"), serial: v.pipe(v.string(), v.nonEmpty(), v.maxLength(serialLengthMax)) }),
    v.object({ command: v.literal("get"), topic: v.pipe(v.string(), v.nonEmpty(), v.maxLength(nameLengthMax)) }),
    v.object({
      command: v.literal("estop"),
      reason: v.optional(v.pipe(v.string(), v.maxLength(stopReasonLengthMax)), ""),
    }),
    v.object({ command: v.literal("reset") }),
  ]),
);
export type Control = v.InferOutput<ReturnType<typeof controlSchema>>;
const controlCommands = ["status", "tasks", "get", "cancel", "estop", "reset"] as const;

/** A request that could not be understood, and as much of its META as could be, so that the answer finds its question. */
export interface BadRequest {
  readonly kind: "bad";
  readonly meta: Addressing | null;
  readonly error: ProtocolError;
}

/** Any frames in, a request or the reason why it is none out; never an exception. */
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
  if (meta.type === "CONTROL" && meta.version !== 0.1) return decodeControl(meta, rest);
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

/** A message whose frames cannot be told from its envelope. */
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
  for (const [index, frame] of frames.entries()) {
    const familiar = typeof frame === "string" ? familiarTaskName(frame) : undefined;
    if (familiar !== undefined) {
      parts.push({ name: taskName(familiar), task: null, frame });
      continue;
    }
    const label = `frame ${index + 2}`;
    const value = decodeObject(frame, label);
    if (value instanceof ProtocolError) return bad(meta, value);
    if ("task" in value) {
      const lookalike = Object.keys(value).find((key) => !taskKeys.has(key) && taskKeys.has(folded(key)));
      if (lookalike !== undefined) {
        return bad(
          meta,
          badFrame(label, `the key ${JSON.stringify(lookalike)} is ${folded(lookalike)} to some, and not to others`),
        );
      }
      const task =
        meta.version === 0.1 ? checkFrame(taskSchema, value, "TASK") : checkFrame(taskSchemaWithOptions, value, "TASK");
      if (task instanceof ProtocolError) return bad(meta, inFrame(index, frames.length, task));
      parts.push({ name: taskName(task.task), task: task as Task, frame });
      continue;
    }
    if (!("data" in value)) return bad(meta, badFrame(label, "has neither `task` (TASK) nor `data` (DATA)"));
    if (frames.length > 1) return bad(meta, badFrame(label, "a DATA frame must be the only one after META"));
    const data = checkFrame(dataSchema, value, "DATA");
    if (data instanceof ProtocolError) return bad(meta, data);
    const topic = (meta.version === 0.1 ? undefined : data.topic) ?? meta.id;
    if (topic === "") return bad(meta, badFrame("META.id", "empty, and it is the topic"));
    return { kind: "data", meta, topic, frame };
  }
  return { kind: "task", meta, parts };
};

const taskKeys: ReadonlySet<string> = new Set(["task", "args", "kwargs", "pack", "options"]);
/** Go's encoding/json takes `Task` for `task`, and so do others: a worker in such a language would run another task. */
const folded = (key: string): string => key.toUpperCase().toLowerCase();

/** In a batch the frame's number says which TASK it was. */
const inFrame = (index: number, count: number, error: ProtocolError): ProtocolError =>
  count === 1 ? error : new ProtocolError(error.code, `frame ${index + 2}: ${error.message}`);

/** A TASK frame alone, as a worker gets it from the router, which has seen to its options. */
export const decodeTaskFrame = (frame: Frame): (TaskPart & { readonly task: Task }) | ProtocolError => {
  const value = decodeObject(frame, "TASK");
  if (value instanceof ProtocolError) return value;
  const task = checkFrame(taskSchema, value, "TASK");
  if (task instanceof ProtocolError) return task;
  return { name: taskName(task.task), task: task as Task, frame };
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

const decodeControl = (meta: Meta, frames: readonly Frame[]): RequestMessage | BadRequest => {
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

const bad = (meta: Addressing | null, error: ProtocolError): BadRequest => ({ kind: "bad", meta, error });
