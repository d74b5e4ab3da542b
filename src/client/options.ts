/** What can be asked of the client beside the request itself. Times are in ms. */
import type { Json } from "../protocol/json.ts";
import type { TaskOptions } from "../protocol/policy.ts";
import type { BatchProgress } from "./batch.ts";
import type { KeyFiles } from "./keys.ts";

/** Gets every message but the connection's own pings, without the empty delimiter. */
export type Trace = (direction: "sending" | "received", frames: readonly string[]) => void;

export interface ConnectOptions extends KeyFiles {
  /**
   * ms that a request waits for a connection, and that `publish`, `get`, `tasks`, `status`, `cancel` and `estop` may take in all. What gets no connection in that time fails with NO_ANSWER and is never sent.
   *
   * Given, an engine that is not there yet is waited for. Not given, it is 5000, and a request fails at once where the system says that
   * there is nobody to connect to: until the client has been connected once. After that it waits for the engine to come back.
   */
  readonly waitMs?: number;
  /** Is told of every message. */
  readonly trace?: Trace;
}

/**
 * How the engine is to run a job, and how long this client waits for it: two things. The engine keeps `priority` (0 to 9,
 * the highest goes first, default 5), `ttlMs` (a job that has not begun by then ends as EXPIRED and never begins),
 * `timeoutMs` (a job that runs longer is stopped and ends as TIMEOUT), `latest` (a key: of the jobs of a task with the same
 * one the newest takes the place of those that wait, which end as SUPERSEDED, and with `{ key, abort: true }` also of one
 * that runs) and `preempt` (what it needs is taken from a job of lower priority, where that one's task allows it).
 *
 * With `deadmanMs` the job ends as DEADMAN, whether it waits or runs, unless this client shows in each such time that it
 * is there. It does so by itself, as long as this program's event loop turns: a program that hangs or dies lets the robot stop.
 */
export interface JobOptions extends Readonly<TaskOptions> {
  /**
   * ms that the client waits for the answer, counted from the call; default 60000, Infinity for ever. Then it fails with
   * NO_ANSWER, and the job is cancelled: a robot must not do what nobody waits for any more.
   */
  readonly waitMs?: number;
  /** Aborting it cancels the job, which then ends by the engine's word: CANCELLED, or its result where that was quicker. */
  readonly signal?: AbortSignal;
}

export interface ResetOptions {
  /** ms that the client waits for the answer; default 30000: the engine first ends what its stop has begun. Then NO_ANSWER. */
  readonly waitMs?: number;
  /** Aborting it gives the reset up. What is given up in either way does not end the stop later. */
  readonly signal?: AbortSignal;
}

export interface CallOptions extends JobOptions {
  /** Is given what the task says of its progress. */
  readonly onProgress?: (data: Json) => void;
}

/** `waitMs` counts for each message of up to 1000 parts, from when it is sent; the engine's limits for each part. */
export interface BatchOptions extends JobOptions {
  /** Named arguments of every part. */
  readonly kwargs?: object;
  readonly onProgress?: (progress: BatchProgress) => void;
}
