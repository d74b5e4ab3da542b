/** The engine's answers to CONTROL about jobs and schedules. */
import * as v from "valibot";
import { lazily } from "../protocol/schema.ts";

export const jobSchema = lazily(() => {
  const seconds = v.nullable(v.number());
  const json = v.optional(v.unknown(), null);
  return v.object({
    /** Its id. */
    job: v.string(),
    serial: v.string(),
    task: v.string(),
    /** The name of its key, or else META's `id`; null in version 0.1. */
    requestor: v.nullable(v.string()),
    /** A word of the diagram of states in PROTOCOL.md. */
    state: v.string(),
    /** Its error, and what was said of it; null if there is none. */
    code: v.nullable(v.string()),
    message: v.nullable(v.string()),
    /** null where they are not kept, or in a list too long */
    args: json,
    kwargs: json,
    /** Times in seconds since 1970; `due` of a delayed one. */
    accepted: v.number(),
    due: seconds,
    started: seconds,
    ended: seconds,
    /** Run time. */
    ms: v.nullable(v.number()),
    /** META's `id` of the worker that has it, or that has answered. */
    worker: v.nullable(v.string()),
    /** Tries that have failed. */
    tries: v.number(),
    /** Its last progress report, while it runs. */
    progress: json,
  });
});
export type JobReport = v.InferOutput<ReturnType<typeof jobSchema>>;

export const logsSchema = lazily(() =>
  v.object({
    lines: v.array(
      v.object({
        /** seconds since 1970 */
        at: v.number(),
        /** The job's id. */
        job: v.string(),
        task: v.string(),
        /** info, warn, error */
        level: v.string(),
        text: v.string(),
      }),
    ),
    next: v.nullable(v.number()),
  }),
);
export type JobLogLine = v.InferOutput<ReturnType<typeof logsSchema>>["lines"][number];

export const jobsSchema = lazily(() => v.object({ jobs: v.array(jobSchema()), next: v.nullable(v.string()) }));

export const retriedSchema = lazily(() => v.object({ job: v.string() }));
export const discardedSchema = lazily(() => v.object({ discarded: v.number() }));

const scheduleSchema = lazily(() =>
  v.object({
    name: v.string(),
    task: v.string(),
    /** The cron expression, or `every 5000 ms`. */
    when: v.string(),
    /** The time zone of a cron expression; null for that of the engine's machine. */
    zone: v.nullable(v.string()),
    /** Seconds since 1970; null for none, or where the engine waits for its clock. */
    next: v.nullable(v.number()),
    /** The begin of its last run, in seconds since 1970; null before the first. */
    last: v.nullable(v.number()),
    /** The end of that: `done`, the code of an error, or null while it waits or runs. */
    code: v.nullable(v.string()),
    /** Runs that were due and left out. */
    skipped: v.number(),
    /** Why the last of these was left out, or why it cannot run; null for neither. */
    why: v.nullable(v.string()),
    paused: v.boolean(),
  }),
);
export type ScheduleListing = v.InferOutput<ReturnType<typeof scheduleSchema>>;
/** The answer to a pause of a schedule, or its end. */
export const changedScheduleSchema = lazily(() =>
  v.object({
    ...scheduleSchema().entries,
    /** Why a restart of the engine does not find it paused, or not resumed; null if it does. */
    failure: v.optional(v.nullable(v.string()), null),
  }),
);
export type ChangedSchedule = v.InferOutput<ReturnType<typeof changedScheduleSchema>>;
export const schedulesSchema = lazily(() => v.object({ schedules: v.array(scheduleSchema()) }));
