/**
 * Proof that a far end is there, over whatever buffers lie between: ticks go to it, and it sends
 * them back.
 *
 * A tick counts only if it was sent less than `deadmanMs` ago: what waited in a buffer on the way
 * is older. Without a newer one `onSilent` is called `deadmanMs` after the newest tick that has
 * come back was sent. So the far end may die, hang or be cut off at any moment, and a connection
 * that delays its messages does not make it seem alive for any longer.
 */
import { ticksPerDeadman } from "../limits.ts";

interface PresenceOptions {
  readonly deadmanMs: number;
  readonly sendTick: (tick: number) => void;
  readonly onSilent: () => void;
  /** ms of a monotonic clock */
  readonly now?: () => number;
}

/** Ticks whose times are remembered: those of more than one dead man's time. */
const ticksKept = 2 * ticksPerDeadman;

/** All proofs of this process share it: no tick of one is one of another. */
let lastTick = 0;

export class Presence implements Disposable {
  readonly deadmanMs: number;
  /** ms between two ticks */
  readonly tickMs: number;
  readonly #options: PresenceOptions;
  readonly #now: () => number;
  /** When each of the last ticks was sent. */
  readonly #sentMs = new Map<number, number>();
  /** When the newest tick that has come back was sent; at first when the proof began. */
  #provenMs: number;
  #deadline: Timer | undefined;
  readonly #ticker: Timer;

  /** Sends the first tick. */
  constructor(options: PresenceOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.deadmanMs = options.deadmanMs;
    this.tickMs = this.deadmanMs / ticksPerDeadman;
    this.#provenMs = this.#now();
    this.#ticker = setInterval(() => this.#sendTick(), this.tickMs);
    this.#arm();
    this.#sendTick();
  }

  /** Nothing was proven for `deadmanMs`. */
  get isSilent(): boolean {
    return this.#now() - this.#provenMs >= this.deadmanMs;
  }

  /** Takes a tick that has come back. Returns false for one that is too old, or was never sent. */
  hear(tick: unknown): boolean {
    const sentMs = typeof tick === "number" ? this.#sentMs.get(tick) : undefined;
    if (sentMs === undefined || this.#now() - sentMs >= this.deadmanMs) return false;
    if (sentMs > this.#provenMs) {
      this.#provenMs = sentMs;
      this.#arm();
    }
    return true;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#ticker);
    clearTimeout(this.#deadline);
  }

  #sendTick(): void {
    const tick = ++lastTick;
    const [oldest = 0] = this.#sentMs.keys();
    if (this.#sentMs.size >= ticksKept) this.#sentMs.delete(oldest);
    this.#sentMs.set(tick, this.#now());
    this.#options.sendTick(tick);
  }

  #arm(): void {
    clearTimeout(this.#deadline);
    const leftMs = Math.max(0, this.#provenMs + this.deadmanMs - this.#now());
    this.#deadline = setTimeout(this.#options.onSilent, leftMs);
  }
}
