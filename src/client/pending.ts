/** Requests that wait for their answers. */
import type { Json } from "../protocol/json.ts";
import type { Reply } from "../protocol/replies.ts";

/** What a request can come to, if it is not refused. */
export type Answer = Extract<Reply, { kind: "ack" | "batch" }>;

/** How to wait for an answer. */
export interface Waiting {
  /** ms from now to the answer; Infinity for ever */
  readonly waitMs: number;
  /** ms. From when it is sent, the engine is told more often than each so many that we are there. */
  readonly deadmanMs?: number | undefined;
  /** Aborting it cancels the request. */
  readonly signal?: AbortSignal | undefined;
  /** Is told how far it is. What it throws nobody catches. */
  readonly onProgress?: ((data: Json) => void) | undefined;
}

export interface Pending {
  /** What of the answer is wanted. */
  readonly pick: (answer: Answer) => unknown;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: unknown) => void;
  readonly onProgress: ((data: Json) => void) | undefined;
  /** Forgets the signal; null where there is none. */
  readonly release: (() => void) | null;
  readonly startedMs: number;
  readonly waitMs: number;
  readonly deadmanMs: number | undefined;
  readonly bytes: number;
  /** null once it has been handed to a connection */
  unsent: readonly string[] | null;
  isCancelled: boolean;
  /** ms that the engine has, beyond its time, to say what became of it when it was cancelled for that. */
  verdictMs: number;
}

/** What is wanted of the answer may not be there: it may be another than was asked for. */
export const resolveBy = ({ pick, resolve, reject }: Pending, answer: Answer): void => {
  try {
    resolve(pick(answer));
  } catch (error) {
    reject(error);
  }
};

/** Of what has gone out and nobody waits for any more. */
export const gaveUp = "it was told to cancel the request, but may have been at work on it";
/** Whether it says that a request was cancelled. Of a batch the parts are; some may have run. */
export const isCancellation = (reply: Reply): boolean =>
  reply.kind === "batch" || (reply.kind === "error" && reply.error.code === "CANCELLED");
