/** Another try of a job that was cut off or has failed, after a pause. */
import { retryBackoffMsMax } from "../limits.ts";
import { type RetryPolicy, retryPolicyOf, safeStopRetries } from "./job.ts";
import type { Job, Worker } from "./state.ts";
import type { Tables } from "./tables.ts";

/** How a job that has begun may be tried again; null if it may not. */
export const nextTry = (tables: Tables, worker: Worker, job: Job): RetryPolicy | null => {
  if (job.stop !== null || tables.blocks.reasonFor(job) !== null) return null;
  const retry = job.kind === "safe" ? safeStopRetries : retryPolicyOf(worker.policies.get(job.name));
  return retry !== null && job.tries + 1 < retry.tries ? retry : null;
};

/**
 * retrying ─► queued, after the pause.
 * @param random 0 ≤ random() < 1: jobs that failed together are not tried again together
 */
export const parkForRetry = (
  { queues, statistics, timers }: Tables,
  job: Job,
  { backoffMs }: RetryPolicy,
  random: () => number,
  now: number,
): void => {
  if (job.kind === "task") statistics.retried++;
  queues.park(job, "retrying");
  // Between half and all of it.
  const delayMs = Math.min(backoffMs * 2 ** (job.tries - 1), retryBackoffMsMax) * (0.5 + random() / 2);
  timers.add({
    at: now + delayMs,
    isAlive: () => job.state === "retrying",
    fire: () => {
      queues.putBack(job);
      return [];
    },
  });
};
