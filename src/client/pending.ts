/**
 * The requests of a client that wait for their replies, and the results that they take from them.
 */
import { clientBytesMax, clientRequestsMax, keepAlivesPerDeadman, timerMsMax } from "../limits.ts";
import { arrayOf, type BinaryData } from "../protocol/arrays.ts";
import { TaskEngineError } from "../protocol/errors.ts";
import type { Meta } from "../protocol/frames.ts";
import type { Json } from "../protocol/json.ts";
import type { AcceptedJob, Reply } from "../protocol/replies.ts";
import type { BinaryType } from "../protocol/values.ts";

/** The terminal reply to a request that did not fail. */
export type ResultReply = Extract<Reply, { kind: "ack" | "accepted" | "batch" | "binary" }>;

/** A task's whole reply. `meta.id` names the worker. */
export interface TaskReply {
  readonly meta: Meta;
  readonly data: Json;
}

/** The whole reply of a task with a binary result. */
export interface BinaryReply {
  readonly meta: Meta;
  /** How to read the bytes: `{ contentType: "image/jpeg" }`. */
  readonly type: BinaryType;
  readonly data: BinaryData;
}

/**
 * An engine of version 0.1 gives no results: only a request that needs none is content with its
 * acknowledgement.
 */
const checkVersion = ({ meta }: ResultReply): void => {
  if (meta.version !== 0.1) return;
  throw new TaskEngineError(
    "UNSUPPORTED_VERSION",
    "the engine speaks only version 0.1, which has no results; it has acknowledged the request",
  );
};

export const pickReply = (reply: ResultReply): TaskReply => {
  checkVersion(reply);
  if (reply.kind === "ack") return { meta: reply.meta, data: reply.data ?? null };
  throw new TaskEngineError("BAD_FRAME", "the answer has several parts or is binary; one of JSON was asked for");
};

/** Takes the reply to a request of version 0.3. */
export const pickAnyReply = (reply: ResultReply): TaskReply | BinaryReply =>
  reply.kind === "binary"
    ? { meta: reply.meta, type: reply.type, data: arrayOf(reply.bytes, reply.type) }
    : pickReply(reply);

/** The same, and of a detached job what is known of it: its `meta.type` is ACCEPTED. */
export const pickWhole = (reply: ResultReply): TaskReply | BinaryReply =>
  reply.kind === "accepted" ? { meta: reply.meta, data: { ...reply.job } } : pickAnyReply(reply);

export const pickAnyData = (reply: ResultReply): Json | BinaryData => pickAnyReply(reply).data;

export const pickData = (reply: ResultReply): Json => pickReply(reply).data;

/** Takes the reply to a request with `detach`. */
export const pickAccepted = (reply: ResultReply): AcceptedJob => {
  if (reply.kind === "accepted") return reply.job;
  throw new TaskEngineError("BAD_FRAME", "the answer names no job");
};

/** Takes the reply to a batch. */
export const pickParts = (reply: ResultReply): ResultReply => {
  checkVersion(reply);
  return reply;
};

export const pickNothing = (): void => undefined;

/** The waiting for one reply. */
export interface WaitOptions {
  /** ms from now to the reply; Infinity for no limit */
  readonly waitMs: number;
  /** ms. A request that was sent is kept alive more often than each so many. */
  readonly deadmanMs?: number | undefined;
  readonly keepAlive?: ((say: () => void, deadmanMs: number) => void) | undefined;
  /** Aborting it cancels the request. */
  readonly signal?: AbortSignal | undefined;
  /** Gets the task's progress. Nothing catches what it throws. */
  readonly onProgress?: ((data: Json) => void) | undefined;
}

export class PendingRequest {
  readonly #resolvers = Promise.withResolvers<unknown>();
  readonly #startedMs = performance.now();
  isCancelled = false;
  /** ms beyond `waitMs` in which the engine may answer the cancellation at the deadline. */
  cancelGraceMs = 0;
  /** ms between two KEEPALIVE, and the time of the next one; Infinity for none. */
  keepAliveEveryMs = Number.POSITIVE_INFINITY;
  keepAliveAtMs = Number.POSITIVE_INFINITY;

  /**
   * @param unsent the frames until a connection has taken them; null from then on
   * @param pick takes the result from the reply; the promise rejects with what it throws
   * @param release removes the listener of the signal; null without one
   */
  constructor(
    readonly serial: string,
    public unsent: readonly string[] | null,
    readonly bytes: number,
    readonly options: WaitOptions,
    private readonly pick: (reply: ResultReply) => unknown,
    readonly release: (() => void) | null,
  ) {}

  get promise(): Promise<unknown> {
    return this.#resolvers.promise;
  }

  resolve(reply: ResultReply): void {
    try {
      this.#resolvers.resolve(this.pick(reply));
    } catch (error) {
      this.#resolvers.reject(error);
    }
  }

  reject(error: TaskEngineError): void {
    this.#resolvers.reject(error);
  }

  /** Tightens the time of the request. Returns false if this one is not shorter. */
  keepAlive(deadmanMs: number): boolean {
    const everyMs = deadmanMs / keepAlivesPerDeadman;
    if (everyMs >= this.keepAliveEveryMs) return false;
    this.keepAliveEveryMs = everyMs;
    this.keepAliveAtMs = performance.now() + everyMs;
    return true;
  }

  /** ms that the request may take as things stand. @param unsentMs limit without a connection */
  limitMs(unsentMs: number): number {
    return this.unsent === null ? this.options.waitMs : Math.min(this.options.waitMs, unsentMs);
  }

  /** On the clock of performance.now. */
  deadlineMs(unsentMs: number): number {
    return this.#startedMs + this.limitMs(unsentMs) + this.cancelGraceMs;
  }
}

/**
 * The one table of them, by serial, and the order in which those that are not sent yet have to go.
 */
export class PendingRequests {
  readonly #bySerial = new Map<string, PendingRequest>();
  readonly #unsent = new Set<PendingRequest>();
  #bytes = 0;

  get size(): number {
    return this.#bySerial.size;
  }

  /** True if a request waits for a connection. */
  get hasUnsent(): boolean {
    return this.#unsent.size > 0;
  }

  /** In the order of their sending. */
  get unsent(): Iterable<PendingRequest> {
    return this.#unsent;
  }

  [Symbol.iterator](): Iterator<PendingRequest> {
    return this.#bySerial.values();
  }

  /** Throws TaskEngineError, QUEUE_FULL. */
  checkRoom(bytes: number): void {
    if (this.size < clientRequestsMax && this.#bytes + bytes <= clientBytesMax) return;
    const waiting = `${this.size} requests (${this.#bytes} bytes) wait for their answers already`;
    throw new TaskEngineError("QUEUE_FULL", `${waiting}, the limits are ${clientRequestsMax} and ${clientBytesMax}`);
  }

  add(request: PendingRequest): void {
    this.#bySerial.set(request.serial, request);
    this.#bytes += request.bytes;
    if (request.unsent !== null) this.#unsent.add(request);
  }

  get(serial: string): PendingRequest | undefined {
    return this.#bySerial.get(serial);
  }

  /**
   * An engine of version 0.1 names no serial: its acknowledgement belongs to the oldest request,
   * any other message to none but a single one.
   */
  serialOfOld({ kind, meta }: Reply): string {
    if (meta.version !== 0.1) return "";
    const sent = [...this].filter(({ unsent }) => unsent === null);
    return kind === "ack" || sent.length === 1 ? (sent[0]?.serial ?? "") : "";
  }

  markSent(request: PendingRequest): void {
    request.unsent = null;
    if (this.#unsent.size > 0) this.#unsent.delete(request);
  }

  /** Removes it. Undefined where there is no request of that serial. */
  take(serial: string): PendingRequest | undefined {
    const request = this.#bySerial.get(serial);
    if (request === undefined) return undefined;
    this.#bySerial.delete(serial);
    if (request.unsent !== null) this.#unsent.delete(request);
    this.#bytes -= request.bytes;
    request.release?.();
    return request;
  }
}

/** ms between two sweeps at least: deadlines that fall together cost one. */
const stepMs = 5;

/**
 * One timer for all requests. Nearly every request is answered long before its deadline, so nothing
 * is sorted: at the nearest deadline a sweep looks through all of them.
 */
export class SweepTimer {
  #timer: Timer | null = null;
  #nextMs = Number.POSITIVE_INFINITY;

  /**
   * @param sweep handles what is due at `nowMs` and returns the nearest deadline of the rest,
   * Infinity for none
   */
  constructor(private readonly sweep: (nowMs: number) => number) {}

  /** Sweeps at `deadlineMs` (on the clock of performance.now) or soon after. */
  watch(deadlineMs: number): void {
    if (deadlineMs >= this.#nextMs) return;
    this.stop();
    this.#nextMs = deadlineMs;
    const delayMs = Math.min(Math.max(deadlineMs - performance.now(), stepMs), timerMsMax);
    this.#timer = setTimeout(() => {
      this.stop();
      this.watch(this.sweep(performance.now()));
    }, delayMs);
  }

  stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#nextMs = Number.POSITIVE_INFINITY;
  }
}
