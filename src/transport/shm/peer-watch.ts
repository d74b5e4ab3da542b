/**
 * Tells whether the peer of a connection is at work, by checks at some interval: the kernel reports
 * a dead process, but not a halted one, which may hold what drives the robot.
 */
import { isHalted, peerPid } from "./unix.ts";

export class PeerWatch {
  /** When it was checked last, and found at work last. */
  #checkedAt = Number.NEGATIVE_INFINITY;
  #ranAt = performance.now();
  /** When a long message was found unfinished first, as at each check since. */
  #unfinishedAt = Number.POSITIVE_INFINITY;

  /** @param bell descriptor of the socket to the peer */
  constructor(private readonly bell: number) {}

  /**
   * Returns true if the peer was silent and halted at each check for so many ms.
   * @param heardAt when something came from it last
   */
  isHalted(heardAt: number, silenceMs: number): boolean {
    const now = performance.now();
    const hasSpoken = heardAt > this.#checkedAt;
    this.#checkedAt = now;
    if (hasSpoken) this.#ranAt = heardAt;
    else if (!this.#isPeerHalted) this.#ranAt = now;
    else return now - this.#ranAt >= silenceMs;
    return false;
  }

  /** Returns true if a message was unfinished at each check for so many ms. */
  isOvertime(isUnfinished: boolean, ms: number): boolean {
    const now = performance.now();
    if (!isUnfinished) this.#unfinishedAt = Number.POSITIVE_INFINITY;
    else if (now - this.#unfinishedAt >= ms) return true;
    else this.#unfinishedAt = Math.min(this.#unfinishedAt, now);
    return false;
  }

  get #isPeerHalted(): boolean {
    const pid = peerPid(this.bell);
    return pid !== null && isHalted(pid);
  }
}
