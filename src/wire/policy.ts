/** The limits of a job: what a request may ask for in its TASK frame, and what a task's own definition sets. */
import * as v from "valibot";
import { durationMsMax, priorityMax, retryBackoffMsMax, triesMax } from "../limits.ts";

/** ms */
const duration = v.pipe(v.number(), v.finite(), v.minValue(1), v.maxValue(durationMsMax));

/**
 * `options` of a TASK frame, v0.2. They tighten what the task's definition sets, and never loosen it. A key that is not
 * known is an error: a limit that is asked for and not kept would be worse than none.
 */
export const optionsSchema = v.strictObject({
  /** 0 to 9, 5 if it is not said; the highest goes first. */
  priority: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(priorityMax))),
  /** A job that has not begun so many ms after its acceptance ends as EXPIRED, and never begins. */
  ttlMs: v.optional(duration),
  /** A job that runs longer is aborted, and its worker killed if it does not let go; it ends as TIMEOUT. */
  timeoutMs: v.optional(duration),
});
export type TaskOptions = v.InferOutput<typeof optionsSchema>;

/** One key of a definition, one row; the keys that a worker tells the router. */
export const policyRows = {
  /** As in `options`. */
  ttlMs: v.optional(duration),
  /** As in `options`. */
  timeoutMs: v.optional(duration),
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
};

const policySchema = v.strictObject(policyRows);
export type Policy = Readonly<v.InferOutput<typeof policySchema>>;
