/**
 * Schedules: tasks that the engine runs by itself, at times that their definition, or the file of
 * settings, says.
 */
import * as v from "valibot";
import { everyMsMax, everyMsMin } from "../limits.ts";
import type { Json, JsonObject } from "./json.ts";
import { lazily } from "./schema.ts";

/** The rule for runs that were due while none could begin: no run, or one for all. */
type Misfire = "skip" | "once";

export interface CronTimes {
  /** Five fields (minute, hour, day, month, weekday), or a nickname such as `@daily`. */
  readonly cron: string;
  /** IANA name of a time zone; absent for that of the machine. */
  readonly zone?: string | undefined;
  readonly misfire?: Misfire | undefined;
}

/** The time from one run to the next, in ms of the monotonic clock. */
export interface Interval {
  readonly everyMs: number;
}

export interface ScheduleDefinition {
  /** Unique; by default that of its task. */
  readonly name: string;
  /** without its prefix */
  readonly task: string;
  readonly args: readonly Json[];
  readonly kwargs: JsonObject;
  readonly when: CronTimes | Interval;
}

/**
 * Returns the first time after `after` at which a cron expression is due, null if there is none.
 * @param after ms since 1970
 * @throws TypeError that says what is wrong with the expression or the time zone
 */
export const nextCronTime = ({ cron, zone }: CronTimes, after: number): number | null =>
  Bun.cron.parse(cron, after, zone === undefined ? {} : { tz: zone })?.getTime() ?? null;

/** Returns what is wrong with it, in one phrase; null if it is due at some time. */
export const cronMistake = (times: CronTimes): string | null => {
  try {
    return nextCronTime(times, Date.now()) === null ? "has no time at which it is due" : null;
  } catch (error) {
    return (error as Error).message.replace(/^Bun\.cron: |^Invalid cron expression: /, "");
  }
};

const zoned = lazily(() =>
  v.strictObject({
    cron: v.string(),
    zone: v.exactOptional(v.string()),
    misfire: v.exactOptional(v.picklist(["skip", "once"])),
  }),
);

/** `schedule` in a task's definition: a cron expression alone, or with its time zone. */
export const cronSchema = lazily(() =>
  v.pipe(
    v.union([v.string(), zoned()], 'must be a cron expression, or {"cron", "zone", "misfire"}'),
    v.transform((given): CronTimes => (typeof given === "string" ? { cron: given } : given)),
    v.rawCheck(({ dataset, addIssue }) => {
      const mistake = dataset.typed ? cronMistake(dataset.value) : null;
      if (mistake !== null) addIssue({ message: mistake });
    }),
  ),
);

export const everyMsSchema = lazily(() => {
  const must = `must be a whole number of ms from ${everyMsMin} to ${everyMsMax}`;
  return v.pipe(v.number(must), v.integer(must), v.minValue(everyMsMin, must), v.maxValue(everyMsMax, must));
});

/** A schedule in the answer to CONTROL `schedules`. Times are in seconds since 1970. */
export type ScheduleReport = {
  readonly name: string;
  readonly task: string;
  /** The cron expression, or `every 5000 ms`. */
  readonly when: string;
  /** The time zone of a cron expression; null for that of the machine, and for an interval. */
  readonly zone: string | null;
  /** Its next run; null for none, or where the clock is not known yet. */
  readonly next: number | null;
  /** The begin of its last run; null before the first since the router's start. */
  readonly last: number | null;
  /** The end of that: `done`, the code of an error, or null while it waits or runs. */
  readonly code: string | null;
  /** Runs that were due and left out, since the router's start. */
  readonly skipped: number;
  /** Why the last of these was left out, or why it cannot run at all; null for neither. */
  readonly why: string | null;
  readonly paused: boolean;
};
