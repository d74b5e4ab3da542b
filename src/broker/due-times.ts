/**
 * When a schedule is due. Cron expressions name wall times, and the wall clock may jump; intervals
 * count the monotonic clock, which does not.
 *
 * A jump of the wall clock by up to three hours is taken as people and daylight saving change it
 * (and as cron(8) does): no time is due twice. A larger jump back corrects a clock that was wrong,
 * so the times from the new one on count.
 */
import { clockCorrectionMsMin, scheduleLateMsMax } from "../limits.ts";
import { type CronTimes, type Interval, nextCronTime } from "../protocol/schedules.ts";

/** One moment on both clocks. */
export interface Moment {
  /** ms, monotonic */
  readonly now: number;
  /** ms since 1970 */
  readonly wall: number;
}

/** `run`: a run is due. `missed`: so many were due while none could begin, and are left out. */
export type Due = "run" | "missed" | null;

export interface DueTimes {
  /**
   * Takes the times up to this moment as done. To be called when a timer rings, and with each tick.
   */
  take(moment: Moment): Due;
  /** ms until the next due time, as of this moment; null for none. */
  waitMs(moment: Moment): number | null;
  /** The next due time in ms since 1970; null for none. */
  nextWall(moment: Moment): number | null;
}

/** @param doneUpTo ms since 1970: due times up to it were taken by an earlier engine */
export const dueTimesOf = (when: CronTimes | Interval, start: Moment, doneUpTo: number | null = null): DueTimes =>
  "cron" in when ? new CronDueTimes(when, start, doneUpTo) : new IntervalDueTimes(when, start);

class CronDueTimes implements DueTimes {
  readonly #times: CronTimes;
  /** Wall times up to it are done. */
  #doneUpTo: number;
  #next: number | null;
  #last: Moment;

  constructor(times: CronTimes, start: Moment, doneUpTo: number | null) {
    this.#times = times;
    this.#last = start;
    // A time in the future was written by a clock that was wrong.
    this.#doneUpTo = Math.min(doneUpTo ?? start.wall, start.wall);
    this.#next = nextCronTime(times, this.#doneUpTo);
  }

  take(moment: Moment): Due {
    const jumpedBackMs = this.#last.wall + (moment.now - this.#last.now) - moment.wall;
    this.#last = moment;
    if (jumpedBackMs > clockCorrectionMsMin) this.#goOnFrom(moment.wall);
    if (this.#next === null || this.#next > moment.wall) return null;
    const isMissed = moment.wall - this.#next > scheduleLateMsMax;
    this.#goOnFrom(moment.wall);
    return isMissed && this.#times.misfire !== "once" ? "missed" : "run";
  }

  waitMs({ wall }: Moment): number | null {
    return this.#next === null ? null : Math.max(0, this.#next - wall);
  }

  nextWall(): number | null {
    return this.#next;
  }

  #goOnFrom(wall: number): void {
    this.#doneUpTo = wall;
    this.#next = nextCronTime(this.#times, this.#doneUpTo);
  }
}

class IntervalDueTimes implements DueTimes {
  readonly #everyMs: number;
  #next: number;

  constructor({ everyMs }: Interval, { now }: Moment) {
    this.#everyMs = everyMs;
    this.#next = now + everyMs;
  }

  take({ now }: Moment): Due {
    if (this.#next > now) return null;
    // Whole multiples of the interval, so delays do not add up.
    this.#next += this.#everyMs * Math.ceil((now - this.#next + 1) / this.#everyMs);
    return "run";
  }

  waitMs({ now }: Moment): number {
    return Math.max(0, this.#next - now);
  }

  nextWall(moment: Moment): number {
    return moment.wall + this.waitMs(moment);
  }
}
