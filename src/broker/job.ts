/** What the broker keeps of a job and of the request that asked for it. */

import { priorityDefault, priorityMax } from "../limits.ts";
import type { Requestor } from "../protocol/envelope.ts";
import type { ErrorCode } from "../protocol/errors.ts";
import type { Frame } from "../protocol/frame.ts";
import type { Meta } from "../protocol/frames.ts";
import type { Policy, TaskOptions } from "../protocol/policy.ts";
import type { Share } from "../security/shares.ts";
import type { Asker } from "./requests.ts";
import type { Worker } from "./workers.ts";

/** One message of a requestor that waits for its one terminal reply: one job, or as many as a batch has parts. */
export interface Request {
  readonly requestor: Requestor;
  /** The name that its key is known by; null where nobody is known. */
  readonly user: string | null;
  readonly meta: Pick<Meta, "version" | "serial">;
  /** With whom it is found again by its serial; null without one. */
  readonly asker: Asker | null;
  /** How many jobs it has, and the bytes of all of them: so much of its client's share. */
  readonly parts: number;
  readonly bytes: number;
  readonly share: Share;
  /** Its jobs by their parts; `undefined` once they have ended: what has ended is not kept until the last of a batch has. */
  readonly jobs: (Job | undefined)[];
  /** The parts of a batch's reply that are there. */
  readonly results: (Frame | undefined)[];
  resultBytes: number;
  /** Parts without a result. */
  left: number;
  /** When its requestor was last told how far it is. */
  progressAt: number;
  /** When its requestor was last known to be there, and how long after that those of its jobs end that need it; Infinity for none. */
  aliveAt: number;
  deadmanMs: number;
}

/** Why a job ends before its time. */
export interface Stop {
  readonly code: ErrorCode;
  readonly message: string;
}

/**
 * queued: may be handed out · waiting: for its next try · held: a worker has it, and may have begun it · ended: answered.
 */
export type JobState = "queued" | "waiting" | "held" | "ended";

/** What is to be done, before it is accepted. */
export interface Draft {
  /** `safe`: run a task's `onStop`, for a job of it has ended other than by itself. */
  readonly kind: "task" | "put" | "get" | "safe";
  /** The task's name, or the topic. */
  readonly name: string;
  /** Which queue it waits in: what a worker must serve to get it. */
  readonly queue: string;
  /** The TASK or DATA frame as it came; empty for `get`. */
  readonly body: Frame;
  /** that it has. */
  readonly bytes: number;
  readonly options: TaskOptions;
  /** What its task's definition says: of two limits the tighter one holds. */
  readonly policy: Policy;
  /** Of a `put` that nobody waits for: what has published it, for people. */
  readonly publisher?: string | undefined;
  /** Of `safe`: how the job has ended that it is for. */
  readonly why?: Stop | undefined;
}

export interface Job extends Draft {
  /** Grows with each job that is accepted. */
  readonly id: number;
  readonly priority: number;
  /** As of its acceptance, or of when the task files were read anew since, while it was waiting. */
  policy: Policy;
  /** ms, on the clock of the broker's `now`, as all times here. */
  readonly acceptedAt: number;
  /** It must not begin after this; Infinity for no limit. */
  readonly expiresAt: number;
  /** null: nobody waits for an answer (a task's own publication), or it was given already. */
  request: Request | null;
  /** Which part of the batch it is. */
  readonly part: number;
  /** Its place among those of its priority: its id and its acceptance, or those of the job whose place it has taken. */
  place: Place;
  state: JobState;
  /** Who holds it. */
  worker: Worker | null;
  /** How often it was, or may have been, begun and cut off or failed. */
  tries: number;
  /** Workers that have died of it. */
  kills: number;
  /** A newer one has come while it ran: once cut off or given back, it does not begin again. */
  isReplaced: boolean;
  /** Set once it has been told to end: however its worker answers then, it ends by this. */
  stop: Stop | null;
}

/** Those jobs of a request that have not ended. */
export const openJobs = ({ jobs }: Request): Job[] => jobs.filter((job) => job !== undefined);

/** Of two limits in ms the tighter one; Infinity where there is none. */
export const tighter = (a: number | undefined, b: number | undefined): number =>
  Math.min(a ?? Number.POSITIVE_INFINITY, b ?? Number.POSITIVE_INFINITY);

export const createJob = (
  draft: Draft,
  id: number,
  { request, part }: Pick<Job, "request" | "part">,
  now: number,
): Job => ({
  // One by one: to spread a draft takes as long as all the rest.
  kind: draft.kind,
  name: draft.name,
  queue: draft.queue,
  body: draft.body,
  bytes: draft.bytes,
  options: draft.options,
  policy: draft.policy,
  why: draft.why,
  publisher: draft.publisher,
  id,
  priority: draft.options.priority ?? priorityDefault,
  acceptedAt: now,
  expiresAt: now + tighter(draft.options.ttlMs, draft.policy.ttlMs),
  request,
  part,
  place: { id, at: now },
  state: "queued",
  worker: null,
  tries: 0,
  kills: 0,
  isReplaced: false,
  stop: null,
});

const noResources: readonly string[] = [];

/** Where a job stands in its queue. */
export interface Place {
  readonly id: number;
  readonly at: number;
}

/** Above all that can be asked for are those that take from others what they need, by their own priority, and above them what makes safe. */
export const urgentPriority = priorityMax + 1;
export const safingPriority = 2 * urgentPriority;

/** By which priority it waits: a job that would take what others hold has to be before those that wait for the same. */
export const waitingPriority = (job: Job): number => {
  if (job.kind === "safe") return safingPriority;
  return job.options.preempt === true && resourcesOf(job).length > 0 ? urgentPriority + job.priority : job.priority;
};

/** What it must hold to run, or to be made safe. */
export const resourcesOf = ({ policy }: Job): readonly string[] => policy.resources ?? noResources;

/** ms that its requestor may be quiet; Infinity for ever. */
export const deadmanOf = ({ options, policy }: Pick<Draft, "options" | "policy">): number =>
  tighter(options.deadmanMs, policy.deadmanMs);

/** Queue of a task, of its `onStop`, and of the topics that one data worker keeps. */
export const taskQueue = (name: string): string => `task ${name}`;
export const safeQueue = (name: string): string => `safe ${name}`;
export const dataQueue = (endpoint: string): string => `data ${endpoint}`;
