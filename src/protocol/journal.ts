/**
 * The messages between the router and the journal. The router numbers the entries; the journal
 * commits them in this order and confirms them by their numbers, so an entry that is sent again
 * after a death of the journal changes nothing.
 */
import * as v from "valibot";
import { journalEntriesMax, nameLengthMax, serialLengthMax } from "../limits.ts";
import { headerSchema, lazily, nameSchema } from "./schema.ts";

const name = nameSchema();
/** The id of a job, as requestors get it. */
const job = v.pipe(v.string(), v.nonEmpty(), v.maxLength(serialLengthMax));
const number = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
/** Seconds since 1970. */
const time = v.number();

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
      state: v.pipe(v.string(), v.maxLength(nameLengthMax)),
      /** null for `done`. */
      code: v.nullable(v.pipe(v.string(), v.maxLength(nameLengthMax))),
      /** META's `id` of its reply. */
      by: v.pipe(v.string(), v.maxLength(nameLengthMax)),
      /** Run time. */
      ms: v.nullable(v.number()),
      /** It is a dead letter: it stays until it is retried or discarded. */
      isDead: v.boolean(),
    }),
    /** The dead letter was retried or discarded, and is history from now on. */
    v.object({ entry: v.literal("discarded"), job, at: time }),
    /** The log of an ended job, the body. It is history: it is written later, or not at all. */
    v.object({ entry: v.literal("log"), job }),
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
  }),
);
export type KeptJob = v.InferOutput<ReturnType<typeof keptJobSchema>>;

/**
 * From the router: one body an entry follows. `from` is the number of the first; the others follow
 * it without a gap.
 */
export const appendSchema = headerSchema("APPEND", () => ({
  from: number,
  entries: v.pipe(v.array(entrySchema()), v.nonEmpty(), v.maxLength(journalEntriesMax)),
}));

/**
 * The answer: all entries up to `through` are on the disk. With `failure`, those since the last
 * answer are not, and the reason is for a person.
 */
export const committedSchema = headerSchema("COMMITTED", () => ({
  through: number,
  failure: v.nullable(v.string()),
}));

/**
 * From a router that knows nothing yet: the jobs that have not ended and the dead letters, in their
 * order, from this place on.
 */
export const recoverSchema = headerSchema("RECOVER", () => ({ from: number }));

/**
 * The answer, with the TASK frame and the DATA frame of the reply of each job, which is empty if
 * there is none. `next`: the place from which to go on; null after the last one.
 */
export const recoveredSchema = headerSchema("RECOVERED", () => ({
  kept: v.pipe(v.array(keptJobSchema()), v.maxLength(journalEntriesMax)),
  next: v.nullable(number),
}));

/** How the journal fares, for `status`: at the start and at each change, at most each 3 s. */
export const journalSchema = headerSchema("JOURNAL", () => ({
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
