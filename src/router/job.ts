/** What the broker keeps of a job and of the request that asked for it. */

import type { Share } from "../access/shares.ts";
import { priorityDefault } from "../limits.ts";
import type { ErrorCode } from "../wire/errors.ts";
import type { Meta } from "../wire/frames.ts";
import type { Policy, TaskOptions } from "../wire/policy.ts";
import type { Worker } from "./workers.ts";

/** The envelope that a reply needs to find who asked. Opaque to the broker. */
export type Requestor = readonly Uint8Array[];

/** One message of a requestor that waits for its one terminal reply: one job, or as many as a batch has parts. */
export interface Request {
  readonly requestor: Requestor;
  /** The name that its key is known by; null where nobody is known. */
  readonly user: string | null;
  readonly meta: Pick<Meta, "version" | "serial">;
  /** Under which it is found again; null without a serial. */
  readonly key: string | null;
  /** How many jobs it has, and the bytes of all of them: so much of its client's share. */
  readonly parts: number;
  readonly bytes: number;
  readonly share: Share;
  /** Those that have not ended: what has ended is not kept until the last of a batch has. */
  readonly jobs: Set<Job>;
  /** The parts of a batch's reply that are there. */
  readonly results: (Uint8Array | undefined)[];
  resultBytes: number;
  /** Parts without a result. */
  left: number;
  /** When its requestor was last told how far it is. */
  progressAt: number;
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
  readonly kind: "task" | "put" | "get";
  /** The task's name, or the topic. */
  readonly name: string;
  /** Which queue it waits in: what a worker must serve to get it. */
  readonly queue: string;
  /** The TASK or DATA frame as it came; empty for `get`. */
  readonly body: Uint8Array;
  readonly options: TaskOptions;
}

export interface Job extends Draft {
  /** Grows with each job that is accepted. */
  readonly id: number;
  readonly priority: number;
  /** ms, on the clock of the broker's `now`, as all times here. */
  readonly acceptedAt: number;
  /** It must not begin after this; Infinity for no limit. */
  readonly expiresAt: number;
  /** null: nobody waits for an answer (a task's own publication). */
  readonly request: Request | null;
  /** Which part of the batch it is. */
  readonly part: number;
  state: JobState;
  /** Who holds it. */
  worker: Worker | null;
  /** How often it was, or may have been, begun and cut off or failed. */
  tries: number;
  /** Workers that have died of it. */
  kills: number;
  /** Set once it has been told to end: however its worker answers then, it ends by this. */
  stop: Stop | null;
}

/** @param policy what the task's own definition sets: of two limits the tighter one holds */
export const createJob = (
  draft: Draft,
  id: number,
  { request, part }: Pick<Job, "request" | "part">,
  policy: Policy | undefined,
  now: number,
): Job => ({
  ...draft,
  id,
  priority: draft.options.priority ?? priorityDefault,
  acceptedAt: now,
  expiresAt: now + Math.min(draft.options.ttlMs ?? Number.POSITIVE_INFINITY, policy?.ttlMs ?? Number.POSITIVE_INFINITY),
  request,
  part,
  state: "queued",
  worker: null,
  tries: 0,
  kills: 0,
  stop: null,
});

/** Queue of a task, and of the topics that one data worker keeps. */
export const taskQueue = (name: string): string => `task ${name}`;
export const dataQueue = (endpoint: string): string => `data ${endpoint}`;
