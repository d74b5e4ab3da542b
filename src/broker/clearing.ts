/**
 * What waits when an emergency stop comes is ended a few jobs at a time: thousands of answers in a row would hold up what is urgent
 * then, the abort signals, the word that a job has let go, the order to make something safe.
 */
import { clearingJobsMax } from "../limits.ts";
import type { Effect } from "./effects.ts";
import type { Job } from "./job.ts";
import type { JobLifecycle } from "./lifecycle.ts";

export class Clearing {
  /** Goes over the queues while they change; null where nothing is to be ended. */
  #waiting: Iterator<Job, void> | null = null;

  constructor(private readonly endings: JobLifecycle) {}

  get isUnderway(): boolean {
    return this.#waiting !== null;
  }

  start(): void {
    this.#waiting = this.endings.queues[Symbol.iterator]();
  }

  goOn(now: number): Effect[] {
    return this.#take(clearingJobsMax, now);
  }

  finish(now: number): Effect[] {
    return this.#take(Number.POSITIVE_INFINITY, now);
  }

  #take(jobsMax: number, now: number): Effect[] {
    const effects: Effect[] = [];
    for (let count = 0; this.#waiting !== null && count < jobsMax; count++) {
      const { done, value: job } = this.#waiting.next();
      if (done === true) {
        this.#waiting = null;
        continue;
      }
      const barred = this.endings.blockedReason(job);
      if (barred !== null) effects.push(...this.endings.stop(job, barred, now));
    }
    return effects;
  }
}
