/**
 * One timer for all that waits. Nearly every request is answered long before its deadline, so nothing is sorted: the timer
 * is set for the nearest deadline, and when it fires the owner looks over what still waits and says which one is next.
 */

/** ms between two looks at least: deadlines that fall together cost one look. */
const stepMs = 5;
/** ms. setTimeout(3) takes no more. */
const delayMsMax = 2 ** 31 - 1;

export class Deadlines {
  #timer: Timer | null = null;
  #nextMs = Number.POSITIVE_INFINITY;

  /** @param sweep ends what is due at `nowMs` and returns the nearest deadline of the rest, Infinity for none */
  constructor(private readonly sweep: (nowMs: number) => number) {}

  /** Makes sure that there is a look at `deadlineMs` (on the clock of performance.now) or soon after. */
  watch(deadlineMs: number): void {
    if (deadlineMs >= this.#nextMs) return;
    this.stop();
    this.#nextMs = deadlineMs;
    const delayMs = Math.min(Math.max(deadlineMs - performance.now(), stepMs), delayMsMax);
    this.#timer = setTimeout(() => {
      this.stop();
      this.watch(this.sweep(performance.now()));
    }, delayMs);
  }

  stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#nextMs = Number.POSITIVE_INFINITY;
  }
}
