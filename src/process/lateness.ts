/** How late messages of another process come. */
/** Drift of two clocks in ms per ms: several times that of crystals. */
const driftMax = 1e-4;

/**
 * Tells by how much a message is late, compared with the quickest one so far. It needs no common
 * clock, and shows how long a message lay unread while a task blocked this process, while it was
 * halted, or while the network was slow.
 */
export class Lateness {
  #leastMs = Number.POSITIVE_INFINITY;
  #heardAt = 0;

  /** The sender's clock is another one from now on. */
  reset(): void {
    this.#leastMs = Number.POSITIVE_INFINITY;
  }

  /**
   * Returns the ms by which a message is late.
   * @param sentAt ms of the sender's clock
   * @param now ms of this process's clock
   */
  of(sentAt: number, now: number): number {
    const tookMs = now - sentAt;
    this.#leastMs = Math.min(this.#leastMs + (now - this.#heardAt) * driftMax, tookMs);
    this.#heardAt = now;
    return tookMs - this.#leastMs;
  }
}
