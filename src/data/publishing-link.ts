/**
 * A program's values and requests to one data worker. A value goes into the connection at once, and
 * several of a turn wake the data worker once. Where it is behind or not there, they wait here.
 */
import { dataBytesMaxMax, gatheredValuesMax, streamRequestsMax, timerMsMax } from "../limits.ts";
import { TaskEngineError } from "../protocol/errors.ts";
import { bytesOf, type Frame } from "../protocol/frame.ts";
import type { Json } from "../protocol/json.ts";
import type { StreamReply } from "../protocol/stream.ts";
import { readSeq } from "../protocol/values.ts";
import { placesIn } from "./framed.ts";
import { copyOf, sizeMistake } from "./payload.ts";
import { MovedError, refusalIn } from "./refusal.ts";
import { type StreamConnection, type StreamDialer, StreamLink } from "./stream-link.ts";
import { copyValue, type TopicValue } from "./topic-value.ts";
import { type UnsentMessage, UnsentValues } from "./unsent-values.ts";

/** `kept`: it waits here, since the data worker is behind or not there. */
export type PublishResult = "sent" | "kept" | "lost";

/** The answer to a request, and the values that came with it. */
export interface StreamAnswer {
  readonly data: Json;
  readonly values: readonly TopicValue[];
}

interface LinkHooks {
  /** The program may block after each value, so each leaves at once. */
  readonly flushesEach: boolean;
  /** A value was dropped before it was sent. */
  readonly onDropped: (topic: string) => void;
  /** The data worker has not taken `count` values that nobody asked to confirm. */
  readonly onRefused: (topic: string, error: TaskEngineError, count: number) => void;
  /** The connection is lost, or topics have other data workers now. */
  readonly onChanged: () => void;
}

/** A request whose answer is awaited. */
interface Awaited extends UnsentMessage {
  isSent: boolean;
  /** On the clock of performance.now(). */
  readonly deadlineMs: number;
  readonly waitMs: number;
  readonly resolve: (answer: StreamAnswer) => void;
  readonly reject: (error: TaskEngineError) => void;
}

export class PublishingLink {
  readonly #link: StreamLink;
  readonly #hooks: LinkHooks;
  /** null while there is none. */
  #connection: StreamConnection | null = null;
  /** bytes of one value: as the data worker has said at the last connection. */
  #valueBytesMax = dataBytesMaxMax;
  readonly #unsent = new UnsentValues<UnsentMessage | Awaited>();
  readonly #awaited = new Map<string, Awaited>();
  /** Values that belong to the next answer. */
  #values: TopicValue[] = [];
  #drainWaiters: (() => void)[] = [];
  /** Values since the last flush, its time, and whether another one follows in this turn. */
  #gathered = 0;
  #flushedMs = 0;
  #isFlushPlanned = false;
  #sweep: Timer | undefined;
  /** There has been a connection. */
  hasStood = false;

  constructor(endpoint: string, dialer: StreamDialer, hooks: LinkHooks) {
    this.#hooks = hooks;
    this.#link = new StreamLink(endpoint, dialer, {
      onUp: (connection, valueBytesMax) => this.#up(connection, valueBytesMax),
      onLost: () => this.#lost(),
      onValue: (raw, start, end) => this.#takeValue(raw, start, end),
      onReply: (reply) => this.#takeReply(reply),
      onMalformed: () => undefined,
      onRead: () => undefined,
    });
  }

  get endpoint(): string {
    return this.#link.endpoint;
  }

  get stands(): boolean {
    return this.#connection !== null;
  }

  /** Nothing waits in this process. */
  get isDrained(): boolean {
    return this.#unsent.isEmpty && (this.#connection?.unsentBytes ?? 0) === 0;
  }

  /** Requests that wait for their answers. */
  get waiting(): number {
    return this.#awaited.size;
  }

  /** A value that nobody wants to be confirmed. Throws TaskEngineError for too long a one. */
  publish(topic: string, meta: string, payload: Frame, nowMs: number): PublishResult {
    const mistake = sizeMistake(payload, this.#valueBytesMax);
    if (mistake !== null) throw mistake;
    const frames = [topic, meta, payload];
    // A program that blocks takes no answers otherwise, and the connection may have room again.
    if (this.#hooks.flushesEach && this.#connection?.hasRoom === false) {
      this.#link.read();
      this.#connection?.flush();
      this.#sendUnsent();
    }
    const connection = this.#connection;
    if (connection?.hasRoom === true && this.#unsent.isEmpty && connection.gather(frames) === "sent") {
      this.#flushSoon(connection, nowMs);
      return connection.hasRoom ? "sent" : "kept";
    }
    const kept = [topic, meta, copyOf(payload)];
    return this.keep({ topic, frames: kept, bytes: bytesOf(kept), isAwaited: false }) ? "kept" : "lost";
  }

  /** Returns false if the value is dropped for those that wait already. */
  keep(message: UnsentMessage): boolean {
    const dropped = this.#unsent.add(message);
    for (const { topic } of dropped) this.#hooks.onDropped(topic);
    this.#sendUnsent();
    return !dropped.includes(message);
  }

  /**
   * Sends a request, or a value to be confirmed. Rejects with TaskEngineError.
   * @param frames with the serial
   * @param waitMs ms from now to the answer
   */
  request(serial: string, topic: string, frames: readonly Frame[], waitMs: number): Promise<StreamAnswer> {
    const bytes = bytesOf(frames);
    if (this.#awaited.size >= streamRequestsMax || !this.#unsent.hasRoom(bytes)) {
      const why = `is behind: ${this.#awaited.size} requests wait for it already`;
      return Promise.reject(new TaskEngineError("QUEUE_FULL", `the data worker at ${this.endpoint} ${why}`));
    }
    const { promise, resolve, reject } = Promise.withResolvers<StreamAnswer>();
    const deadlineMs = performance.now() + waitMs;
    const request = { topic, frames, bytes, isAwaited: true, isSent: false, deadlineMs, waitMs, resolve, reject };
    this.#awaited.set(serial, request);
    this.#unsent.add(request);
    this.#sendUnsent();
    this.#sweep ??= setTimeout(() => this.#endLate(), Math.min(waitMs, timerMsMax));
    return promise;
  }

  /**
   * Resolves once all that was published is in the hands of the transport or of the data worker.
   */
  drained(): Promise<void> {
    if (this.isDrained) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#drainWaiters.push(resolve);
    return promise;
  }

  /** Gives what waits to another link. */
  handOver(next: (message: UnsentMessage) => PublishingLink | null): void {
    for (const message of [...this.#unsent]) {
      const link = message.isAwaited ? null : next(message);
      if (link === null || link === this) continue;
      this.#unsent.delete(message);
      link.keep(message);
    }
  }

  close(code: "CLOSED" | "UNAVAILABLE", why: string): void {
    this.#stopSweep();
    this.#link.close();
    this.#connection = null;
    for (const message of [...this.#unsent]) {
      this.#unsent.delete(message);
      if (!message.isAwaited) this.#hooks.onDropped(message.topic);
    }
    for (const { reject } of this.#awaited.values()) reject(new TaskEngineError(code, why));
    this.#awaited.clear();
    this.#tellDrained();
  }

  /* ── Sending ── */

  #up(connection: StreamConnection, valueBytesMax: number): void {
    this.#connection = connection;
    this.#valueBytesMax = valueBytesMax;
    this.hasStood = true;
    connection.onRoom = () => this.#sendUnsent();
    this.#sendUnsent();
  }

  /** The first value of a millisecond leaves at once: the program may block next. */
  #flushSoon(connection: StreamConnection, nowMs: number): void {
    const isNew = this.#hooks.flushesEach || nowMs !== this.#flushedMs;
    if (isNew || ++this.#gathered >= gatheredValuesMax || !connection.hasRoom) {
      this.#flushedMs = nowMs;
      this.#gathered = 0;
      connection.flush();
    } else if (!this.#isFlushPlanned) {
      this.#isFlushPlanned = true;
      queueMicrotask(this.#flush);
    }
  }

  readonly #flush = (): void => {
    this.#isFlushPlanned = false;
    this.#gathered = 0;
    this.#connection?.flush();
  };

  #sendUnsent(): void {
    const connection = this.#connection;
    if (connection === null) return;
    for (const message of this.#unsent) {
      if (this.#refuseLong(message)) continue;
      // `onRoom` follows only where the peer has none.
      if (!connection.hasRoom) connection.flush();
      if (!connection.hasRoom || connection.gather(message.frames) !== "sent") break;
      this.#unsent.delete(message);
      if ("isSent" in message) message.isSent = true;
    }
    connection.flush();
    if (this.isDrained) this.#tellDrained();
  }

  /** Ends a message that waited with a longer value than the data worker takes. */
  #refuseLong(message: UnsentMessage | Awaited): boolean {
    const mistake = sizeMistake(message.frames[2] ?? "", this.#valueBytesMax);
    if (mistake === null) return false;
    this.#unsent.delete(message);
    if ("reject" in message) message.reject(mistake);
    else this.#hooks.onRefused(message.topic, mistake, 1);
    for (const [serial, request] of this.#awaited) if (request === message) this.#awaited.delete(serial);
    return true;
  }

  #tellDrained(): void {
    for (const resolve of this.#drainWaiters.splice(0)) resolve();
  }

  /* ── Answers ── */

  #takeValue(raw: Buffer, start: number, end: number): void {
    const places = placesIn(raw, start, end);
    if (places === null) return;
    const { nameAt, nameEnd, metaAt, metaEnd } = places;
    const topic = raw.toString("utf8", nameAt, nameEnd);
    this.#values.push(copyValue(topic, readSeq(raw, metaAt, metaEnd), raw, metaAt, metaEnd, end));
  }

  #takeReply({ type, serial, data }: StreamReply): void {
    const values = this.#values;
    this.#values = [];
    if (type === "MOVED") {
      this.#hooks.onChanged();
      if (serial === undefined) this.#hooks.onRefused(refusalIn(data).topic, new MovedError(), 1);
    }
    const awaited = serial === undefined ? undefined : this.#awaited.get(serial);
    if (serial !== undefined && this.#awaited.delete(serial) && this.#awaited.size === 0) this.#stopSweep();
    if (type === "ACK") awaited?.resolve({ data, values });
    else if (type === "MOVED") awaited?.reject(new MovedError());
    else if (type === "ERR") {
      const { error, topic, count } = refusalIn(data);
      if (awaited !== undefined) awaited.reject(error);
      else if (serial === undefined) this.#hooks.onRefused(topic, error, count);
    }
  }

  #lost(): void {
    this.#connection = null;
    this.#values = [];
    const message = `the connection to the data worker at ${this.endpoint} was lost before the answer came`;
    for (const [serial, { isSent, reject }] of this.#awaited) {
      if (!isSent) continue;
      this.#awaited.delete(serial);
      reject(new TaskEngineError("INTERRUPTED", message));
    }
    this.#hooks.onChanged();
  }

  #endLate(): void {
    const now = performance.now();
    let nextMs = Number.POSITIVE_INFINITY;
    for (const [serial, request] of this.#awaited) {
      const { deadlineMs, waitMs, isSent, reject } = request;
      nextMs = Math.min(nextMs, deadlineMs > now ? deadlineMs : Number.POSITIVE_INFINITY);
      if (deadlineMs > now) continue;
      this.#awaited.delete(serial);
      this.#unsent.delete(request);
      const why = isSent ? "it may have taken it nevertheless" : (this.#link.fault ?? "there is no connection to it");
      const message = `no answer from the data worker at ${this.endpoint} within ${waitMs} ms: ${why}`;
      reject(new TaskEngineError("NO_ANSWER", message));
    }
    this.#stopSweep();
    if (this.#awaited.size > 0) this.#sweep = setTimeout(() => this.#endLate(), Math.min(nextMs - now, timerMsMax));
  }

  #stopSweep(): void {
    clearTimeout(this.#sweep);
    this.#sweep = undefined;
  }
}
