/** Counts for `status`, so that nothing is dropped without a trace. */
import { statisticsTasksMax } from "../limits.ts";
import type { ErrorCode } from "../protocol/errors.ts";

/** Why a message came to nothing. */
export type DropReason =
  /** of a worker, for a job that it does not hold (any more) */
  | "lateAnswer"
  | "progressOfNoJob"
  /** or no line of a log */
  | "logOfNoJob"
  | "workersMessage"
  | "publicationWithoutDataWorker"
  | "publicationQueueFull"
  /** a newer one of its topic came while it waited, and there was no room for both */
  | "publicationReplaced"
  /** by the data worker: there are too many topics, or bytes of them */
  | "publicationRefused"
  | "publicationWhileStopping"
  /** an event of the engine's own topics, whose data worker does not read */
  | "eventNotRead"
  /** of a client that lacks a right */
  | "unauthorized"
  /** of a worker that lacks a right */
  | "publicationUnauthorized"
  /** READY of a worker that is one too many, or lacks a right */
  | "workerNotAdmitted"
  /** KEEPALIVE of a request that is answered, or never was */
  | "keepAliveOfNoRequest"
  /** the connection was ended for an incomplete message */
  | "requestorCut"
  | "requestorGone"
  | "requestorNotReading";

export class Statistics {
  accepted = 0;
  done = 0;
  retried = 0;
  readonly #failed = new Map<ErrorCode, number>();
  readonly #dropped = new Map<DropReason, number>();
  readonly #runs = new Map<string, Histogram>();

  /** Returns the number of drops for this reason so far, these included. */
  drop(reason: DropReason, times = 1): number {
    return increase(this.#dropped, reason, times);
  }

  /** A job has ended. @param code null for a success */
  ended(code: ErrorCode | null): void {
    if (code === null) this.done++;
    else increase(this.#failed, code);
  }

  /** @param ms run time of the task */
  ran(task: string, ms: number): void {
    let runs = this.#runs.get(task);
    if (runs === undefined) {
      if (this.#runs.size >= statisticsTasksMax) return;
      runs = new Histogram();
      this.#runs.set(task, runs);
    }
    runs.add(ms);
  }

  report() {
    return {
      accepted: this.accepted,
      done: this.done,
      retried: this.retried,
      failed: Object.fromEntries(this.#failed),
      dropped: Object.fromEntries(this.#dropped),
    };
  }

  /** Number of runs, and the ms that 50 and 99 % of them took at most. */
  runsOf(task: string): { count: number; p50Ms: number | null; p99Ms: number | null } {
    const runs = this.#runs.get(task);
    return { count: runs?.count ?? 0, p50Ms: runs?.quantile(0.5) ?? null, p99Ms: runs?.quantile(0.99) ?? null };
  }
}

const increase = <Key>(counts: Map<Key, number>, key: Key, by = 1): number => {
  const count = (counts.get(key) ?? 0) + by;
  counts.set(key, count);
  return count;
};

const smallestMs = 0.001;
const factor = 1.1;
const bucketCount = 256;
const logFactor = Math.log(factor);

/** Run times in buckets that grow by a factor: quantiles within 10 %, in constant memory. */
export class Histogram {
  readonly #buckets = new Uint32Array(bucketCount);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  add(ms: number): void {
    const bucket = ms <= smallestMs ? 0 : Math.ceil(Math.log(ms / smallestMs) / logFactor);
    const index = Math.min(bucket, bucketCount - 1);
    this.#buckets[index] = (this.#buckets[index] ?? 0) + 1;
    this.#count++;
  }

  /**
   * ms: the upper end of the bucket of the quantile; null without runs.
   * @param share 0.5 for the median
   */
  quantile(share: number): number | null {
    if (this.#count === 0) return null;
    let left = Math.ceil(share * this.#count);
    for (const [index, count] of this.#buckets.entries()) {
      left -= count;
      if (left <= 0) return Number((smallestMs * factor ** index).toPrecision(3));
    }
    return null;
  }
}
