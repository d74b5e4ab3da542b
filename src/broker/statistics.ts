/** What the broker counts: for `status`, and so that nothing is dropped without a trace. */
import { statisticsTasksMax } from "../limits.ts";
import type { ErrorCode } from "../protocol/errors.ts";
import { Histogram } from "./histogram.ts";

/** Why a message came to nothing. */
export type DropReason =
  /** of a worker, for a job that it does not hold: answered already, or never its own */
  | "lateAnswer"
  | "progressOfNoJob"
  | "workersMessage"
  | "publicationWithoutDataWorker"
  | "publicationQueueFull"
  /** a newer one of its topic has come while it waited, and there was no room for both */
  | "publicationReplaced"
  /** by the data worker: there are too many topics, or bytes of them */
  | "publicationRefused"
  | "publicationWhileStopping"
  /** of a client, for want of a right */
  | "unauthorized"
  /** of a worker's, for want of a right */
  | "publicationUnauthorized"
  /** READY of one too many, or for want of a right */
  | "workerNotAdmitted"
  /** KEEPALIVE of a request that is answered, or never was */
  | "keepAliveOfNoRequest"
  /** its connection was ended for what was not whole of its messages */
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

  /** How often so far, this time included. */
  drop(reason: DropReason, times = 1): number {
    return increase(this.#dropped, reason, times);
  }

  fail(code: ErrorCode): void {
    increase(this.#failed, code);
  }

  /** @param ms how long the task ran */
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

  /** count, and ms that half and 99 % of the runs took at most. */
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
