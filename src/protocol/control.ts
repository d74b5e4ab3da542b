/** CONTROL: the commands of a requestor that are no tasks. PROTOCOL.md has their answers. */
import * as v from "valibot";
import {
  jobsPageMax,
  logPageMax,
  nameLengthMax,
  resultWaitMsMax,
  serialLengthMax,
  stopReasonLengthMax,
} from "../limits.ts";
import { ProtocolError } from "./errors.ts";
import type { Frame } from "./frame.ts";
import { dataSchema, type Meta } from "./frames.ts";
import { isJsonObject } from "./json.ts";
import { badFrame, checkFrame, decodeObject, lazily } from "./schema.ts";

const text = (lengthMax: number) => v.pipe(v.string(), v.nonEmpty(), v.maxLength(lengthMax));
const whole = (max: number) => v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(max));

/** Words of the diagram of states that a job's `state` may be. */
const jobStates = [
  ...["delayed", "queued", "retrying", "dispatched", "running", "done", "failed", "timed_out", "cancelled"],
  ...["deadman", "stopped", "preempted", "superseded", "interrupted", "expired", "quarantined"],
] as const;

export type JobStateName = (typeof jobStates)[number];

/** The word for an end by this code, null for none. */
export const endStateOf = (code: string | null): JobStateName =>
  code === null ? "done" : (endStates.get(code) ?? "failed");

const endStates: ReadonlyMap<string, JobStateName> = new Map([
  ["TIMEOUT", "timed_out"],
  ["CANCELLED", "cancelled"],
  ["DEADMAN", "deadman"],
  ["STOPPED", "stopped"],
  ["PREEMPTED", "preempted"],
  ["SUPERSEDED", "superseded"],
  ["INTERRUPTED", "interrupted"],
  ["EXPIRED", "expired"],
]);

/** Ids of jobs: base 32 of RFC 4648, in lower case. */
export const idDigits = "abcdefghijklmnopqrstuvwxyz234567";
export const idLength = 16;

const controlSchema = lazily(() =>
  v.variant("command", [
    v.object({ command: v.literal("status") }),
    v.object({ command: v.literal("tasks") }),
    v.object({
      command: v.literal("cancel"),
      serial: v.optional(text(serialLengthMax)),
      /** In place of the serial: a job's id, in version 0.3. */
      job: v.optional(text(serialLengthMax)),
    }),
    v.object({ command: v.literal("get"), topic: text(nameLengthMax) }),
    v.object({
      command: v.literal("estop"),
      reason: v.optional(v.pipe(v.string(), v.maxLength(stopReasonLengthMax)), ""),
    }),
    v.object({ command: v.literal("reset") }),
    v.object({
      command: v.literal("jobs"),
      task: v.optional(text(nameLengthMax)),
      states: v.optional(v.array(v.picklist(jobStates))),
      /** Dead letters alone. */
      dead: v.optional(v.boolean(), false),
      /** ms: only jobs that were accepted or have ended since then. */
      sinceMs: v.optional(v.pipe(v.number(), v.minValue(0))),
      /** Only those before this job, by its id. */
      before: v.optional(text(serialLengthMax)),
      limit: v.optional(whole(jobsPageMax), jobsPageMax),
    }),
    v.object({ command: v.literal("job"), job: text(serialLengthMax) }),
    v.object({
      command: v.literal("result"),
      job: text(serialLengthMax),
      waitMs: v.optional(v.pipe(v.number(), v.minValue(0), v.maxValue(resultWaitMsMax)), 0),
    }),
    v.object({
      command: v.literal("logs"),
      job: v.optional(text(serialLengthMax)),
      task: v.optional(text(nameLengthMax)),
      /** Only lines before this one, by `next` of the answer before. */
      before: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(0))),
      limit: v.optional(whole(logPageMax), logPageMax),
    }),
    v.object({
      command: v.literal("retry"),
      job: text(serialLengthMax),
      /** The requestor knows that it may move something. */
      confirm: v.optional(v.boolean(), false),
    }),
    v.object({ command: v.literal("discard"), job: text(serialLengthMax) }),
    v.object({ command: v.literal("reload") }),
    v.object({ command: v.literal("pause"), task: text(nameLengthMax) }),
    v.object({ command: v.literal("resume"), task: text(nameLengthMax) }),
    v.object({ command: v.literal("schedules") }),
    v.object({
      command: v.literal("schedule"),
      name: text(nameLengthMax),
      action: v.picklist(["pause", "resume", "run"]),
    }),
  ]),
);
export type Control = v.InferOutput<ReturnType<typeof controlSchema>>;
export type ControlOf<Command extends Control["command"]> = Extract<Control, { command: Command }>;
export type ControlInput = v.InferInput<ReturnType<typeof controlSchema>>;

/** The version of the protocol that has brought each command. */
const controlCommands = {
  tasks: 0.2,
  status: 0.2,
  get: 0.2,
  cancel: 0.2,
  estop: 0.2,
  reset: 0.2,
  jobs: 0.3,
  job: 0.3,
  result: 0.3,
  logs: 0.3,
  retry: 0.3,
  discard: 0.3,
  reload: 0.3,
  pause: 0.3,
  resume: 0.3,
  schedules: 0.3,
  schedule: 0.3,
} satisfies Record<Control["command"], 0.2 | 0.3>;

export const versionOf = (command: Control["command"]): 0.2 | 0.3 => controlCommands[command];

const isCommand = (command: string): command is Control["command"] => Object.hasOwn(controlCommands, command);

/** @param frames those after META */
export const decodeControl = (version: Meta["version"], frames: readonly Frame[]): Control | ProtocolError => {
  const [bytes] = frames;
  if (bytes === undefined || frames.length > 1) {
    return badFrame("CONTROL", `needs META and one DATA frame, got ${frames.length} after META`);
  }
  const value = decodeObject(bytes, "DATA");
  if (value instanceof ProtocolError) return value;
  const data = checkFrame(dataSchema, value, "DATA");
  if (data instanceof ProtocolError) return data;
  const command = isJsonObject(data.data) && data.data.command;
  if (typeof command === "string" && !(isCommand(command) && controlCommands[command] <= version)) {
    const known = Object.entries(controlCommands).flatMap(([name, since]) => (since <= version ? [name] : []));
    const why = isCommand(command) ? `takes version ${controlCommands[command]}` : `is not one of ${known.join(", ")}`;
    return new ProtocolError("UNKNOWN_COMMAND", `DATA.data.command: ${JSON.stringify(command.slice(0, 64))} ${why}`);
  }
  const control = checkFrame(controlSchema, data.data, "DATA.data");
  if (control instanceof ProtocolError || control.command !== "cancel") return control;
  if (control.job !== undefined && version === 0.2) return badFrame("DATA.data.job", "takes version 0.3");
  if ((control.job === undefined) !== (control.serial === undefined)) return control;
  return badFrame("DATA.data", "cancel needs a `serial` or a `job`");
};
