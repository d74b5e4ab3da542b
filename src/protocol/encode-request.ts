/** What a requestor builds: messages of v0.2, without the envelope, each frame as text. */
import { type Data, encodeValue, metaText, packNow, packText } from "./frames.ts";
import type { Json } from "./json.ts";
import { jsonText } from "./json-encode.ts";
import type { TaskOptions } from "./policy.ts";
import type { Control } from "./requests.ts";

export interface RequestOrigin {
  /** META's `id`: who asks. */
  readonly id: string;
  /** What every answer to it will carry. */
  readonly serial: string;
}

const askingMeta = ({ id, serial }: RequestOrigin, type: "REQ" | "CONTROL" | "CANCEL" | "KEEPALIVE"): string =>
  metaText(id, "requestor", 0.2, type, serial);

/** Answered by whoever reads it, a router or a worker's own port. */
export const encodePing = (asking: RequestOrigin): string[] => [askingMeta(asking, "REQ")];

/** A limit that is undefined is one that is not asked for. */
const said = (options: object): object =>
  Object.fromEntries(
    Object.entries(options)
      .filter(([, value]) => value !== undefined)
      .map(([key, value]) => [key, typeof value === "object" && value !== null ? said(value) : value]),
  );

/** A TASK frame, one part of a batch. Throws JsonError for arguments that cannot travel. */
export const encodeTaskPart = (
  task: string,
  args: readonly unknown[],
  kwargs: object,
  options: TaskOptions = {},
): string => {
  const start = `{"task":${jsonText(task, "TASK.task", 1)},"args":${jsonText(args, "TASK.args", 1)}`;
  const end = Object.keys(options).length === 0 ? "}" : `,"options":${jsonText(said(options), "TASK.options", 1)}}`;
  return `${start},"kwargs":${jsonText(kwargs, "TASK.kwargs", 1)},"pack":${packText()}${end}`;
};

/** Throws JsonError for arguments that cannot travel. */
export const encodeTaskRequest = (
  asking: RequestOrigin,
  task: string,
  args: readonly unknown[],
  kwargs: object,
  options: TaskOptions = {},
): string[] => [askingMeta(asking, "REQ"), encodeTaskPart(task, args, kwargs, options)];

/** @param parts what `encodeTaskPart` gave */
export const encodeBatchRequest = (asking: RequestOrigin, parts: readonly string[]): string[] => [
  askingMeta(asking, "REQ"),
  ...parts,
];

/** Throws JsonError for data that cannot travel. */
export const encodeDataRequest = (asking: RequestOrigin, topic: string, data: unknown): string[] => {
  const frame: Data = { topic, data: data as Json, pack: packNow() };
  return [askingMeta(asking, "REQ"), jsonText(frame, "DATA")];
};

export const encodeControlRequest = (asking: RequestOrigin, control: Control): string[] => [
  askingMeta(asking, "CONTROL"),
  encodeValue(control, "DATA.data"),
];

/** Cancels the request that went out under this serial. What is answered is that request, not this message. */
export const encodeCancel = (asking: RequestOrigin): string[] => [askingMeta(asking, "CANCEL")];

/** Shows that who sent the request of this serial is there. Has no answer. */
export const encodeKeepAlive = (asking: RequestOrigin): string[] => [askingMeta(asking, "KEEPALIVE")];
