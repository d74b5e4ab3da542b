/** A job as the executor takes it, and the outcome that it gives. */
import type { LogLine } from "../protocol/engine-topics.ts";
import type { ErrorCode } from "../protocol/errors.ts";
import type { Task } from "../protocol/frames.ts";
import type { BinaryType } from "../protocol/values.ts";
import type { StopReason } from "../tasks/task.ts";

/** Names a job, in the log and for its task. */
export interface JobName {
  /** The task's, without the prefix `task_`. */
  readonly name: string;
  /** The requestor's name for the job; empty if it gave none. */
  readonly serial: string;
  /** The router's number; absent for a job that did not come from it. */
  readonly id?: number;
}

interface AnyJob extends JobName {
  /** Called right before it begins. */
  readonly begin?: () => void;
  /** Called once, never from within `submit`. The executor does not catch its errors. */
  readonly done: (outcome: TaskOutcome) => void;
}

/** Runs a task. */
export interface TaskJob extends AnyJob {
  /** Its TASK frame. The task may change the arguments in it. */
  readonly task: Task;
  /** It must not begin after this time of performance.now(); absent: whenever. */
  readonly expiresMs?: number;
  /** Called with a DATA frame when the task says how far it is. */
  readonly progress?: (dataFrame: string) => void;
  /** Called with each line of its log. */
  readonly log?: (level: LogLine["level"], text: string) => void;
  /** Called when it has let go and its task's `onStop` is about to run. `done` comes after that. */
  readonly safing?: () => void;
}

/** Runs a task's `onStop` alone, for a job that has ended elsewhere. */
export interface OnStopJob extends AnyJob {
  readonly why: StopReason;
}

export type WorkerJob = TaskJob | OnStopJob;

export const isOnStopJob = (job: WorkerJob): job is OnStopJob => "why" in job;

/**
 * `data`: a DATA frame, or with `contentType` the bytes of a binary result. `ms`: how long the job
 * ran, without its `onStop`; 0 if it never began.
 */
export type TaskOutcome =
  | { readonly ok: true; readonly data: string; readonly ms: number; readonly contentType?: undefined }
  | { readonly ok: true; readonly data: Buffer; readonly ms: number; readonly contentType: BinaryType }
  | {
      readonly ok: false;
      readonly code: ErrorCode;
      readonly message: string;
      readonly ms: number;
      /** Its `onStop` was due and has failed. */
      readonly isUnsafe?: boolean;
    };

/** The outcome of a job that will not begin here since the worker leaves. Compare by identity. */
export const leftUnbegun: TaskOutcome = { ok: false, code: "SHUTTING_DOWN", message: "the engine is stopping", ms: 0 };
