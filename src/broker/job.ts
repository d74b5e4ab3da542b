/**
 * Makes jobs of drafts, and derives their limits from their options and the policy of their task.
 */
import {
  abortGraceMs,
  onStopMs,
  onStopTriesMax,
  priorityDefault,
  priorityMax,
  retryBackoffMs,
  triesDefault,
} from "../limits.ts";
import { type Frame, sizeOf } from "../protocol/frame.ts";
import type { Policy } from "../protocol/policy.ts";
import type { Draft, HeldJob, Job, OpenRequest, RequestSender, Worker } from "./state.ts";

export const createJob = (
  draft: Draft,
  id: number,
  { request, part }: Pick<Job, "request" | "part">,
  now: number,
): Job => ({
  // One by one: a spread of the draft takes as long as all the rest.
  kind: draft.kind,
  name: draft.name,
  queue: draft.queue,
  body: draft.body,
  bytes: draft.bytes,
  options: draft.options,
  policy: draft.policy,
  why: draft.why,
  publisher: draft.publisher,
  schedule: draft.schedule,
  id,
  priority: draft.options.priority ?? priorityDefault,
  expiresAt: expiryOf(draft, now),
  acceptedAt: now,
  startedAt: 0,
  origin: request,
  request,
  part,
  place: { id, at: now },
  state: "queued",
  worker: null,
  tries: 0,
  kills: 0,
  isReplaced: false,
  stop: null,
  progress: null,
  log: null,
  durable: null,
});

/**
 * The person who asked for a job: the user of its key, or META's `id` without one; null for nobody.
 */
export const requestorOf = ({ origin, schedule }: Pick<Job, "origin" | "schedule">): string | null =>
  (origin && personOf(origin)) ?? origin?.meta.id ?? (schedule === undefined ? null : `schedule ${schedule}`);

/** When a job that may begin from now on must not begin any more; Infinity for no limit. */
export const expiryOf = ({ options, policy }: Pick<Draft, "options" | "policy">, now: number): number =>
  now + tighter(options.ttlMs, policy.ttlMs);

/** ACCEPTED was the reply to its request, and nobody needs to wait for it. */
export const isDetached = ({ options }: Pick<Draft, "options">): boolean =>
  options.detach === true || options.durable === true;

/** Its definition and its request want it to outlive the engine. */
export const isDurable = (draft: Pick<Draft, "options" | "policy">): boolean =>
  draft.policy.durable === true && (draft.options.durable ?? isDetached(draft));

export const noOptions: Draft["options"] = {};
const noPolicy: Draft["policy"] = {};

export const dataDraft = (
  kind: "put" | "get",
  topic: string,
  queue: string,
  body: Frame,
  publisher?: string,
): Draft => ({
  kind,
  name: topic,
  queue,
  body,
  bytes: sizeOf(body),
  options: noOptions,
  policy: noPolicy,
  publisher,
});

/** Jobs of a request that have not ended. */
export const openJobs = ({ jobs }: OpenRequest): Job[] => jobs.filter((job) => job !== undefined);

/** Jobs that a worker holds, in the order in which it runs them. */
export const jobsOf = (worker: Worker): Job[] => [...worker.held.values()].map(({ job }) => job);

/** The first job that a worker holds, which runs. */
export const headOf = (worker: Worker): HeldJob | undefined => worker.held.values().next().value;

/** Returns the tighter one of two limits in ms; Infinity if there is none. */
export const tighter = (a: number | undefined, b: number | undefined): number =>
  Math.min(a ?? Number.POSITIVE_INFINITY, b ?? Number.POSITIVE_INFINITY);

/** Longest silence of the requestor, in ms; Infinity for no limit. */
export const deadmanOf = ({ options, policy }: Pick<Draft, "options" | "policy">): number =>
  tighter(options.deadmanMs, policy.deadmanMs);

/** ms from the abort signal of a job to the death of its worker. */
export const graceOf = ({ policies }: Worker, { name }: Job): number => policies.get(name)?.graceMs ?? abortGraceMs;

/** ms that one run of the `onStop` of its task may take. */
export const onStopLimitOf = ({ policy }: Job): number => policy.onStopMs ?? onStopMs;

const noResources: readonly string[] = [];

/** Resources that it holds while it runs and until it is safe. */
export const resourcesOf = ({ policy }: Pick<Job, "policy">): readonly string[] => policy.resources ?? noResources;

/** An emergency stop ends it. Sensor data and safe stops go on. */
export const isStoppable = ({ kind, policy }: Pick<Draft, "kind" | "policy">): boolean =>
  kind === "task" && policy.allowedWhenStopped !== true;

/**
 * It is dispatched to an idle worker only. A safe stop must not wait behind other jobs. Nor must
 * other jobs wait behind a job that may need a safe stop, until which no job of its task may begin.
 */
export const runsAlone = ({ kind, policy }: Job): boolean => kind === "safe" || policy.onStop === true;

/**
 * Above all priorities that can be asked for: jobs that preempt, by their own, and then safe stops.
 */
export const urgentPriority = priorityMax + 1;
const safeStopPriority = 2 * urgentPriority;

/** Its priority in the queue: a job that preempts is before all that do not. */
export const waitingPriority = (job: Job): number => {
  if (job.kind === "safe") return safeStopPriority;
  return job.options.preempt === true && resourcesOf(job).length > 0 ? urgentPriority + job.priority : job.priority;
};

/** The queues of a task, of its safe stops, and of the topics of one data worker. */
export const taskQueue = (name: string): string => `task ${name}`;
export const safeQueue = (name: string): string => `safe ${name}`;
export const dataQueue = (endpoint: string): string => `data ${endpoint}`;

/** How a task is retried. `tries` counts the first one too. */
export interface RetryPolicy {
  readonly tries: number;
  readonly backoffMs: number;
  readonly onError: boolean;
}

export const safeStopRetries: RetryPolicy = { tries: onStopTriesMax, backoffMs: retryBackoffMs, onError: true };

/** null for a task that may run only once. */
export const retryPolicyOf = (policy: Policy | undefined): RetryPolicy | null => {
  const declared = policy?.idempotent;
  if (declared === undefined || declared === false) return null;
  const { tries = triesDefault, backoffMs = retryBackoffMs, onError = false } = declared === true ? {} : declared;
  return { tries, backoffMs, onError };
};

/**
 * Whose request it is: the person for whom a gateway asks, else the name of the key; null without
 * keys.
 */
export const personOf = ({ user, meta }: Pick<RequestSender, "user" | "meta">): string | null =>
  meta.onBehalf === undefined ? user : meta.onBehalf.name;
