/** Says of each request that has a dead man that its requestor is there, by one timer for all of them. */
import { keepAlivesPerDeadman } from "../limits.ts";
import { Deadlines } from "./deadlines.ts";

interface Beat {
  readonly everyMs: number;
  nextMs: number;
}

export class KeepAlives {
  readonly #beats = new Map<string, Beat>();
  readonly #deadlines = new Deadlines((nowMs) => this.#sweep(nowMs));

  /** @param say sends KEEPALIVE for this serial. One that cannot be sent is lost: the engine ends the job, which is what it is for. */
  constructor(private readonly say: (serial: string) => void) {}

  /** From now on several times each `deadmanMs`, until `drop`. Of two times for one serial the shorter one holds. */
  keep(serial: string, deadmanMs: number): void {
    const everyMs = deadmanMs / keepAlivesPerDeadman;
    const known = this.#beats.get(serial);
    if (known !== undefined && known.everyMs <= everyMs) return;
    const nextMs = performance.now() + everyMs;
    this.#beats.set(serial, { everyMs, nextMs });
    this.#deadlines.watch(nextMs);
  }

  /** Those that need none cost nothing. */
  drop(serial: string): void {
    if (this.#beats.size > 0 && this.#beats.delete(serial) && this.#beats.size === 0) this.#deadlines.stop();
  }

  #sweep(nowMs: number): number {
    let nearestMs = Number.POSITIVE_INFINITY;
    for (const [serial, beat] of this.#beats) {
      if (beat.nextMs <= nowMs) {
        this.say(serial);
        beat.nextMs = nowMs + beat.everyMs;
      }
      nearestMs = Math.min(nearestMs, beat.nextMs);
    }
    return nearestMs;
  }
}
