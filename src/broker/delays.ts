/**
 * Jobs that must not be dispatched before a time. `delayMs` counts on the broker's clock;
 * `notBefore` is a time of the wall clock, which may jump: a Raspberry Pi has none of its own.
 */
import { clockJumpMs } from "../limits.ts";
import type { Effect } from "./events.ts";
import type { BrokerState, Job } from "./state.ts";
import type { Tables } from "./tables.ts";

export class Delays {
  /** Those with `notBefore`, which a jump of the wall clock concerns. */
  readonly #jobs: BrokerState["delayed"] = new Set();
  /** ms of the wall clock beyond the broker's. */
  #offsetMs = 0;

  /** @param onDue gets a job whose time has come */
  constructor(
    private readonly tables: Pick<Tables, "queues" | "timers" | "wallSeconds">,
    private readonly onDue: (job: Job, now: number) => Effect[],
  ) {}

  /** When a job may be dispatched, on the broker's clock; `now` or earlier for at once. */
  dueAt({ acceptedAt, options: { delayMs, notBefore } }: Pick<Job, "acceptedAt" | "options">, now: number): number {
    if (notBefore === undefined) return acceptedAt + (delayMs ?? 0);
    return Math.max(acceptedAt, now + notBefore * 1000 - this.#wallMs);
  }

  add(job: Job, dueAt: number, now: number): void {
    this.tables.queues.park(job, "delayed");
    if (job.options.notBefore !== undefined) {
      if (this.#jobs.size === 0) this.#offsetMs = this.#wallMs - now;
      this.#jobs.add(job);
    }
    this.#setTimer(job, dueAt);
  }

  /** Looks at the wall clock, which may have jumped since the last look. */
  look(now: number): void {
    if (this.#jobs.size === 0) return;
    for (const job of this.#jobs) if (job.state !== "delayed") this.#jobs.delete(job);
    const offsetMs = this.#wallMs - now;
    if (Math.abs(offsetMs - this.#offsetMs) < clockJumpMs) return;
    this.#offsetMs = offsetMs;
    // A timer that is too late has a second one now; one that is too early looks again.
    for (const job of this.#jobs) this.#setTimer(job, this.dueAt(job, now));
  }

  #setTimer(job: Job, at: number): void {
    this.tables.timers.add({
      at,
      isAlive: () => job.state === "delayed",
      fire: (now) => {
        const dueAt = job.options.notBefore === undefined ? now : this.dueAt(job, now);
        if (dueAt <= now + stepMs) {
          this.#jobs.delete(job);
          return this.onDue(job, now);
        }
        this.#setTimer(job, dueAt);
        return [];
      },
    });
  }

  get #wallMs(): number {
    return this.tables.wallSeconds() * 1000;
  }
}

/** ms: the two clocks have other steps, and a timer for less could fire many times. */
const stepMs = 1;
