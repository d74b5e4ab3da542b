/** Refusals of values that nobody waits for: each kind is said at most once a second. */
import { errorRepeatMs, peerErrorsMax } from "../limits.ts";
import type { ErrorCode } from "../protocol/errors.ts";

export class Refusals {
  /** By code and topic: when one was said last, and how many there were since. */
  readonly #byKind = new Map<string, { at: number; count: number }>();

  /**
   * Counts one, and says it where it is time.
   * @param say takes the number since it was said last; returns false if that is not said
   */
  add(topic: string, code: ErrorCode, say: (count: number) => boolean): void {
    const kind = `${code} ${topic}`;
    const refusal = this.#byKind.get(kind) ?? { at: Number.NEGATIVE_INFINITY, count: 0 };
    refusal.count++;
    if (this.#byKind.size >= peerErrorsMax && !this.#byKind.has(kind)) this.#byKind.clear();
    this.#byKind.set(kind, refusal);
    const now = performance.now();
    if (now - refusal.at < errorRepeatMs) return;
    refusal.at = now;
    if (say(refusal.count)) refusal.count = 0;
  }
}
