/**
 * Reasons why the engine does not begin a task: an emergency stop, its quarantine, or its pause.
 */
import { quarantineWindowMs } from "../limits.ts";

/** An emergency stop, from its request until its reset. */
export interface Stopped {
  /** As the requestor gave it; may be empty. */
  readonly reason: string;
  /** seconds since 1970 */
  readonly since: number;
}

/** The answer to a request for an emergency stop: the stop that holds. */
export interface StopResult extends Stopped {
  /** It is on the disk, so the next start of the engine finds it. */
  readonly durable: boolean;
  /** Why it is not known to be on the disk; absent if it is. */
  readonly why?: string;
}

/**
 * A task that is blocked until the task files are read again, because its jobs have killed workers.
 */
export interface Quarantined {
  readonly task: string;
  /** seconds since 1970 */
  readonly since: number;
  /** workers that died of its jobs */
  readonly deaths: number;
  /** The end of the last one, as words that follow its name: `ended by SIGSEGV`. */
  readonly how: string;
}

/**
 * A task whose waiting jobs do not begin, or a schedule without runs, until somebody resumes it.
 */
export interface Paused {
  readonly name: string;
  /** seconds since 1970 */
  readonly since: number;
}

/** All that is paused. */
export interface Pauses {
  readonly tasks: readonly Paused[];
  readonly schedules: readonly Paused[];
}

/**
 * The refusal of a job during an emergency stop, by the router and at a worker's own port alike.
 */
export const stoppedMessage = ({ reason, since }: Stopped): string => {
  const at = new Date(since * 1000);
  // It may come from a file that a person wrote: an invalid time must not keep an engine from being
  // stopped.
  const when = Number.isNaN(at.getTime()) ? "a time that is not known" : at.toISOString();
  return `in emergency stop since ${when}${reason === "" ? "" : ` (${reason})`}; task-engine reset ends it`;
};

/** Why a job of a paused task does not begin. */
export const pausedMessage = ({ name, since }: Paused): string =>
  `${name} is paused since ${new Date(since * 1000).toISOString()}; task-engine resume ${name} ends it`;

/** The refusal of a job of a task in quarantine. */
/** A process that the engine works without, and that cannot start. */
export interface Trouble {
  /** `gateway` or `link` */
  readonly process: string;
  /** seconds since 1970 */
  readonly since: number;
  /** One line, with its remedy. */
  readonly why: string;
}

export const quarantinedMessage = ({ task, since, deaths, how }: Quarantined): string =>
  `${task} is quarantined since ${new Date(since * 1000).toISOString()}: ` +
  `${deaths} workers died of its jobs within ${quarantineWindowMs / 1000} s, ` +
  `the last of which ${how}; fix it, then run task-engine reload`;
