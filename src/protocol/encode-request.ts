/**
 * The messages of a requestor, v0.2 where nothing else is said, without the envelope, each frame as
 * text.
 */

import { type ControlInput, versionOf } from "./control.ts";
import { type Data, encodeValue, metaText, type OnBehalf, type ProtocolVersion, packNow, packText } from "./frames.ts";
import type { Json } from "./json.ts";
import { jsonText } from "./json-encode.ts";
import { laterOptions, type TaskOptions } from "./policy.ts";

export interface RequestOrigin {
  /** META's `id`: the requestor. */
  readonly id: string;
  /** Every reply to the message will carry it. */
  readonly serial: string;
  /** For whom the requestor asks, by its right `delegate`: v0.3. */
  readonly onBehalf?: OnBehalf | undefined;
}

/** The same requestor, which asks for a person. */
export const forPerson = (origin: RequestOrigin, onBehalf: OnBehalf | undefined): RequestOrigin =>
  onBehalf === undefined ? origin : { ...origin, onBehalf };

/** Their texts: a gateway and a link send the same for each request of a person. */
const personTexts = new WeakMap<OnBehalf, string>();

const personText = (onBehalf: OnBehalf): string => {
  let text = personTexts.get(onBehalf);
  if (text === undefined) {
    text = jsonText(onBehalf, "META.onBehalf");
    personTexts.set(onBehalf, text);
  }
  return text;
};

const requestMeta = (
  { id, serial, onBehalf }: RequestOrigin,
  type: "REQ" | "CONTROL" | "CANCEL" | "KEEPALIVE",
  version: ProtocolVersion = 0.2,
): string =>
  onBehalf === undefined
    ? metaText(id, "requestor", version, type, serial)
    : // Before `pack`, so that the engine knows it again: see meta-cache.ts.
      `{"onBehalf":${personText(onBehalf)},${metaText(id, "requestor", 0.3, type, serial).slice(1)}`;

/** A router and a worker's own port both answer it. */
export const encodePing = (origin: RequestOrigin): string[] => [requestMeta(origin, "REQ")];

/** An undefined option is one that is not set. */
const withoutUndefined = (options: object): object =>
  Object.fromEntries(
    Object.entries(options)
      .filter(([, value]) => value !== undefined)
      .map(([key, value]) => [key, typeof value === "object" && value !== null ? withoutUndefined(value) : value]),
  );

/** The version that a request with these options takes at least. */
export const versionFor = (options: TaskOptions): 0.2 | 0.3 =>
  laterOptions.some((key) => options[key] !== undefined) ? 0.3 : 0.2;

/** A TASK frame, one part of a batch. Throws JsonError for arguments that cannot travel. */
export const encodeTaskPart = (
  task: string,
  args: readonly unknown[],
  kwargs: object,
  options: TaskOptions = {},
): string => {
  const start = `{"task":${jsonText(task, "TASK.task", 1)},"args":${jsonText(args, "TASK.args", 1)}`;
  const end =
    Object.keys(options).length === 0 ? "}" : `,"options":${jsonText(withoutUndefined(options), "TASK.options", 1)}}`;
  return `${start},"kwargs":${jsonText(kwargs, "TASK.kwargs", 1)},"pack":${packText()}${end}`;
};

/** As `encodeTaskPart`. @param version 0.3 for a requestor that takes a binary result, too */
export const encodeTaskRequest = (
  origin: RequestOrigin,
  task: string,
  args: readonly unknown[],
  kwargs: object,
  options: TaskOptions = {},
  version: 0.2 | 0.3 = 0.2,
): string[] => [requestMeta(origin, "REQ", version), encodeTaskPart(task, args, kwargs, options)];

/** @param parts of `encodeTaskPart` */
export const encodeBatchRequest = (
  origin: RequestOrigin,
  parts: readonly string[],
  version: 0.2 | 0.3 = 0.2,
): string[] => [requestMeta(origin, "REQ", version), ...parts];

/** Throws JsonError for data that cannot travel. */
export const encodeDataRequest = (origin: RequestOrigin, topic: string, data: unknown): string[] => {
  const frame: Data = { topic, data: data as Json, pack: packNow() };
  return [requestMeta(origin, "REQ"), jsonText(frame, "DATA")];
};

export const encodeControlRequest = (origin: RequestOrigin, control: ControlInput): string[] => [
  requestMeta(origin, "CONTROL", "job" in control && control.job !== undefined ? 0.3 : versionOf(control.command)),
  encodeValue(control, "DATA.data"),
];

/** A command that the sender need not know. Throws JsonError for one that cannot travel. */
export const encodeCommand = (origin: RequestOrigin, command: object): string[] => [
  requestMeta(origin, "CONTROL", 0.3),
  encodeValue(command, "DATA.data"),
];

/** Cancels the request of this serial. The reply is that request's, not this message's. */
export const encodeCancel = (origin: RequestOrigin): string[] => [requestMeta(origin, "CANCEL")];

/** Shows that the requestor of this serial is there. Has no reply. */
export const encodeKeepAlive = (origin: RequestOrigin): string[] => [requestMeta(origin, "KEEPALIVE")];
