/**
 * All timers of the broker, in a binary heap. A timer whose job has ended meanwhile is dead. Dead
 * ones are removed when they are most of the heap, so that short jobs with long limits do not pile
 * up.
 */
import type { Effect } from "./events.ts";

interface Timer {
  /** ms on the clock of the broker's `now` */
  readonly at: number;
  readonly isAlive: () => boolean;
  readonly fire: (now: number) => Effect[];
}

const sweepFrom = 1024;

export class Timers {
  #heap: Timer[] = [];
  #sizeAfterSweep = 0;

  /** ms; null without timers. It may be the time of a dead timer, at which nothing happens. */
  get nextAt(): number | null {
    return this.#heap[0]?.at ?? null;
  }

  add(timer: Timer): void {
    if (this.#heap.length >= sweepFrom && this.#heap.length > 2 * this.#sizeAfterSweep) this.#sweep();
    this.#heap.push(timer);
    this.#up(this.#heap.length - 1);
  }

  /** Fires the timers that are due and alive, in the order of their times. */
  fireDue(now: number): Effect[] {
    const effects: Effect[] = [];
    for (let first = this.#heap[0]; first !== undefined && first.at <= now; first = this.#heap[0]) {
      this.#removeFirst();
      if (first.isAlive()) effects.push(...first.fire(now));
    }
    return effects;
  }

  #sweep(): void {
    this.#heap = this.#heap.filter((timer) => timer.isAlive()).sort((a, b) => a.at - b.at);
    this.#sizeAfterSweep = Math.max(this.#heap.length, sweepFrom / 2);
  }

  #removeFirst(): void {
    const last = this.#heap.pop();
    if (last === undefined || this.#heap.length === 0) return;
    this.#heap[0] = last;
    this.#down(0);
  }

  #up(start: number): void {
    let index = start;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!this.#swapIfBefore(index, parent)) return;
      index = parent;
    }
  }

  #down(start: number): void {
    let index = start;
    for (;;) {
      const left = 2 * index + 1;
      const smaller = this.#at(left + 1) < this.#at(left) ? left + 1 : left;
      if (!this.#swapIfBefore(smaller, index)) return;
      index = smaller;
    }
  }

  #at(index: number): number {
    return this.#heap[index]?.at ?? Number.POSITIVE_INFINITY;
  }

  #swapIfBefore(index: number, other: number): boolean {
    const [a, b] = [this.#heap[index], this.#heap[other]];
    if (a === undefined || b === undefined || a.at >= b.at) return false;
    this.#heap[index] = b;
    this.#heap[other] = a;
    return true;
  }
}
