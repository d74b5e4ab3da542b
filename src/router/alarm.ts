/** The one timer of the broker's next time. It is set again only if it would ring too late. */

/** ms, the most that setTimeout takes. */
const delayMsMax = 2 ** 31 - 1;

export class Alarm {
  #timer: Timer | null = null;
  #at = Number.POSITIVE_INFINITY;

  /** @param ring gets the ms by which it is late */
  constructor(private readonly ring: (lateMs: number) => void) {}

  /** @param at time of performance.now(); null for never */
  set(at: number | null): void {
    if (at === null) {
      this.#clear();
    } else if (at < this.#at) {
      this.#clear();
      this.#at = at;
      this.#timer = setTimeout(() => this.#ring(), Math.min(Math.max(at - performance.now(), 0), delayMsMax));
    }
  }

  #ring(): void {
    const lateMs = Math.max(0, performance.now() - this.#at);
    this.#clear();
    this.ring(lateMs);
  }

  #clear(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#at = Number.POSITIVE_INFINITY;
  }
}
