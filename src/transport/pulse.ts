/**
 * Timers that fire together: calls fall on the multiples of an interval of the clock that all
 * processes of the machine share. So all workers beat at the same moment, the router wakes once for
 * all of them, and the processor sleeps in between.
 */

/**
 * Calls the handler each `intervalMs`, for the first time after half as long to one and a half
 * times as long. Keeps no process alive.
 */
export class Pulse implements Disposable {
  #timer: Timer;

  constructor(
    private readonly intervalMs: number,
    private readonly handler: () => void,
  ) {
    this.#timer = this.#plan();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }

  #plan(): Timer {
    return setTimeout(
      () => {
        this.#timer = this.#plan();
        this.handler();
      },
      untilPulse(Date.now(), this.intervalMs),
    ).unref();
  }
}

/**
 * ms from `now` to the next multiple of the interval, or to the one after it where that is near: a
 * timer may ring a little early.
 */
export const untilPulse = (now: number, intervalMs: number): number => {
  const delayMs = intervalMs - (now % intervalMs);
  return delayMs < intervalMs / 2 ? delayMs + intervalMs : delayMs;
};
