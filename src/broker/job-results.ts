/**
 * Requests that wait for the result of a job that another request has begun: `result`, and a second
 * request of a `unique` key. Each is an open request of its own, bounded as all of them.
 */
import type { AcceptedJob } from "../protocol/replies.ts";
import type { Effect } from "./events.ts";
import { failure, type JobOutcome } from "./outcome.ts";
import type { Requests } from "./requests.ts";
import type { BrokerState, EndReason, Job, OpenRequest, RequestSender } from "./state.ts";
import type { Timers } from "./timers.ts";

export class JobResults {
  readonly #awaited: BrokerState["awaited"] = new Map();

  constructor(
    private readonly requests: Requests,
    private readonly timers: Timers,
    private readonly describe: (job: Job) => AcceptedJob,
  ) {}

  /** @param waitMs then ACCEPTED is the answer once more; Infinity for no limit */
  wait(sender: RequestSender, job: Job, waitMs: number, now: number): Effect[] {
    if (waitMs === 0) return [this.requests.accepted(sender, this.describe(job))];
    const request = this.requests.open(sender, 1, 0, Number.POSITIVE_INFINITY, now);
    if ("code" in request) return [this.requests.refuse(sender, request)];
    this.#awaited.set(request, job);
    if (waitMs < Number.POSITIVE_INFINITY) {
      this.timers.add({
        at: now + waitMs,
        isAlive: () => this.#awaited.has(request),
        fire: () => {
          this.#awaited.delete(request);
          return [this.requests.acceptedStill(request, this.describe(job))];
        },
      });
    }
    return [];
  }

  /** Nobody will tell the outcome of a job any more, for this reason. */
  leave(job: Job, { code, message }: EndReason): Effect[] {
    return this.settle(job, failure(this.requests.routerId, code, message));
  }

  get isEmpty(): boolean {
    return this.#awaited.size === 0;
  }

  /** A job has ended. */
  settle(job: Job, outcome: JobOutcome): Effect[] {
    const requests = [...this.#awaited].flatMap(([request, awaited]) => (awaited === job ? [request] : []));
    return requests.map((request) => this.#answer(request, outcome));
  }

  /** CANCEL of the waiting, which ends no job; null for a request that is none of these. */
  cancel(request: OpenRequest): Effect[] | null {
    if (!this.#awaited.has(request)) return null;
    return this.#refuse(request, { code: "CANCELLED", message: "its requestor does not wait any more" });
  }

  /** A connection is gone, and nobody reads its answers. */
  requestorGone(peer: string): void {
    for (const request of this.#awaited.keys()) {
      if (request.requestor.peer === peer) this.#refuse(request, { code: "CANCELLED", message: "" });
    }
  }

  #refuse(request: OpenRequest, { code, message }: EndReason): Effect[] {
    return [this.#answer(request, failure(this.requests.routerId, code, message))];
  }

  #answer(request: OpenRequest, outcome: JobOutcome): Effect {
    this.#awaited.delete(request);
    return this.requests.answer(request, outcome);
  }
}
