/**
 * Requests and their replies over one connection.
 *
 * A request that cannot be sent yet waits here and is dropped at its deadline: an engine that
 * starts an hour later must not get an hour-old "drive forward". A request that was sent over a
 * connection that is lost is INTERRUPTED, and never sent again.
 */
import { cancelVerdictMs, requestTimeoutMs, sendRetryMsMax } from "../limits.ts";
import { encodeCancel, encodeKeepAlive, encodePing, type RequestOrigin } from "../protocol/encode-request.ts";
import { ProtocolError, TaskEngineError } from "../protocol/errors.ts";
import { type Frame, textOf } from "../protocol/frame.ts";
import { decodeMeta } from "../protocol/frames.ts";
import { decodeReply } from "../protocol/replies.ts";
import { EngineConnection } from "./connection.ts";
import { bytesOfRequest } from "./errors.ts";
import type { ClientKeys } from "./keys.ts";
import type { LocalEngine } from "./local.ts";
import type { Trace } from "./options.ts";
import { PendingRequest, PendingRequests, type ResultReply, SweepTimer, type WaitOptions } from "./pending.ts";
import type { PortProblem } from "./port-check.ts";

const neverSent = (): TaskEngineError => new TaskEngineError("CANCELLED", "it was cancelled before it was sent");

/** The end of a request that was sent, and then cancelled at its deadline. */
const gaveUp = "it was told to cancel the request, but may have been at work on it";

export class Exchange {
  readonly #connection: EngineConnection;
  readonly #pending = new PendingRequests();
  readonly #sweeps = new SweepTimer((nowMs) => this.#sweep(nowMs));
  #retryTimer: Timer | null = null;
  #retryMs = 1;
  #count = 0;
  // Serials of two clients differ, so that an operator can name a job by its serial alone.
  readonly #serialPrefix = Math.random().toString(36).slice(2, 10);
  /** Messages that answered no request: too late or never requested, and invalid. */
  readonly dropped = { unknown: 0, malformed: 0 };

  /**
   * @param id META's `id`
   * @param connectionWaitMs ms that a request waits for a connection, also for an engine that does
   * not listen yet; null for `requestTimeoutMs`, and not at all where a look at the port shows that
   * no engine listens
   */
  constructor(
    readonly endpoint: string,
    private readonly id: string,
    private readonly connectionWaitMs: number | null,
    private readonly keys: ClientKeys,
    local: LocalEngine,
    private readonly trace: Trace | undefined,
  ) {
    this.#connection = new EngineConnection({
      endpoint,
      keys: keys.options,
      local,
      ping: () => encodePing({ id, serial: `${this.#serialPrefix}-0` }),
      onMessage: (message) => this.#settle(message),
      onRead: () => this.#flush(),
      onLost: () => this.#interrupt(),
      isAwaited: () => this.#pending.hasUnsent,
      onProblem: (problem) => this.#giveUpUnsent(problem),
    });
  }

  /**
   * Sends the frames that `encode` makes for a new serial, and waits for the terminal reply. A
   * request whose time is over, or whose signal is aborted, is cancelled. Rejects with
   * TaskEngineError, or with what `pick` throws; throws an error of `encode` on.
   */
  request<Result>(
    encode: (origin: RequestOrigin) => readonly string[],
    options: WaitOptions,
    pick: (reply: ResultReply) => Result,
  ): Promise<Result> {
    const { waitMs, signal } = options;
    if (this.#connection.closed) throw new TaskEngineError("CLOSED", "the client is closed");
    if (!(waitMs > 0)) throw new TaskEngineError("BAD_ARGS", `waitMs is ${waitMs}, which is not above 0`);
    if (signal?.aborted) throw neverSent();
    const serial = `${this.#serialPrefix}-${++this.#count}`;
    const frames = encode({ id: this.id, serial });
    const bytes = bytesOfRequest(frames);
    this.#pending.checkRoom(bytes);
    const release = signal === undefined ? null : this.#cancelOnAbort(signal, serial);
    const request = new PendingRequest(serial, frames, bytes, options, pick, release);
    // Earlier requests that wait for the connection go first.
    if (this.#pending.hasUnsent || !this.#transmit(request)) this.#connection.await();
    this.#pending.add(request);
    this.#sweeps.watch(request.deadlineMs(this.#unsentMs));
    return request.promise as Promise<Result>;
  }

  get isConnected(): boolean {
    return this.#connection.stands;
  }

  get waiting(): number {
    return this.#pending.size;
  }

  /** Cancels and rejects all requests. */
  async close(): Promise<void> {
    if (this.#connection.closed) return;
    for (const request of this.#pending) if (request.unsent === null) this.#sendCancel(request);
    const closed = this.#connection.close();
    this.#sweeps.stop();
    if (this.#retryTimer !== null) clearTimeout(this.#retryTimer);
    this.#rejectAll(this.#pending, "CLOSED", "the client was closed before the answer was there");
    await closed;
  }

  /* ── Sending ── */

  #send(frames: readonly string[]): boolean {
    const isSent = this.#connection.send(frames);
    if (isSent) this.trace?.("sending", frames);
    return isSent;
  }

  /** Returns false if no connection takes the request now. */
  #transmit(request: PendingRequest): boolean {
    if (request.unsent === null) return true;
    if (!this.#connection.isClear) return false;
    if (!this.#send(request.unsent)) {
      this.#retryLater();
      return false;
    }
    this.#pending.markSent(request);
    this.#retryMs = 1;
    const { deadmanMs } = request.options;
    if (deadmanMs !== undefined) this.#guard(request, deadmanMs);
    return true;
  }

  #flush(): void {
    for (const request of this.#pending.unsent) if (!this.#transmit(request)) return;
  }

  /** The connection says when it is clear, but not when a full queue has room again. */
  #retryLater(): void {
    if (this.#retryTimer !== null) return;
    this.#retryTimer = setTimeout(() => {
      this.#retryTimer = null;
      this.#flush();
    }, this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, sendRetryMsMax);
  }

  /** Says KEEPALIVE several times each `deadmanMs` from now on, or lets the program say it. */
  #guard(request: PendingRequest, deadmanMs: number): void {
    const { serial, options } = request;
    if (options.keepAlive !== undefined) {
      options.keepAlive(() => {
        if (this.#pending.get(serial) === request && !request.isCancelled) this.#sayAlive(serial);
      }, deadmanMs);
    } else if (request.keepAlive(deadmanMs)) this.#sweeps.watch(request.keepAliveAtMs);
  }

  #sayAlive(serial: string): void {
    this.#send(encodeKeepAlive({ id: this.id, serial }));
  }

  #cancelOnAbort(signal: AbortSignal, serial: string): () => void {
    const cancel = (): void => {
      const request = this.#pending.get(serial);
      if (request?.unsent === null) this.#sendCancel(request);
      else this.#pending.take(serial)?.reject(neverSent());
    };
    signal.addEventListener("abort", cancel);
    return () => signal.removeEventListener("abort", cancel);
  }

  /**
   * The engine's reply ends the request: CANCELLED, or its result. Returns false if the connection
   * is gone.
   */
  #sendCancel(request: PendingRequest): boolean {
    if (request.isCancelled) return true;
    request.keepAliveAtMs = Number.POSITIVE_INFINITY;
    request.isCancelled = this.#send(encodeCancel({ id: this.id, serial: request.serial }));
    return request.isCancelled;
  }

  /* ── Replies ── */

  #settle(frames: readonly Frame[]): void {
    const reply = decodeReply(frames);
    if (this.trace !== undefined) {
      const isBinary = !(reply instanceof ProtocolError) && reply.kind === "binary";
      this.trace(
        "received",
        isBinary ? [textOf(frames[0] ?? ""), `(${reply.bytes.length} bytes)`] : frames.map(textOf),
      );
    }
    if (reply instanceof ProtocolError) return this.#dropMalformed(frames, reply.message);
    const { serial = this.#pending.serialOfOld(reply) } = reply.meta;
    const isTerminal = reply.kind !== "progress" && reply.kind !== "keepAlive";
    const request = isTerminal ? this.#pending.take(serial) : this.#pending.get(serial);
    if (request === undefined) {
      this.dropped.unknown++;
      return;
    }
    switch (reply.kind) {
      case "progress":
        return request.options.onProgress?.(reply.data);
      case "keepAlive":
        if (!request.isCancelled) this.#guard(request, reply.deadmanMs);
        return;
      case "error": {
        const { code, message } = reply.error;
        const isGivenUp = request.cancelGraceMs > 0 && code === "CANCELLED";
        return request.reject(
          isGivenUp ? this.#noAnswer(request, `cancelled: ${message}`) : new TaskEngineError(code, message),
        );
      }
      default:
        // Some parts of a batch that was cancelled at its deadline may have run.
        if (request.cancelGraceMs > 0 && reply.kind === "batch") return request.reject(this.#noAnswer(request, gaveUp));
        return request.resolve(reply);
    }
  }

  #dropMalformed(frames: readonly Frame[], message: string): void {
    this.dropped.malformed++;
    const meta = frames[0] === undefined ? null : decodeMeta(frames[0]);
    if (meta === null || meta instanceof ProtocolError || meta.serial === undefined) return;
    const error = new TaskEngineError("BAD_FRAME", `the answer could not be understood: ${message}`);
    this.#pending.take(meta.serial)?.reject(error);
  }

  /* ── Ends without a reply ── */

  #rejectAll(requests: Iterable<PendingRequest>, code: TaskEngineError["code"], message: string): void {
    for (const { serial } of [...requests]) this.#pending.take(serial)?.reject(new TaskEngineError(code, message));
  }

  /** The connection is lost. Unsent requests wait for the next one. */
  #interrupt(): void {
    const message = `the connection to ${this.endpoint} was lost before the answer came: the job may have been running`;
    const sent = [...this.#pending].filter(({ unsent }) => unsent === null);
    this.#rejectAll(sent, "INTERRUPTED", message);
  }

  /** No engine listens, and to wait for one does not help or was not requested. */
  #giveUpUnsent({ why, isFinal }: PortProblem): void {
    if (this.connectionWaitMs !== null && !isFinal) return;
    const hint = isFinal ? "" : ", or wait for one that is starting: --wait MS (waitMs in a program)";
    this.#rejectAll(this.#pending.unsent, "NO_ANSWER", `no connection to ${this.endpoint}: ${why}${hint}`);
  }

  /** ms that a request waits for a connection. */
  get #unsentMs(): number {
    return this.connectionWaitMs ?? requestTimeoutMs;
  }

  #sweep(nowMs: number): number {
    let nextMs = Number.POSITIVE_INFINITY;
    for (const request of this.#pending) {
      if (request.deadlineMs(this.#unsentMs) <= nowMs && !this.#cancelLate(request)) {
        this.#pending.take(request.serial)?.reject(this.#noAnswer(request, this.#reasonOfSilence(request)));
        continue;
      }
      if (request.keepAliveAtMs <= nowMs) {
        // One that cannot be sent is lost: the engine ends the job, as it should without a
        // connection.
        this.#sayAlive(request.serial);
        request.keepAliveAtMs = nowMs + request.keepAliveEveryMs;
      }
      nextMs = Math.min(nextMs, request.deadlineMs(this.#unsentMs), request.keepAliveAtMs);
    }
    return nextMs;
  }

  /**
   * Cancels a request at its deadline. The engine then gets time to say whether the job had begun.
   */
  #cancelLate(request: PendingRequest): boolean {
    if (request.unsent !== null || request.isCancelled || !this.#sendCancel(request)) return false;
    request.cancelGraceMs = cancelVerdictMs;
    return true;
  }

  #noAnswer(request: PendingRequest, why: string): TaskEngineError {
    const limit = `${request.limitMs(this.#unsentMs)} ms`;
    return new TaskEngineError("NO_ANSWER", `no answer from ${this.endpoint} within ${limit}: ${why}`);
  }

  #reasonOfSilence({ unsent, isCancelled }: PendingRequest): string {
    if (unsent !== null) return this.#connection.problem ?? this.keys.ifSilent;
    return isCancelled ? gaveUp : "it may still be at work on the request";
  }
}
