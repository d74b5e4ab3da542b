/** A job as CONTROL `jobs` and `job` show it: times are in seconds since 1970. */
import { type Frame, sizeOf, textOf } from "../protocol/frame.ts";
import type { Json } from "../protocol/json.ts";
import { requestorOf } from "./job.ts";
import { type AnyJob, isEnded, stateOf } from "./job-states.ts";
import { messageIn } from "./outcome.ts";
import type { Job } from "./state.ts";
import type { Tables } from "./tables.ts";

/** @param bytesMax arguments of more bytes are null */
export const reportJob = (tables: Tables, job: AnyJob, bytesMax: number, now: number): Json => {
  const seconds = (at: number): number | null => (at === 0 ? null : Math.round(tables.wallAt(at, now) * 1000) / 1000);
  const { startedAt, tries } = job;
  return {
    job: tables.ids.idOf(job.id),
    serial: isEnded(job) ? job.serial : (job.origin?.meta.serial ?? ""),
    task: job.name,
    requestor: isEnded(job) ? job.requestor : requestorOf(job),
    state: stateOf(job),
    code: isEnded(job) ? job.code : null,
    message: isEnded(job) && job.code !== null && job.outcome !== null ? messageIn(job.outcome.body) : null,
    ...argumentsIn(job.body, bytesMax),
    accepted: seconds(job.acceptedAt),
    due: isEnded(job) || job.state !== "delayed" ? null : dueOf(job, seconds(job.acceptedAt) ?? 0),
    started: seconds(startedAt),
    ended: isEnded(job) ? seconds(job.endedAt) : null,
    ms: isEnded(job) && job.ms > 0 ? job.ms : null,
    worker: isEnded(job) ? job.worker : (job.worker?.ready.id ?? null),
    tries,
    progress: isEnded(job) || job.progress === null ? null : dataIn(job.progress),
  };
};

const dueOf = ({ options: { delayMs, notBefore } }: Job, accepted: number): number =>
  notBefore ?? accepted + (delayMs ?? 0) / 1000;

/** Frames that were checked when they came, or that the engine's own workers have encoded. */
const parsed = (frame: Frame): { readonly [key: string]: Json } => JSON.parse(textOf(frame));

const argumentsIn = (body: Frame | null, bytesMax: number): { args: Json; kwargs: Json } => {
  if (body === null || sizeOf(body) > bytesMax) return { args: null, kwargs: null };
  const { args = null, kwargs = null } = parsed(body);
  return { args, kwargs };
};

const dataIn = (frame: Frame): Json => parsed(frame).data ?? null;
