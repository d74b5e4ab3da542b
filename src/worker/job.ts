/** What an executor is given to do, and what it makes of it. */
import type { ErrorCode } from "../protocol/errors.ts";
import type { Task } from "../protocol/frames.ts";
import type { StopReason } from "../tasks/task.ts";

interface Asked {
  /** The task's, without the prefix `task_`. */
  readonly name: string;
  /** The requestor's name for the job; empty if it gave none. */
  readonly serial: string;
  /** Called right before it begins. */
  readonly begin?: () => void;
  /** Called once, never from within `submit`. What it throws is not caught here. */
  readonly done: (outcome: Outcome) => void;
}

/** To run a task. */
export interface Job extends Asked {
  /** Its TASK frame. The task may change the arguments in it. */
  readonly task: Task;
  /** It must not begin after this time of performance.now(); left out: whenever. */
  readonly expiresMs?: number;
  /** Called when it has let go and its task's `onStop` is about to run. `done` comes after that. */
  readonly safing?: () => void;
}

/** To run a task's `onStop` alone, for a job that has ended elsewhere. */
export interface SafeJob extends Asked {
  readonly why: StopReason;
}

export type Work = Job | SafeJob;

export const isSafeJob = (work: Work): work is SafeJob => "why" in work;

/** How a job ended. `data` is its DATA frame `{data, pack}`, `ms` how long it ran (0 if it never did), without its `onStop`. */
export type Outcome =
  | { readonly ok: true; readonly data: string; readonly ms: number }
  | {
      readonly ok: false;
      readonly code: ErrorCode;
      readonly message: string;
      readonly ms: number;
      /** Its `onStop` was due and has failed. */
      readonly isUnsafe?: boolean;
    };

/** Of what has not begun, and will not here: the worker leaves. No other outcome is this one, whatever its code. */
export const leftUnbegun: Outcome = { ok: false, code: "SHUTTING_DOWN", message: "the engine is stopping", ms: 0 };
