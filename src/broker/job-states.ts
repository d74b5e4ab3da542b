/** The states of jobs in the words of the diagram, of those that have ended, too. */
import { endStateOf, type JobStateName } from "../protocol/control.ts";
import type { EndedJob, Job } from "./state.ts";

export type AnyJob = Job | EndedJob;

export const isEnded = (job: AnyJob): job is EndedJob => "endedAt" in job;

/** The words of the diagram. The states of a safe stop are none of a job. */
export const stateOf = (job: AnyJob): JobStateName => {
  if (isEnded(job)) return endStateOf(job.code);
  return job.state === "safing" || job.state === "unsafe" || job.state === "ended" ? "running" : job.state;
};
