/** Progress of the job that runs, not more often than is of use: of what comes too quickly the newest is sent later. */
import { progressIntervalMs } from "../limits.ts";

export class ProgressThrottle {
  #sentMs = Number.NEGATIVE_INFINITY;
  #pending: (() => void) | null = null;
  #timer: Timer | null = null;

  /** @param send is called at once, later, or never, if a newer one or the end of the job comes first */
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

  /** The job has ended: what was not sent is of no use any more, and the next job starts afresh. */
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
