/**
 * How late a message is: by how much it took longer than the quickest one has. Both ends have clocks of their own, and only what
 * two messages differ by says something. So it is known what lay unread while a task kept this process from reading, while
 * it was halted, or while the network was slow.
 */

/** By how much the slower one of two clocks may lag behind the other, a ms: 0.1 per mille, several times what crystals do. */
const driftMax = 1e-4;

export class Lateness {
  #leastMs = Number.POSITIVE_INFINITY;
  #heardAt = 0;

  /** Another clock is read at the other end from now on. */
  reset(): void {
    this.#leastMs = Number.POSITIVE_INFINITY;
  }

  /**
   * ms that a message is late.
   * @param sentAt ms of the sender's clock
   * @param now ms of our own
   */
  of(sentAt: number, now: number): number {
    const tookMs = now - sentAt;
    this.#leastMs = Math.min(this.#leastMs + (now - this.#heardAt) * driftMax, tookMs);
    this.#heardAt = now;
    return tookMs - this.#leastMs;
  }
}
