/** Reports of workers for `status`. */
import * as v from "valibot";
import { dropKindsMax, sourcesMax } from "../limits.ts";
import { headerSchema, nameSchema } from "./schema.ts";

const name = nameSchema();

/** How the sources of READY have fared since the last of these messages; see `SourceReport`. */
export const sourcesSchema = headerSchema("SOURCES", () => ({
  sources: v.pipe(
    v.array(
      v.object({
        name,
        /** Calls a second; null before the second call. */
        hz: v.nullable(v.number()),
        /** 99 % of the calls were at most so many ms late or early; null before the first. */
        jitterMs: v.nullable(v.number()),
        /** Calls that were due and left out, since the worker's start. */
        overruns: v.number(),
        /** Calls that failed or gave no JSON, since the worker's start. */
        errors: v.number(),
      }),
    ),
    v.maxLength(sourcesMax),
  ),
}));

/** Values that a data worker keeps, and those that were lost there since its start. */
export const storeSchema = headerSchema("STORE", () => ({
  topics: v.number(),
  bytes: v.number(),
  /** Values that subscribers were too slow for, counted for each of them. */
  missed: v.number(),
  /** Values and events that were not taken, by the reason. */
  dropped: v.pipe(v.record(name, v.number()), v.maxEntries(dropKindsMax)),
}));

export type SourceReport = v.InferOutput<ReturnType<typeof sourcesSchema.schema>>["sources"][number];
export type StoreReport = Omit<v.InferOutput<ReturnType<typeof storeSchema.schema>>, "type">;
