/**
 * Waiting for a moment without sleeping: to sleep and to be woken takes longer than most answers do.
 *
 * It looks again and again, and lets everybody else have the processor in between, which costs nothing where nobody wants it. Where
 * somebody does and keeps it, whoever sleeps gets it back sooner than who has given it away; and what comes later than in a moment is
 * better slept for. So after each time that was no good it is left for a while, longer and longer, and taken up again step by step.
 */
import { libc } from "./libc.ts";

/** ms: the moment. */
const momentMs = 0.5;
/** ms without the processor by which one sees that others want it. */
const keptMs = 0.5;
/** ms of the first pause, and of the longest after a time in vain, and after one that others took the processor. */
const pauseMsMin = 1;
const vainPauseMsMax = 64;
const keptPauseMsMax = 1_000;

/** What time it is, in ms, and how to let others have the processor. */
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

  /** Whether it is there within a moment. */
  sees(isThere: () => boolean): boolean {
    if (!this.begin()) return false;
    while (!isThere()) if (!this.goOn()) return isThere();
    this.seen();
    return true;
  }

  /** Begins a moment. False where that is left for now. */
  begin(): boolean {
    this.#startedAt = this.#processor.now();
    this.#longestMs = 0;
    return this.#startedAt >= this.#pausedUntil;
  }

  /** Lets others have the processor. False where the moment is over after that. */
  goOn(): boolean {
    const before = this.#processor.now();
    this.#processor.yield();
    const now = this.#processor.now();
    this.#longestMs = Math.max(this.#longestMs, now - before);
    if (now < this.#startedAt + momentMs) return true;
    this.#pause(now);
    return false;
  }

  /** It has come. */
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
