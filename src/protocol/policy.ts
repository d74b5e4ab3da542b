/** The limits of a job: what a request may ask for in its TASK frame, and what a task's own definition sets. */
import * as v from "valibot";
import {
  deadmanMsMin,
  durationMsMax,
  nameLengthMax,
  priorityMax,
  resourcesMax,
  retryBackoffMsMax,
  triesMax,
} from "../limits.ts";
import { lazily } from "./lazily.ts";

/** ms */
const duration = lazily(() => v.pipe(v.number(), v.finite(), v.minValue(1), v.maxValue(durationMsMax)));
const deadman = lazily(() => v.pipe(v.number(), v.finite(), v.minValue(deadmanMsMin), v.maxValue(durationMsMax)));
const name = lazily(() => v.pipe(v.string(), v.nonEmpty(), v.maxLength(nameLengthMax)));

/**
 * `options` of a TASK frame, v0.2. They tighten what the task's definition sets, and never loosen it. A key that is not
 * known is an error: a limit that is asked for and not kept would be worse than none.
 */
export const optionsSchema = lazily(() =>
  v.strictObject({
    /** 0 to 9, 5 if it is not said; the highest goes first. */
    priority: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(priorityMax))),
    /** A job that has not begun so many ms after its acceptance ends as EXPIRED, and never begins. */
    ttlMs: v.optional(duration()),
    /** A job that runs longer is aborted, and its worker killed if it does not let go; it ends as TIMEOUT. */
    timeoutMs: v.optional(duration()),
    /** The requestor says KEEPALIVE more often than each so many ms; else the job ends as DEADMAN, be it that it waits or runs. */
    deadmanMs: v.optional(deadman()),
    /**
     * A job of the same task and key that waits makes room for this one, which takes its place, and ends as SUPERSEDED; with
     * `abort` one that runs, too.
     */
    latest: v.optional(v.union([name(), v.strictObject({ key: name(), abort: v.optional(v.boolean()) })])),
    /** What a job of lower priority holds and this one needs is taken from it, where that one's task is `preemptible`. */
    preempt: v.optional(v.boolean()),
  }),
);
export type TaskOptions = v.InferOutput<ReturnType<typeof optionsSchema>>;

/** One key of a definition, one row; the keys that a worker tells the router. */
export const policyRows = lazily(() => ({
  /** As in `options`. */
  ttlMs: v.optional(duration()),
  /** As in `options`. */
  timeoutMs: v.optional(duration()),
  /** As in `options`; and a requestor that cannot say KEEPALIVE is refused. */
  deadmanMs: v.optional(deadman()),
  /** How long the task may take to let go after the abort signal, before its worker is killed. */
  graceMs: v.optional(v.pipe(v.number(), v.finite(), v.minValue(0), v.maxValue(durationMsMax))),
  /** The task may run twice: it is tried again when its worker dies and, with `onError`, when it throws. */
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
  /** What only one job may hold at a time: taken all or none when it begins, free once it has ended and is safe. */
  resources: v.optional(v.pipe(v.array(name()), v.maxLength(resourcesMax))),
  /** A job of higher priority that asks for it may end this one for its resources. */
  preemptible: v.optional(v.boolean()),
  /** It runs in emergency stop, too. */
  allowedWhenStopped: v.optional(v.boolean()),
  /** The task has an `onStop`: it must be run where a job of it has ended other than by itself. */
  onStop: v.optional(v.boolean()),
  /** How long one run of `onStop` may take, before its worker is killed. */
  onStopMs: v.optional(duration()),
}));

const policySchema = lazily(() => v.strictObject(policyRows()));
export type Policy = Readonly<v.InferOutput<ReturnType<typeof policySchema>>>;
