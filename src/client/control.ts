/** The engine's answers to CONTROL. */
import * as v from "valibot";
import { isJsonObject, type Json } from "../protocol/json.ts";
import type { ArgumentSchema } from "../protocol/policy.ts";
import { lazily } from "../protocol/schema.ts";

const stoppedSchema = lazily(() =>
  v.object({
    /** As the requestor gave it; may be empty. */
    reason: v.string(),
    /** seconds since 1970 */
    since: v.number(),
  }),
);

/** A task that the engine can run. */
export interface TaskListing {
  readonly name: string;
  /** Number of workers that serve it now. */
  readonly workers: number;
  /** ms: the dead man of its definition. */
  readonly deadmanMs?: number;
  /** A job of it may begin when nobody waits for it; absent where it may not, or in an engine of an earlier version. */
  readonly unattended?: boolean;
  /** It may be run twice. */
  readonly idempotent?: boolean;
  /** JSON Schemas of its arguments, where its definition says them. */
  readonly schema?: ArgumentSchema;
}

export const directorySchema = lazily(() =>
  v.object({
    tasks: v.array(
      v.object({
        name: v.string(),
        workers: v.number(),
        deadmanMs: v.exactOptional(v.number()),
        unattended: v.exactOptional(v.boolean()),
        idempotent: v.exactOptional(v.boolean()),
        schema: v.exactOptional(v.custom<ArgumentSchema>(isJsonObject)),
      }),
    ),
    /** Addresses of the data workers. */
    data: v.array(v.string()),
    /** The ports of each; absent in an engine of an earlier version. */
    dataWorkers: v.optional(v.array(v.object({ publications: v.string(), stream: v.optional(v.string()) })), []),
  }),
);

export const estopSchema = lazily(() =>
  v.object({
    stopped: stoppedSchema(),
    /** An engine of an earlier version has neither. */
    durable: v.optional(v.boolean(), false),
    why: v.optional(v.string(), "the engine does not say whether it is on its disk"),
  }),
);

export const pauseSchema = lazily(() =>
  v.object({
    /** seconds since 1970; null for a task that is not paused */
    paused: v.nullable(v.number()),
    /** Why a restart of the engine does not find it so; null if it does. */
    failure: v.nullable(v.string()),
  }),
);
export type PauseResult = v.InferOutput<ReturnType<typeof pauseSchema>>;

export const reloadSchema = lazily(() =>
  v.object({
    /** Their number; null if nothing was taken. */
    tasks: v.nullable(v.number()),
    /** Why something is not as the files say, in one line; null if all is. */
    failure: v.nullable(v.string()),
  }),
);
export type ReloadOutcome = v.InferOutput<ReturnType<typeof reloadSchema>>;

export const resetSchema = lazily(() => v.object({ stopped: v.null() }));
export const cancelledSchema = lazily(() => v.object({ cancelled: v.number() }));
export const lastValueSchema = lazily(() =>
  v.object({ topic: v.string(), value: v.custom<Json>((value) => value !== undefined), pack: v.number() }),
);

export const statusSchema = lazily(() => {
  const count = v.number();
  const counts = v.record(v.string(), count);
  const milliseconds = v.nullable(v.number());
  return v.object({
    /** The engine is stopping, and accepts nothing new. */
    draining: v.boolean(),
    /** The emergency stop in force, or null. */
    stopped: v.nullable(
      v.object({
        ...stoppedSchema().entries,
        /**
         * It is on the engine's disk; `why` not, if it is not. An engine of an earlier version has
         * neither.
         */
        durable: v.exactOptional(v.boolean()),
        why: v.exactOptional(v.string()),
      }),
    ),
    /**
     * `curve`: with keys. `none`: without keys, on its own machine alone. `insecure`: without keys,
     * open to others.
     */
    security: v.picklist(["curve", "none", "insecure"]),
    /** Counts since the engine's start, but for `waiting` and `held`, which are as of now. */
    jobs: v.object({
      accepted: count,
      done: count,
      /** Tries after the first. */
      retried: count,
      /** Counts by error code. */
      failed: counts,
      /** Dropped messages, by reason. */
      dropped: counts,
      waiting: count,
      /** Jobs that workers hold, the running ones included. */
      held: count,
    }),
    /** Jobs that wait in the router, and the bytes of their frames. */
    queue: v.object({ jobs: count, bytes: count }),
    tasks: v.array(
      v.object({
        name: v.string(),
        /** Number of workers that serve it now. */
        workers: count,
        waiting: count,
        /** Number of its runs. */
        count,
        /** Run times: median and 99th percentile; null before the first run. */
        p50Ms: milliseconds,
        p99Ms: milliseconds,
      }),
    ),
    workers: v.array(
      v.object({
        /** META's `id` of its replies. */
        id: v.string(),
        role: v.string(),
        pid: count,
        /** Its own port, `tcp://HOST:PORT`; empty for none. */
        endpoint: v.string(),
        /** It is a child of the engine, which can kill and restart it. */
        supervised: v.boolean(),
        /** Language of its tasks or sources; null where it has not said it. */
        language: v.optional(v.nullable(v.string()), null),
        held: count,
        /** idle, busy, stuck, leaving, killed, lost */
        state: v.string(),
      }),
    ),
    /** Locks that hold until a person has looked. An older engine has no such list. */
    locks: v.optional(
      v.array(
        v.object({
          /** Names of the locked resources; empty where only the task's own jobs do not begin. */
          resources: v.array(v.string()),
          task: v.string(),
          /** seconds since 1970 */
          since: v.number(),
          why: v.string(),
          /** The way to end the lock. */
          remedy: v.string(),
        }),
      ),
      [],
    ),
    /**
     * Tasks that are blocked until the next reload, since their jobs killed workers. An older
     * engine has no such list.
     */
    quarantined: v.optional(
      v.array(
        v.object({
          task: v.string(),
          /** seconds since 1970 */
          since: v.number(),
          /** workers that died of its jobs */
          deaths: count,
          /** The end of the last of them. */
          how: v.string(),
        }),
      ),
      [],
    ),
    /** Processes that the engine works without, and that cannot start. An older engine has no such list. */
    troubles: v.optional(v.array(v.object({ process: v.string(), since: v.number(), why: v.string() })), []),
    /** Tasks whose waiting jobs do not begin until somebody resumes them. An older engine has no such list. */
    paused: v.optional(v.array(v.object({ task: v.string(), since: v.number() })), []),
    /** The journal, in which durable jobs are; null in an engine without one. */
    journal: v.optional(
      v.nullable(
        v.object({
          /** bytes of its file. */
          bytes: count,
          /** Jobs in it; those of them that have not ended; dead letters. */
          total: count,
          unfinished: count,
          dead: count,
          /** bytes of history that were written today, the most of a day, and entries left out. */
          historyBytes: count,
          historyBytesMax: count,
          historyDropped: count,
          /** Why nothing can be written at present; null if it can. */
          failure: v.nullable(v.string()),
          /** Name of a damaged file that was set aside; null for none. */
          damaged: v.nullable(v.string()),
        }),
      ),
      null,
    ),
    /** Resources, each for one job at a time. */
    resources: v.array(
      v.object({
        name: v.string(),
        holder: v.nullable(
          v.object({
            task: v.string(),
            /** Empty where there is none, as in a safe stop. */
            serial: v.string(),
            /**
             * `safing`: the job has ended, and its task's `onStop` has still to succeed. `unsafe`:
             * that failed too often.
             */
            state: v.picklist(["held", "safing", "unsafe"]),
          }),
        ),
        /** Jobs that wait for it. */
        waiting: count,
      }),
    ),
    /**
     * Tasks whose `onStop` has to run, or failed too often. No job of them begins until it has
     * succeeded; a failed one waits for `reset`.
     */
    safings: v.array(
      v.object({
        task: v.string(),
        state: v.picklist(["waiting", "running", "failed"]),
        tries: count,
        /** The end of the job that made it necessary. */
        why: v.object({ code: v.string(), message: v.string() }),
      }),
    ),
    /** Functions that the engine calls at a rate. An older engine has no such list. */
    sources: v.optional(
      v.array(
        v.object({
          name: v.string(),
          /** The topic of its values. */
          topic: v.string(),
          everyMs: count,
          /** ms without a value after which the topic is stale; null for never. */
          staleMs: milliseconds,
          /** META's `id` of the worker that calls it. */
          worker: v.string(),
          /** Calls a second, by the last report of its worker; null before the second call. */
          hz: v.nullable(count),
          /** 99 % of those calls were at most so many ms late or early; null before the first. */
          jitterMs: milliseconds,
          /** Calls that were due and left out, since its worker's start. */
          overruns: count,
          /** Calls that failed or gave no JSON, since its worker's start. */
          errors: count,
        }),
      ),
      [],
    ),
    /** The last report of each data worker. An older engine has no such list. */
    data: v.optional(
      v.array(
        v.object({
          /** META's `id` of the data worker. */
          worker: v.string(),
          topics: count,
          /** bytes of all values, history included. */
          bytes: count,
          /** Values that subscribers were too slow for, counted for each of them. */
          missed: count,
          /** Values and events that were not taken, by the reason. */
          dropped: counts,
        }),
      ),
      [],
    ),
    /** Limits by their names in the source, which end in their units. */
    limits: counts,
  });
});

export type EngineStatus = v.InferOutput<ReturnType<typeof statusSchema>>;
