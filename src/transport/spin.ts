/**
 * Waits for a moment without sleeping, since a sleep and a wake-up take longer than most answers.
 *
 * It polls and yields the processor between two looks, which costs nothing on an idle machine. If
 * another process keeps the processor, or nothing arrives, sleeping is better: each such time
 * doubles the pause before the next spin, and each success shortens it.
 */
import { libc } from "./libc.ts";

/** ms: the moment. */
const momentMs = 0.5;
/** ms without the processor by which one sees that others want it. */
const keptMs = 0.5;
/** ms of the first pause; of the longest after a spin in vain, and after a lost processor. */
const pauseMsMin = 1;
const vainPauseMsMax = 64;
const keptPauseMsMax = 1_000;

/** The clock in ms, and the yielding of the processor. */
interface Processor {
  now(): number;
  yield(): void;
}

const processor: Processor = { now: () => performance.now(), yield: () => void libc.sched_yield() };

export class Spin {
  readonly #processor: Processor;
  #startedAt = 0;
  /** ms that the processor was away for at the most, this time. */
  #longestMs = 0;
  #pauseMs = 0;
  #pausedUntil = Number.NEGATIVE_INFINITY;

  constructor(its = processor) {
    this.#processor = its;
  }

  /** Returns true if `isThere` does within a moment. */
  sees(isThere: () => boolean): boolean {
    if (!this.begin()) return false;
    while (!isThere()) if (!this.goOn()) return isThere();
    this.seen();
    return true;
  }

  /** Begins a spin. Returns false during a pause. */
  begin(): boolean {
    this.#startedAt = this.#processor.now();
    this.#longestMs = 0;
    return this.#startedAt >= this.#pausedUntil;
  }

  /** Yields the processor. Returns false if the spin is over after that. */
  goOn(): boolean {
    const before = this.#processor.now();
    this.#processor.yield();
    const now = this.#processor.now();
    this.#longestMs = Math.max(this.#longestMs, now - before);
    if (now < this.#startedAt + momentMs) return true;
    this.#pause(now);
    return false;
  }

  /** The awaited event has come. */
  seen(): void {
    if (this.#longestMs >= keptMs) this.#pause(this.#processor.now());
    else if (this.#longestMs > 0) this.#pauseMs = this.#pauseMs > pauseMsMin ? this.#pauseMs / 2 : 0;
  }

  #pause(now: number): void {
    const wasKept = this.#longestMs >= keptMs;
    const pauseMs = Math.max(pauseMsMin, this.#pauseMs * (wasKept ? 4 : 2));
    this.#pauseMs = Math.max(this.#pauseMs, Math.min(pauseMs, wasKept ? keptPauseMsMax : vainPauseMsMax));
    this.#pausedUntil = now + this.#pauseMs;
  }
}
