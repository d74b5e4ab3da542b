/** What a requestor builds: messages of v0.2, without the envelope. */
import { type Data, encodeData, encodeMeta, encodeTask, packNow, type Task } from "./frames.ts";
import type { Json, JsonObject } from "./json.ts";
import type { TaskOptions } from "./policy.ts";
import type { Control } from "./requests.ts";

export interface Asking {
  /** META's `id`: who asks. */
  readonly id: string;
  /** What every answer to it will carry. */
  readonly serial: string;
}

const askingMeta = ({ id, serial }: Asking, type: "REQ" | "CONTROL" | "CANCEL" | "KEEPALIVE"): Buffer =>
  encodeMeta({ id, role: "requestor", version: 0.2, type, pack: packNow(), serial });

/** Answered by whoever reads it, a router or a worker's own port. */
export const encodePing = (asking: Asking): Buffer[] => [askingMeta(asking, "REQ")];

/** A TASK frame, one part of a batch. Throws JsonError for arguments that cannot travel. */
export const encodeTaskPart = (
  task: string,
  args: readonly unknown[],
  kwargs: object,
  options: TaskOptions = {},
): Buffer => {
  const frame: Task = { task, args: args as Json[], kwargs: kwargs as JsonObject, pack: packNow() };
  return encodeTask(Object.keys(options).length === 0 ? frame : { ...frame, options });
};

/** Throws JsonError for arguments that cannot travel. */
export const encodeTaskRequest = (
  asking: Asking,
  task: string,
  args: readonly unknown[],
  kwargs: object,
  options: TaskOptions = {},
): Buffer[] => [askingMeta(asking, "REQ"), encodeTaskPart(task, args, kwargs, options)];

/** @param parts what `encodeTaskPart` gave */
export const encodeBatchRequest = (asking: Asking, parts: readonly Uint8Array[]): Uint8Array[] => [
  askingMeta(asking, "REQ"),
  ...parts,
];

/** Throws JsonError for data that cannot travel. */
export const encodeDataRequest = (asking: Asking, topic: string, data: unknown): Buffer[] => {
  const frame: Data = { topic, data: data as Json, pack: packNow() };
  return [askingMeta(asking, "REQ"), encodeData(frame)];
};

export const encodeControlRequest = (asking: Asking, control: Control): Buffer[] => [
  askingMeta(asking, "CONTROL"),
  encodeData({ data: control, pack: packNow() }),
];

/** Cancels the request that went out under this serial. What is answered is that request, not this message. */
export const encodeCancel = (asking: Asking): Buffer[] => [askingMeta(asking, "CANCEL")];

/** Shows that who sent the request of this serial is there. Has no answer. */
export const encodeKeepAlive = (asking: Asking): Buffer[] => [askingMeta(asking, "KEEPALIVE")];
