/** When messages may wait: answers for the next answer, progress for a newer one. */
import { progressIntervalMs, quickRunMs, quickRunsMin } from "../limits.ts";

/**
 * Knows the tasks that were quick each time. Answers may wait to go out with the answer of such a
 * task. The next run of any other may block this process for long or end it, so the answers before
 * must leave first.
 */
export class QuickTasks {
  /** Quick runs in a row, by task. */
  readonly #streaks = new Map<string, number>();

  note(task: string, ms: number): void {
    this.#streaks.set(task, ms < quickRunMs ? (this.#streaks.get(task) ?? 0) + 1 : 0);
  }

  has(task: string): boolean {
    return (this.#streaks.get(task) ?? 0) >= quickRunsMin;
  }
}

/**
 * Sends progress of the running job once each `progressIntervalMs`; in between the newest waits.
 */
export class ProgressThrottle {
  #sentMs = Number.NEGATIVE_INFINITY;
  #pending: (() => void) | null = null;
  #timer: Timer | null = null;

  /** Calls `send` at once, later, or never, if a newer one or the end of the job comes first. */
  report(send: () => void): void {
    const now = performance.now();
    if (now - this.#sentMs >= progressIntervalMs) {
      this.#sentMs = now;
      this.#pending = null;
      send();
      return;
    }
    this.#pending = send;
    this.#timer ??= setTimeout(() => this.#sendPending(), progressIntervalMs - (now - this.#sentMs));
  }

  /** The job has ended: nobody needs its pending progress any more. */
  reset(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#pending = null;
    this.#sentMs = Number.NEGATIVE_INFINITY;
  }

  #sendPending(): void {
    this.#timer = null;
    const send = this.#pending;
    this.#pending = null;
    if (send !== null) this.report(send);
  }
}
