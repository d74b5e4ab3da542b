/** The options of the client and of its requests. Times are in ms. */
import type { OnBehalf } from "../protocol/frames.ts";
import type { Json } from "../protocol/json.ts";
import type { TaskOptions } from "../protocol/policy.ts";
import type { BatchProgress } from "./batch.ts";
import type { PublishRefusal } from "./data-plane.ts";
import type { KeyFiles } from "./keys.ts";

/** Gets every message but the connection's own pings, without the empty delimiter. */
export type Trace = (direction: "sending" | "received", frames: readonly string[]) => void;

export interface ConnectOptions extends KeyFiles {
  /**
   * ms that a request waits for a connection, and that `publish`, `get`, `tasks`, `status`,
   * `cancel` and `estop` may take in all. A request that gets no connection in that time fails with
   * NO_ANSWER and is never sent.
   *
   * If it is given, requests wait for an engine that has not started yet. If not, it is 5000, and a
   * request fails at once if the system reports that nothing listens there, until the client has
   * been connected once. After that it waits for the engine.
   */
  readonly waitMs?: number;
  /**
   * State folder of an engine on this machine: its own user, and root, need no key to reach it.
   * Default `TASK_ENGINE_STATE`, or else the usual ones.
   */
  readonly state?: string;
  /**
   * Gets values that nobody asked to confirm, and that the data worker has not taken: at most one
   * call a second for a topic and a reason. Default: the first of a kind is a warning of the
   * process.
   */
  readonly onPublishError?: (refusal: PublishRefusal) => void;
  /** Gets every message. */
  readonly trace?: Trace;
}

/**
 * The limits of a job, which the engine keeps, and those of the wait for it, which the client
 * keeps. The engine's are:
 * - `priority`: 0 to 9, the highest goes first, default 5;
 * - `ttlMs`: a job that has not begun by then ends as EXPIRED and never begins;
 * - `timeoutMs`: a job that runs longer is stopped and ends as TIMEOUT;
 * - `latest`, a key: a job takes the place of a waiting job of the same task and key, which ends as
 *   SUPERSEDED, and with `{ key, abort: true }` also of a running one;
 * - `preempt`: a job takes the resources it needs from jobs of lower priority, if their task allows
 *   it;
 * - `unique`, a key: while a job of the same task and key has not ended, and for `windowMs` of
 *   `{ key, windowMs }` from its acceptance, its result is given and no other job begins;
 * - `delayMs`, or `notBefore` in seconds since 1970: a job is not begun before that;
 * - `deadmanMs`: a job, waiting or running, ends as DEADMAN unless this client keeps it alive in
 *   each such time. The client does so by itself while this program's event loop turns: a program
 *   that hangs or dies lets the robot stop.
 */
export interface JobOptions extends Readonly<Omit<TaskOptions, "detach" | "durable">> {
  /**
   * ms that the client waits for the reply, counted from the call; default 60000, Infinity for no
   * limit. Then the request fails with NO_ANSWER, and the job is cancelled: a robot must not do
   * what no program waits for any more.
   */
  readonly waitMs?: number;
  /**
   * Aborting it cancels the job. The engine's reply ends it: CANCELLED, or its result if that was
   * quicker.
   */
  readonly signal?: AbortSignal;
  /**
   * Gets a function that says KEEPALIVE, and the `deadmanMs` that holds, once the job has a dead
   * man by its options or its task. The client then keeps it alive no more by itself: only these
   * calls do.
   */
  readonly keepAlive?: (say: () => void, deadmanMs: number) => void;
  /**
   * The person for whom this program asks, by its right `delegate`: the engine applies the rights
   * of both. An engine of an earlier release rejects it.
   */
  readonly onBehalf?: OnBehalf | undefined;
}

export interface ResetOptions {
  /**
   * ms that the client waits for the reply; default 30000, since the engine first ends what its
   * stop began. Then NO_ANSWER.
   */
  readonly waitMs?: number;
  /**
   * Aborting it gives the reset up. A reset that is given up in either way does not end the stop
   * later.
   */
  readonly signal?: AbortSignal;
}

export interface CallOptions extends JobOptions {
  /** Gets the task's progress. */
  readonly onProgress?: (data: Json) => void;
  /**
   * True: the result may be binary, such as a photo: then it is a Uint8Array, or the typed array
   * that the task has named. Without it such a result rejects with TASK_ERROR. An engine of an
   * earlier release rejects with UNSUPPORTED_VERSION, and runs nothing.
   */
  readonly binary?: boolean;
}

/**
 * For calls that nobody waits for: the job goes on when this program has ended. Its task must say
 * that it moves nothing (`moves: false`), or `resumesAfterRestart`.
 */
export type DetachOptions = JobOptions & {
  readonly detach: true;
  /**
   * True: the job is on the disk before it is accepted, and outlives the engine; its task must be
   * `durable`, or the call rejects with NOT_DURABLE. Default: true for a task that is.
   */
  readonly durable?: boolean;
};

/** For calls whose result may be binary. */
export type BinaryCallOptions = CallOptions & { readonly binary: true };

/**
 * `waitMs` counts for each message of up to 1000 parts, from its sending; the engine's limits count
 * for each part.
 */
export interface BatchOptions extends JobOptions {
  /** Named arguments of every part. */
  readonly kwargs?: object;
  readonly onProgress?: (progress: BatchProgress) => void;
}
