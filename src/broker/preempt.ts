/** Jobs that take what they need from others of lower priority. */
import type { Effect } from "./effects.ts";
import { type Job, resourcesOf } from "./job.ts";
import type { Jobs } from "./jobs.ts";

/** Takes what a waiting job needs from those that hold it, where it asks for that, and their tasks allow it. */
export const preempt = (jobs: Jobs, job: Job, now: number): Effect[] => {
  if (job.options.preempt !== true) return [];
  const { resources } = jobs.lifecycle;
  const holders = new Set(resourcesOf(job).flatMap((resource) => [...resources.holdersOf(resource)]));
  const canBeTaken = (holder: Job): boolean =>
    holder.kind === "task" && holder.policy.preemptible === true && holder.priority < job.priority;
  if (![...holders].every(canBeTaken)) return [];
  const message = `${job.name} of priority ${job.priority} needed what it held`;
  return jobs.stopAll(holders, { code: "PREEMPTED", message }, now);
};
