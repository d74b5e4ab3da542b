/** What the engine answers to CONTROL, but for its `status`. */
import * as v from "valibot";
import type { Json } from "../wire/json.ts";
import { lazily } from "../wire/lazily.ts";
import { stoppedSchema } from "./status.ts";

export const directorySchema = lazily(() =>
  v.object({
    tasks: v.array(v.object({ name: v.string(), workers: v.number() })),
    data: v.array(v.string()),
  }),
);
export type Directory = v.InferOutput<ReturnType<typeof directorySchema>>;
export const estopSchema = lazily(() =>
  v.object({
    stopped: stoppedSchema(),
    /** An engine of an earlier version says neither. */
    durable: v.optional(v.boolean(), false),
    why: v.optional(v.string(), "the engine does not say whether it is on its disk"),
  }),
);
export const resetSchema = lazily(() => v.object({ stopped: v.null() }));
export const cancelledSchema = lazily(() => v.object({ cancelled: v.number() }));
export const lastValueSchema = lazily(() =>
  v.object({
    topic: v.string(),
    value: v.custom<Json>((value) => value !== undefined),
    pack: v.number(),
  }),
);
