/** What the engine says of itself: the answer to CONTROL `status`. */
import * as v from "valibot";
import { lazily } from "../protocol/schema.ts";

export const stoppedSchema = lazily(() =>
  v.object({
    /** What whoever has asked for it gave as the reason; may be empty. */
    reason: v.string(),
    /** seconds since 1970 */
    since: v.number(),
  }),
);
/** An emergency stop that holds. */
export type Stopped = v.InferOutput<ReturnType<typeof stoppedSchema>>;

/** What came of an emergency stop: the one that holds, and whether it outlasts the engine. */
export interface StopResult extends Stopped {
  /** It is on the engine's disk, and holds until `reset` whatever is started anew. */
  readonly durable: boolean;
  /** Why it is not known to be there: the engine has stopped, but the next one may start without the stop. */
  readonly why?: string;
}

export const statusSchema = lazily(() => {
  const count = v.number();
  const counts = v.record(v.string(), count);
  const milliseconds = v.nullable(v.number());
  return v.object({
    /** It is stopping: nothing new is taken. */
    draining: v.boolean(),
    /** The emergency stop that holds, or null. */
    stopped: v.nullable(
      v.object({
        ...stoppedSchema().entries,
        /** It is on the engine's disk; `why` not, if it is not. An engine of an earlier version says neither. */
        durable: v.exactOptional(v.boolean()),
        why: v.exactOptional(v.string()),
      }),
    ),
    /** `curve`: with keys. `none`: without, at an address of its own machine alone. `insecure`: without, reached by others. */
    security: v.picklist(["curve", "none", "insecure"]),
    /** Since the engine's start, but for `waiting` and `held`, which are as of now. */
    jobs: v.object({
      accepted: count,
      done: count,
      /** Tries after the first. */
      retried: count,
      /** By error code. */
      failed: counts,
      /** Messages that came to nothing, by reason. */
      dropped: counts,
      waiting: count,
      /** Jobs that workers have, the running ones included. */
      held: count,
    }),
    /** What waits in the router, and the bytes of its frames. */
    queue: v.object({ jobs: count, bytes: count }),
    tasks: v.array(
      v.object({
        name: v.string(),
        /** How many serve it now. */
        workers: count,
        waiting: count,
        /** How often it has run. */
        count,
        /** Half of its runs, and 99 of 100, took at most so long; null as long as it has not run. */
        p50Ms: milliseconds,
        p99Ms: milliseconds,
      }),
    ),
    workers: v.array(
      v.object({
        /** As META's `id` of its answers has it. */
        id: v.string(),
        role: v.string(),
        pid: count,
        /** Its own port, `tcp://HOST:PORT`; empty for none. */
        endpoint: v.string(),
        /** The engine's own, which it can kill and restart. */
        supervised: v.boolean(),
        held: count,
        /** idle, busy, stuck, leaving, killed, lost */
        state: v.string(),
      }),
    ),
    /** What is held until a person has looked. An older engine says nothing of them. */
    locks: v.optional(
      v.array(
        v.object({
          /** Which; none where it is only the task's own jobs that do not begin. */
          resources: v.array(v.string()),
          task: v.string(),
          /** seconds since 1970 */
          since: v.number(),
          why: v.string(),
          /** What to do. */
          remedy: v.string(),
        }),
      ),
      [],
    ),
    /** Tasks that are closed until the next reload, since their jobs have killed workers. An older engine says nothing of them. */
    quarantined: v.optional(
      v.array(
        v.object({
          task: v.string(),
          /** seconds since 1970 */
          since: v.number(),
          /** workers that have died of it */
          deaths: count,
          /** How the last of them has ended. */
          how: v.string(),
        }),
      ),
      [],
    ),
    /** What only one job may hold at a time. */
    resources: v.array(
      v.object({
        name: v.string(),
        holder: v.nullable(
          v.object({
            task: v.string(),
            /** Empty where there is none, as for a job that is made safe. */
            serial: v.string(),
            /** `safing`: its job has ended, and its task's `onStop` has still to succeed. `unsafe`: that has failed too often. */
            state: v.picklist(["held", "safing", "unsafe"]),
          }),
        ),
        /** Jobs that wait for it. */
        waiting: count,
      }),
    ),
    /** Tasks whose `onStop` is to be run, or has failed too often. Until it has succeeded no job of them begins; what failed waits for `reset`. */
    safings: v.array(
      v.object({
        task: v.string(),
        state: v.picklist(["waiting", "running", "failed"]),
        tries: count,
        /** How the job has ended that made it necessary. */
        why: v.object({ code: v.string(), message: v.string() }),
      }),
    ),
    /** By their names in the source, which end in their units. */
    limits: counts,
  });
});

export type EngineStatus = v.InferOutput<ReturnType<typeof statusSchema>>;
