/**
 * The messages between the router and the journal. The router numbers the entries; the journal
 * commits them in this order and confirms them by their numbers, so an entry that is sent again
 * after a death of the journal changes nothing.
 */
import * as v from "valibot";
import { journalEntriesMax, nameLengthMax, schedulesMax, serialLengthMax } from "../limits.ts";
import { headerSchema, lazily, nameSchema } from "./schema.ts";

const name = nameSchema();
/** The id of a job, as requestors get it. */
const job = v.pipe(v.string(), v.nonEmpty(), v.maxLength(serialLengthMax));
const number = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
/** Seconds since 1970. */
const time = v.number();

/** The person for whom a program has asked, as META of the request names it; null for none. */
const onBehalf = lazily(() => v.nullable(v.object({ name: v.string(), rights: v.array(v.string()) })));
/** How a job has ended. */
const end = lazily(() => ({
  state: v.pipe(v.string(), v.maxLength(nameLengthMax)),
  /** null for `done`. */
  code: v.nullable(v.pipe(v.string(), v.maxLength(nameLengthMax))),
  /** META's `id` of its reply. */
  by: v.pipe(v.string(), v.maxLength(nameLengthMax)),
  /** Run time. */
  ms: v.nullable(v.number()),
}));

/** A change of one job. The body that belongs to it is empty if nothing else is said. */
const entrySchema = lazily(() =>
  v.variant("entry", [
    /** The job is accepted. Its body is the TASK frame. */
    v.object({
      entry: v.literal("accepted"),
      job,
      task: name,
      at: time,
      /** Name of the key of its requestor; null in an engine without keys. */
      user: v.nullable(v.string()),
      /** META's `id` and `serial` of its request. */
      requestor: v.nullable(v.pipe(v.string(), v.maxLength(nameLengthMax))),
      serial: v.nullable(v.pipe(v.string(), v.maxLength(serialLengthMax))),
      onBehalf: onBehalf(),
      /** Name of the schedule whose run it is; null for none. */
      schedule: v.nullable(name),
    }),
    /**
     * A worker may begin the job, for the try of this number, from 1 on. `claim` grows with each of
     * these entries of a job, so that an earlier one that comes again changes nothing.
     */
    v.object({ entry: v.literal("begun"), job, at: time, tries: number, claim: number }),
    /** The job has not begun after this claim, and waits again; `tries` are over. */
    v.object({ entry: v.literal("returned"), job, tries: number, claim: number }),
    /** The job has ended. Its body is the DATA frame of its reply; empty if that is too long. */
    v.object({
      entry: v.literal("ended"),
      job,
      at: time,
      ...end(),
      /** It is a dead letter: it stays until it is retried or discarded. */
      isDead: v.boolean(),
    }),
    /** The dead letter was retried or discarded, and is history from now on. */
    v.object({ entry: v.literal("discarded"), job, at: time }),
    /** The log of an ended job, the body. It is history: it is written later, or not at all. */
    v.object({ entry: v.literal("log"), job }),
    /**
     * A run of a schedule that was not durable. Its body is as that of `ended`. It is history, too.
     */
    v.object({
      entry: v.literal("ran"),
      job,
      task: name,
      schedule: name,
      accepted: time,
      begun: v.nullable(time),
      at: time,
      tries: number,
      ...end(),
      /** The TASK frame. */
      request: v.string(),
    }),
    /** The times at which a schedule was due, up to `at`, are done. `rule` says when it is due. */
    v.object({ entry: v.literal("due"), schedule: name, rule: v.string(), at: time }),
  ]),
);
export type JournalEntry = v.InferOutput<ReturnType<typeof entrySchema>>;

/** A job that the journal has. */
const keptJobSchema = lazily(() =>
  v.object({
    job,
    /** Its place in the order of acceptance. */
    place: number,
    task: name,
    user: v.nullable(v.string()),
    requestor: v.nullable(v.string()),
    serial: v.nullable(v.string()),
    state: v.string(),
    accepted: time,
    begun: v.nullable(time),
    ended: v.nullable(time),
    tries: number,
    claims: number,
    ms: v.nullable(v.number()),
    code: v.nullable(v.string()),
    by: v.nullable(v.string()),
    isDead: v.boolean(),
    onBehalf: onBehalf(),
    schedule: v.nullable(name),
  }),
);
export type KeptJob = v.InferOutput<ReturnType<typeof keptJobSchema>>;

/** A schedule as the last `due` has left it. */
const keptScheduleSchema = lazily(() => v.object({ schedule: name, rule: v.string(), at: time }));
export type KeptSchedule = v.InferOutput<ReturnType<typeof keptScheduleSchema>>;

/**
 * From the router: one body an entry follows. `from` is the number of the first; the others follow
 * it without a gap.
 */
const appendSchema = headerSchema("APPEND", () => ({
  from: number,
  entries: v.pipe(v.array(entrySchema()), v.nonEmpty(), v.maxLength(journalEntriesMax)),
}));

/**
 * The answer: all entries up to `through` are on the disk. With `failure`, those since the last
 * answer are not, and the reason is for a person.
 */
const committedSchema = headerSchema("COMMITTED", () => ({
  through: number,
  failure: v.nullable(v.string()),
}));

/**
 * From a router that knows nothing yet: the jobs that have not ended and the dead letters, in their
 * order, from this place on.
 */
const recoverSchema = headerSchema("RECOVER", () => ({ from: number }));

/**
 * The answer, with the TASK frame and the DATA frame of the reply of each job, which is empty if
 * there is none. `next`: the place from which to go on; null after the last one. The first answer
 * has the schedules.
 */
const recoveredSchema = headerSchema("RECOVERED", () => ({
  kept: v.pipe(v.array(keptJobSchema()), v.maxLength(journalEntriesMax)),
  next: v.nullable(number),
  schedules: v.pipe(v.array(keptScheduleSchema()), v.maxLength(schedulesMax)),
}));

/** From the router: the log of a job is wanted. `request` names this message in the answer. */
const logsSchema = headerSchema("LOGS", () => ({ request: number, job }));

/** The answer, with the log as the body; empty for none. */
const loggedSchema = headerSchema("LOGGED", () => ({ request: number }));

/** How the journal fares, for `status`: at the start and at each change, at most each 3 s. */
const journalSchema = headerSchema("JOURNAL", () => ({
  /** bytes of the file, and jobs in it; those of them that have not ended, and dead letters. */
  bytes: number,
  total: number,
  unfinished: number,
  dead: number,
  /** bytes of history that were written today, how many a day may have, and entries left out. */
  historyBytes: number,
  historyBytesMax: number,
  historyDropped: number,
  /** Why nothing can be written at present; null if it can. */
  failure: v.nullable(v.string()),
  /** Name of a damaged file that this start or a moment since has set aside; null for none. */
  damaged: v.nullable(v.string()),
}));
export type JournalReport = Omit<v.InferOutput<ReturnType<typeof journalSchema.schema>>, "type">;

/** From the journal. */
export const journalSchemas = [committedSchema, recoveredSchema, loggedSchema, journalSchema] as const;
/** From the router. */
export const toJournalSchemas = [appendSchema, recoverSchema, logsSchema] as const;
