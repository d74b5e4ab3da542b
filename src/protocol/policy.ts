/**
 * The limits of a job: `options` of a request's TASK frame, and the policy in a task's own
 * definition.
 */
import * as v from "valibot";
import {
  argumentSchemaBytesMax,
  deadmanMsMin,
  delayMsMax,
  durationMsMax,
  priorityMax,
  resourcesMax,
  retryBackoffMsMax,
  triesMax,
  uniqueWindowMsMax,
} from "../limits.ts";
import { isJsonObject, type JsonObject } from "./json.ts";
import { cronSchema, everyMsSchema } from "./schedules.ts";
import { lazily, nameSchema } from "./schema.ts";

/** ms */
const duration = lazily(() => v.pipe(v.number(), v.finite(), v.minValue(1), v.maxValue(durationMsMax)));
const window = lazily(() => v.pipe(v.number(), v.finite(), v.minValue(0), v.maxValue(uniqueWindowMsMax)));
const deadman = lazily(() => v.pipe(v.number(), v.finite(), v.minValue(deadmanMsMin), v.maxValue(durationMsMax)));

/**
 * `options` of a TASK frame, v0.2 and 0.3. They tighten the task's policy, and never loosen it. An
 * unknown key is an error: a limit that is requested and not kept would be worse than none.
 */
export const optionsSchema = lazily(() =>
  v.strictObject({
    /** 0 to 9, default 5; the highest goes first. */
    priority: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(priorityMax))),
    /** ms after the job's acceptance at which it ends as EXPIRED if it has not begun. */
    ttlMs: v.optional(duration()),
    /**
     * ms of run time after which the job is aborted, its worker killed if need be; it ends as
     * TIMEOUT.
     */
    timeoutMs: v.optional(duration()),
    /**
     * ms within which the requestor must send each KEEPALIVE; else the job, waiting or running,
     * ends as DEADMAN.
     */
    deadmanMs: v.optional(deadman()),
    /**
     * This job takes the place of a waiting job of the same task and key, which ends as SUPERSEDED;
     * with `abort` also that of a running one.
     */
    latest: v.optional(v.union([nameSchema(), v.strictObject({ key: nameSchema(), abort: v.optional(v.boolean()) })])),
    /**
     * This job takes the resources it needs from jobs of lower priority whose task is
     * `preemptible`.
     */
    preempt: v.optional(v.boolean()),
    /** The reply comes once the job is accepted: ACCEPTED with its id. Nobody waits for it then. */
    detach: v.optional(v.boolean()),
    /**
     * The job is on the disk before it is accepted. True by default where the request is detached
     * and the task is `durable`.
     */
    durable: v.optional(v.boolean()),
    /**
     * A task has one job with a key at a time: while it has not ended, and `windowMs` from its
     * acceptance, another request with the same arguments gets that job.
     */
    unique: v.optional(v.union([nameSchema(), v.strictObject({ key: nameSchema(), windowMs: v.optional(window()) })])),
    /** ms from the job's acceptance before which it is not dispatched; excludes `notBefore`. */
    delayMs: v.optional(v.pipe(v.number(), v.finite(), v.minValue(1), v.maxValue(delayMsMax))),
    /** Seconds since 1970 before which the job is not dispatched, by the engine's clock. */
    notBefore: v.optional(v.pipe(v.number(), v.finite(), v.minValue(0))),
  }),
);

/** Options that need version 0.3, which the requestor must name to get them. */
export const laterOptions = [
  "detach",
  "durable",
  "unique",
  "delayMs",
  "notBefore",
] as const satisfies (keyof TaskOptions)[];

export type TaskOptions = v.InferOutput<ReturnType<typeof optionsSchema>>;

/** The keys of a policy, which a worker sends to the router. */
export const policyRows = lazily(() => ({
  /** As in `options`. */
  ttlMs: v.optional(duration()),
  /** As in `options`. */
  timeoutMs: v.optional(duration()),
  /** As in `options`; a requestor that cannot send KEEPALIVE is refused. */
  deadmanMs: v.optional(deadman()),
  /** ms from the abort signal until the worker of a task that has not ended is killed. */
  graceMs: v.optional(v.pipe(v.number(), v.finite(), v.minValue(0), v.maxValue(durationMsMax))),
  /**
   * The task may run twice: it is retried when its worker dies and, with `onError`, when it throws.
   */
  idempotent: v.optional(
    v.union([
      v.boolean(),
      v.strictObject({
        tries: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(triesMax))),
        backoffMs: v.optional(v.pipe(v.number(), v.finite(), v.minValue(0), v.maxValue(retryBackoffMsMax))),
        onError: v.optional(v.boolean()),
      }),
    ]),
  ),
  /**
   * Only one job may hold each at a time. A job takes all of them when it begins, and frees them
   * once it has ended and is safe.
   */
  resources: v.optional(v.pipe(v.array(nameSchema()), v.maxLength(resourcesMax))),
  /** A job of higher priority with `preempt` may end a job of this task for its resources. */
  preemptible: v.optional(v.boolean()),
  /** The task also runs in an emergency stop. */
  allowedWhenStopped: v.optional(v.boolean()),
  /** The task has an `onStop`, which runs after each job that did not end by itself. */
  onStop: v.optional(v.boolean()),
  /** ms that one run of `onStop` may take before its worker is killed. */
  onStopMs: v.optional(duration()),
  /** False: the task moves nothing, so a job of it may begin when nobody waits for it. */
  moves: v.optional(v.boolean()),
  /** The same for a task that may move something, and whose author has thought of that. */
  resumesAfterRestart: v.optional(v.boolean()),
  /** The engine runs it by itself, at these times of the wall clock; excludes `everyMs`. */
  schedule: v.optional(cronSchema()),
  /** ms from one run by itself to the next. */
  everyMs: v.optional(everyMsSchema()),
  /** Its detached jobs may be kept on the disk. */
  durable: v.optional(v.boolean()),
}));

/**
 * JSON Schemas (draft 2020-12) of a task's `args`, a list, and of its `kwargs`, an object. They are
 * for people who call it; its worker alone checks arguments.
 */
export interface ArgumentSchema {
  readonly args?: JsonObject;
  readonly kwargs?: JsonObject;
}

export const argumentSchemaSchema = lazily(() => {
  const schema = v.custom<JsonObject>(isJsonObject, "must be a JSON Schema, an object");
  return v.pipe(
    v.strictObject({ args: v.exactOptional(schema), kwargs: v.exactOptional(schema) }),
    v.check(
      (value) => Buffer.byteLength(JSON.stringify(value)) <= argumentSchemaBytesMax,
      `is longer than ${argumentSchemaBytesMax} bytes`,
    ),
  );
});

const policySchema = lazily(() => v.strictObject(policyRows()));
export type Policy = Readonly<v.InferOutput<ReturnType<typeof policySchema>>>;
