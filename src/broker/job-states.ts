/** The states of jobs in the words of the diagram, of those that have ended, too. */
import type { JobStateName } from "../protocol/control.ts";
import type { ErrorCode } from "../protocol/errors.ts";
import type { EndedJob, Job } from "./state.ts";

export type AnyJob = Job | EndedJob;

export const isEnded = (job: AnyJob): job is EndedJob => "endedAt" in job;

/** The words of the diagram. The states of a safe stop are none of a job. */
export const stateOf = (job: AnyJob): JobStateName => {
  if (isEnded(job)) return endStateOf(job.code);
  return job.state === "safing" || job.state === "unsafe" || job.state === "ended" ? "running" : job.state;
};

/** The word for an end by this code. */
export const endStateOf = (code: ErrorCode | null): JobStateName =>
  code === null ? "done" : (endStates[code] ?? "failed");

const endStates: Partial<Record<ErrorCode, JobStateName>> = {
  TIMEOUT: "timed_out",
  CANCELLED: "cancelled",
  DEADMAN: "deadman",
  STOPPED: "stopped",
  PREEMPTED: "preempted",
  SUPERSEDED: "superseded",
  INTERRUPTED: "interrupted",
  EXPIRED: "expired",
};
