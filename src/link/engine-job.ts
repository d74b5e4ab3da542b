/** The part of a job from the fleet's queues that its engine has: it begins there, and ends. */
import type { Client } from "../client/client.ts";
import type { BinaryReply, TaskReply } from "../client/pending.ts";
import { linkRetryMs, requestTimeoutMs, resultWaitMsMax } from "../limits.ts";
import { ProtocolError } from "../protocol/errors.ts";
import type { OnBehalf } from "../protocol/frames.ts";
import { isJsonObject, type JsonObject } from "../protocol/json.ts";
import { type Failure, failureOf } from "./replies.ts";

export type Outcome = { readonly reply: TaskReply | BinaryReply } | Failure;

/** A job as its message brings it. */
export interface QueuedMessage {
  readonly id: string;
  readonly task: string;
  readonly group: string | null;
  /** What it asks for, or why that could not be read. */
  readonly request: JsonObject | ProtocolError;
  /** ms since 1970, by the server's clock */
  readonly sentAtMs: number;
  /** Null for a task that the robot does not offer. */
  readonly isIdempotent: boolean | null;
}

/** The job goes back to its queue. */
export class Returned extends Error {}
/** The link ends. */
export class Left extends Error {}

/** Resolves when it is time for another try. Rejects with Left. */
export const retryTime = async (leaving: AbortSignal): Promise<void> => {
  if (!leaving.aborted) await Bun.sleep(linkRetryMs);
  if (leaving.aborted) throw new Left();
};

/** The engine has refused a request, and nothing of it has begun. */
const isLater = (code: string): boolean => ["QUEUE_FULL", "SHUTTING_DOWN", "STORE_FULL"].includes(code);
const isSilent = (code: string): boolean => code === "NO_ANSWER" || code === "CLOSED";

export class EngineJob {
  #job: string | null = null;
  #isCancelled = false;
  readonly #onBehalf: OnBehalf | undefined;

  /** @param once a second run could do harm */
  constructor(
    private readonly client: Client,
    onBehalf: OnBehalf | null,
    private readonly leaving: AbortSignal,
    private readonly once: boolean,
  ) {
    this.#onBehalf = onBehalf ?? undefined;
  }

  cancel(): void {
    this.#isCancelled = true;
    if (this.#job === null) return;
    const command = { command: "cancel", job: this.#job } as const;
    void this.client.command(command, { onBehalf: this.#onBehalf }).catch(failureOf);
  }

  /**
   * Resolves with the outcome. Rejects with Returned and Left.
   * @param endMs by `performance.now()`, until when it may begin
   * @param onBegin gets the engine's id
   */
  async run(
    { task, request, isIdempotent }: QueuedMessage,
    endMs: number,
    onBegin: (job: string) => Promise<void>,
  ): Promise<Outcome> {
    if (request instanceof ProtocolError) return request;
    const { args = [], kwargs = {}, options = {} } = request;
    if (!Array.isArray(args) || !isJsonObject(kwargs) || !isJsonObject(options)) {
      return { code: "BAD_ARGS", message: "args is no list, or kwargs or options no object" };
    }
    // A message from outside has no say in what is the client's own.
    const { signal: _, onProgress: __, keepAlive: ___, binary: ____, ...limits } = options;
    if (isIdempotent === null) {
      return { code: "UNKNOWN_TASK", message: `the robot has no task ${JSON.stringify(task)} for the fleet` };
    }
    for (;;) {
      if (this.#isCancelled) return { code: "CANCELLED", message: "it was cancelled" };
      const ttlMs = endMs - performance.now();
      if (ttlMs <= 0) return { code: "EXPIRED", message: "its ttlMs had passed before it could begin" };
      try {
        const { id } = await this.client.call(task, args, kwargs, {
          ...limits,
          ...(Number.isFinite(ttlMs) && { ttlMs: Math.max(1, ttlMs) }),
          ...{ detach: true, waitMs: requestTimeoutMs, onBehalf: this.#onBehalf },
        });
        await onBegin(id);
        return await this.follow(id);
      } catch (error) {
        if (error instanceof Left || error instanceof Returned) throw error;
        const failure = failureOf(error);
        if (isSilent(failure.code)) return this.#lost(`the engine was lost when it was asked: ${failure.message}`);
        if (!isLater(failure.code)) return failure;
        await retryTime(this.leaving);
      }
    }
  }

  /** The outcome of a job that the engine has accepted. Rejects with Returned and Left. */
  async follow(job: string): Promise<Outcome> {
    this.#job = job;
    if (this.#isCancelled) this.cancel();
    const waiting = { waitMs: resultWaitMsMax + requestTimeoutMs, onBehalf: this.#onBehalf };
    let last: Failure | null = null;
    for (;;) {
      try {
        const reply = await this.client.command({ command: "result", job, waitMs: resultWaitMsMax }, waiting);
        if (reply.meta.type !== "ACCEPTED") return { reply };
      } catch (error) {
        const failure = failureOf(error);
        const { code, message } = failure;
        if (code === "UNKNOWN_JOB") return last ?? this.#lost(`the engine knows it no more: ${message}`);
        if (!isLater(code) && !isSilent(code)) return failure;
        // The engine ends; that may be the outcome of the job, too, or a durable one goes on later.
        if (code === "SHUTTING_DOWN" && this.once) last = failure;
        await retryTime(this.leaving);
      }
    }
  }

  /** Nobody knows whether it has run. */
  #lost(message: string): Failure {
    if (!this.once) throw new Returned();
    return { code: "INTERRUPTED", message };
  }
}
