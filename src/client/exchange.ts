/**
 * Requests and their answers over one connection: a map from serial to the promise that waits.
 *
 * What cannot go out yet waits here and is forgotten at its deadline: an engine that starts an hour later must not be met by
 * an hour-old "drive forward". What had gone out when the connection was lost is INTERRUPTED, and never sent again.
 */
import { cancelVerdictMs, clientBytesMax, clientRequestsMax, requestTimeoutMs, sendRetryMsMax } from "../limits.ts";
import { encodeCancel, encodeKeepAlive, encodePing, type RequestOrigin } from "../protocol/encode-request.ts";
import { ProtocolError } from "../protocol/errors.ts";
import { type Frame, textOf } from "../protocol/frame.ts";
import { decodeMeta } from "../protocol/frames.ts";
import { decodeReply, type Reply } from "../protocol/replies.ts";
import { EngineConnection } from "./connection.ts";
import { Deadlines } from "./deadlines.ts";
import { TaskEngineError } from "./errors.ts";
import { bytesOfRequest } from "./frame-limits.ts";
import { KeepAlives } from "./keep-alive.ts";
import type { ClientKeys } from "./keys.ts";
import { type Answer, gaveUp, isCancellation, type Pending, resolveBy, type Waiting } from "./pending.ts";
import type { Trouble } from "./trouble.ts";

/** Told of every message but the connection's own pings, without the empty delimiter. */
export type Trace = (direction: "sending" | "received", frames: readonly string[]) => void;

const neverSent = (): TaskEngineError => new TaskEngineError("CANCELLED", "it was cancelled before it was sent");

export class Exchange {
  readonly #connection: EngineConnection;
  readonly #pending = new Map<string, Pending>();
  /** Serials of what has not gone out yet, in the order in which it has to. */
  readonly #unsent = new Set<string>();
  readonly #deadlines = new Deadlines((nowMs) => this.#sweep(nowMs));
  readonly #keepAlives = new KeepAlives((serial) => this.#send(encodeKeepAlive({ id: this.id, serial })));
  #retryTimer: Timer | null = null;
  #retryMs = 1;
  #bytes = 0;
  #count = 0;
  // Serials of two clients differ, so that an operator can name a job by its serial alone.
  readonly #serialPrefix = Math.random().toString(36).slice(2, 10);
  /** Messages that answered nothing: too late or never asked for, and not understood. */
  readonly dropped = { unknown: 0, malformed: 0 };

  /**
   * @param id META's `id`
   * @param connectionWaitMs how long a request waits for a connection, also where nobody listens yet; null for as long as that may
   * take where somebody does, and not at all where it is known that nobody does
   */
  constructor(
    readonly endpoint: string,
    private readonly id: string,
    private readonly connectionWaitMs: number | null,
    private readonly keys: ClientKeys,
    private readonly trace: Trace | undefined,
  ) {
    this.#connection = new EngineConnection({
      endpoint,
      keys: keys.options,
      ping: () => encodePing({ id, serial: `${this.#serialPrefix}-0` }),
      onMessage: (message) => this.#settle(message),
      onRead: () => this.#flush(),
      onLost: () => this.#interrupt(),
      isAwaited: () => this.#unsent.size > 0,
      onTrouble: (trouble) => this.#giveUpUnsent(trouble),
    });
  }

  /**
   * Sends the frames that `encode` makes for a new serial and waits for the one answer to it. Whatever nobody waits for any
   * more, since its time is over or its signal was aborted, is cancelled.
   * Rejects with TaskEngineError; what `encode` throws is thrown on.
   * @param pick what of the answer is wanted; the promise rejects with what it throws
   */
  request<Result>(
    encode: (asking: RequestOrigin) => readonly string[],
    { waitMs, deadmanMs, signal, onProgress }: Waiting,
    pick: (answer: Answer) => Result,
  ): Promise<Result> {
    if (this.#connection.closed) throw new TaskEngineError("CLOSED", "the client is closed");
    if (!(waitMs > 0)) throw new TaskEngineError("BAD_ARGS", `waitMs is ${waitMs}, which is not above 0`);
    if (signal?.aborted) throw neverSent();
    const serial = `${this.#serialPrefix}-${++this.#count}`;
    const frames = encode({ id: this.id, serial });
    const bytes = bytesOfRequest(frames);
    this.#checkRoom(bytes);
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const pending: Pending = {
      pick,
      resolve,
      reject,
      onProgress,
      release: signal === undefined ? null : this.#onAbort(signal, serial),
      startedMs: performance.now(),
      waitMs,
      deadmanMs,
      bytes,
      unsent: frames,
      isCancelled: false,
      verdictMs: 0,
    };
    // What waits for the connection goes first.
    if (this.#unsent.size > 0 || !this.#transmit(serial, pending)) {
      this.#unsent.add(serial);
      this.#connection.await();
    }
    this.#pending.set(serial, pending);
    this.#bytes += bytes;
    this.#deadlines.watch(this.#deadlineOf(pending));
    return promise as Promise<Result>;
  }

  get waiting(): number {
    return this.#pending.size;
  }

  /** Gives what forgets it. */
  #onAbort(signal: AbortSignal, serial: string): () => void {
    const cancel = (): void => this.#cancel(serial);
    signal.addEventListener("abort", cancel);
    return () => signal.removeEventListener("abort", cancel);
  }

  /** Rejects all that wait, and cancels it. Nothing that has not gone out yet goes out. */
  async close(): Promise<void> {
    if (this.#connection.closed) return;
    for (const [serial, pending] of this.#pending) if (pending.unsent === null) this.#sendCancel(serial, pending);
    const closed = this.#connection.close();
    this.#deadlines.stop();
    if (this.#retryTimer !== null) clearTimeout(this.#retryTimer);
    for (const serial of [...this.#pending.keys()]) {
      this.#take(serial)?.reject(new TaskEngineError("CLOSED", "the client was closed before the answer was there"));
    }
    await closed;
  }

  /** What has gone out ends by the engine's answer: that it is cancelled, or its result, where that was quicker. */
  #cancel(serial: string): void {
    const pending = this.#pending.get(serial);
    if (pending?.unsent === null) this.#sendCancel(serial, pending);
    else this.#take(serial)?.reject(neverSent());
  }

  /** Whether it went out. If not, there is no connection any more: the engine would not know us by the next one. */
  #sendCancel(serial: string, pending: Pending): boolean {
    if (pending.isCancelled) return true;
    this.#keepAlives.drop(serial);
    pending.isCancelled = this.#send(encodeCancel({ id: this.id, serial }));
    return pending.isCancelled;
  }

  #send(frames: readonly string[]): boolean {
    const isSent = this.#connection.send(frames);
    if (isSent) this.trace?.("sending", frames);
    return isSent;
  }

  #checkRoom(bytes: number): void {
    if (this.#pending.size < clientRequestsMax && this.#bytes + bytes <= clientBytesMax) return;
    const waiting = `${this.#pending.size} requests (${this.#bytes} bytes) wait for their answers already`;
    throw new TaskEngineError("QUEUE_FULL", `${waiting}, the limits are ${clientRequestsMax} and ${clientBytesMax}`);
  }

  /** Hands a request to the connection, if there is one that takes it. */
  #transmit(serial: string, pending: Pending): boolean {
    if (pending.unsent === null) return true;
    if (!this.#connection.isClear) return false;
    if (!this.#send(pending.unsent)) {
      this.#retryLater();
      return false;
    }
    pending.unsent = null;
    this.#retryMs = 1;
    if (pending.deadmanMs !== undefined) this.#keepAlives.keep(serial, pending.deadmanMs);
    return true;
  }

  #flush(): void {
    for (const serial of this.#unsent) {
      const pending = this.#pending.get(serial);
      if (pending !== undefined && !this.#transmit(serial, pending)) return;
      this.#unsent.delete(serial);
    }
  }

  /** The connection says when it may be clear, but not when a queue that was full has room again: ask now and then. */
  #retryLater(): void {
    if (this.#retryTimer !== null) return;
    this.#retryTimer = setTimeout(() => {
      this.#retryTimer = null;
      this.#flush();
    }, this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, sendRetryMsMax);
  }

  /** The connection is lost. What has not gone out waits on for the next one. */
  #interrupt(): void {
    const message = `the connection to ${this.endpoint} was lost before the answer came: the job may have been running`;
    for (const [serial, pending] of this.#pending) {
      if (pending.unsent === null) this.#take(serial)?.reject(new TaskEngineError("INTERRUPTED", message));
    }
  }

  /** There is nobody to send it to, and waiting does not help, or is not what was asked for. */
  #giveUpUnsent({ why, isFinal }: Trouble): void {
    if (this.connectionWaitMs !== null && !isFinal) return;
    const hint = isFinal ? "" : ", or wait for one that is starting: --wait MS (waitMs in a program)";
    const error = new TaskEngineError("NO_ANSWER", `no connection to ${this.endpoint}: ${why}${hint}`);
    for (const serial of [...this.#unsent]) this.#take(serial)?.reject(error);
  }

  #settle(frames: readonly Frame[]): void {
    this.trace?.("received", frames.map(textOf));
    const reply = decodeReply(frames);
    if (reply instanceof ProtocolError) {
      this.dropped.malformed++;
      const meta = frames[0] === undefined ? null : decodeMeta(frames[0]);
      if (meta === null || meta instanceof ProtocolError) return;
      this.#take(meta.serial)?.reject(
        new TaskEngineError("BAD_FRAME", `the answer could not be understood: ${reply.message}`),
      );
      return;
    }
    const { serial = this.#serialOfOld(reply) } = reply.meta;
    const isLast = reply.kind !== "progress" && reply.kind !== "keepAlive";
    const pending = isLast ? this.#take(serial) : this.#pending.get(serial);
    if (pending === undefined) this.dropped.unknown++;
    else if (reply.kind === "progress") pending.onProgress?.(reply.data);
    else if (reply.kind === "keepAlive") this.#keepAlive(serial, pending, reply.deadmanMs);
    else if (pending.verdictMs > 0 && isCancellation(reply))
      pending.reject(this.#noAnswer(pending, reply.kind === "error" ? `cancelled: ${reply.error.message}` : gaveUp));
    else if (reply.kind === "error") pending.reject(new TaskEngineError(reply.error.code, reply.error.message));
    else resolveBy(pending, reply);
  }

  /**
   * An engine of version 0.1 names no serial: it answers what it was asked first. What is no acknowledgement, such as that it has not
   * understood a message, can be told of nothing but a single request.
   */
  #serialOfOld({ kind, meta }: Reply): string {
    if (meta.version !== 0.1) return "";
    const sent = [...this.#pending].filter(([, { unsent }]) => unsent === null);
    return kind === "ack" || sent.length === 1 ? (sent[0]?.[0] ?? "") : "";
  }

  /** The engine's wish. Of what was cancelled we want no more than its end. */
  #keepAlive(serial: string, { isCancelled }: Pending, deadmanMs: number): void {
    if (!isCancelled) this.#keepAlives.keep(serial, deadmanMs);
  }

  #take(serial: string | undefined): Pending | undefined {
    if (serial === undefined) return undefined;
    const pending = this.#pending.get(serial);
    if (pending === undefined) return undefined;
    this.#pending.delete(serial);
    if (pending.unsent !== null) this.#unsent.delete(serial);
    this.#keepAlives.drop(serial);
    this.#bytes -= pending.bytes;
    pending.release?.();
    return pending;
  }

  /** ms that the request may still take as things stand: less while there is no connection. */
  #limitOf({ unsent, waitMs }: Pending): number {
    return unsent === null ? waitMs : Math.min(waitMs, this.connectionWaitMs ?? requestTimeoutMs);
  }

  #deadlineOf(pending: Pending): number {
    return pending.startedMs + this.#limitOf(pending) + pending.verdictMs;
  }

  #sweep(nowMs: number): number {
    let nextMs = Number.POSITIVE_INFINITY;
    for (const [serial, pending] of this.#pending) {
      const deadlineMs = this.#deadlineOf(pending);
      if (deadlineMs > nowMs) {
        nextMs = Math.min(nextMs, deadlineMs);
        continue;
      }
      // The engine says whether what it cancels had begun, and what kept it.
      if (pending.unsent === null && !pending.isCancelled && this.#sendCancel(serial, pending)) {
        pending.verdictMs = cancelVerdictMs;
        nextMs = Math.min(nextMs, this.#deadlineOf(pending));
        continue;
      }
      this.#take(serial);
      pending.reject(this.#noAnswer(pending, this.#ifSilent(pending)));
    }
    return nextMs;
  }

  #noAnswer(pending: Pending, why: string): TaskEngineError {
    const limit = `${this.#limitOf(pending)} ms`;
    return new TaskEngineError("NO_ANSWER", `no answer from ${this.endpoint} within ${limit}: ${why}`);
  }

  #ifSilent(pending: Pending): string {
    if (pending.unsent !== null) return this.#connection.trouble ?? this.keys.ifSilent;
    return pending.isCancelled ? gaveUp : "it may still be at work on the request";
  }
}
