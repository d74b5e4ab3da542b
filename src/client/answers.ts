/** What a client makes of an answer, and what the engine answers to CONTROL, but for its `status`. */
import * as v from "valibot";
import type { Meta } from "../protocol/frames.ts";
import type { Json } from "../protocol/json.ts";
import { lazily } from "../protocol/schema.ts";
import { TaskEngineError } from "./errors.ts";
import type { Answer } from "./pending.ts";
import { stoppedSchema } from "./status.ts";

/** A task's whole answer. `meta.id` names the worker. */
export interface TaskReply {
  readonly meta: Meta;
  readonly data: Json;
}

/** A result is all that version 0.1 lacks: who needs none is content with its acknowledgement. */
const mustHaveResult = ({ meta }: Answer): void => {
  if (meta.version !== 0.1) return;
  throw new TaskEngineError(
    "UNSUPPORTED_VERSION",
    "the engine speaks version 0.1 only: no results; it has acknowledged the request, and more it does not tell",
  );
};

export const replyOf = (answer: Answer): TaskReply => {
  mustHaveResult(answer);
  if (answer.kind === "ack") return { meta: answer.meta, data: answer.data ?? null };
  throw new TaskEngineError("BAD_FRAME", "the answer has several parts, and one was asked for");
};

export const dataOf = (answer: Answer): Json => replyOf(answer).data;

export const wholeOf = (answer: Answer): Answer => {
  mustHaveResult(answer);
  return answer;
};

/** For what has no result. */
export const acknowledged = (): void => undefined;

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
