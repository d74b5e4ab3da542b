/**
 * A subscription at the stream port. It has a cursor in the log of each of its topics: while a
 * subscriber takes values as they come, each is sent at once; otherwise the cursor stays behind,
 * and what leaves the log before it is sent is lost, counted and said.
 *
 * `latest` and `maxHz` move a cursor to the newest value. What they leave out is not lost.
 */
import type { SubscribeOptions } from "../protocol/stream.ts";
import { ageOf, type Chunk, type Follower, framedEnd, framedStart, type Topic, wrappedMs } from "./topic.ts";

/** Records that one topic sends before others that are behind have their turn. */
const turnRecordsMax = 32;

/** The connection of a subscriber. */
export interface StreamSink {
  /** Takes a whole framed message, or returns false. Then `pump` follows once there is room. */
  sendValue(bytes: Buffer, start: number, end: number): boolean;
  sendDropped(serial: string, topics: Readonly<Record<string, number>>): void;
}

/** A place in a topic's log, up to which a subscriber has got its values. */
class Cursor implements Follower {
  isBehind = false;
  /** While it is behind: the chunk of the next record; null for the newest record. */
  chunk: Chunk | null = null;
  record = 0;
  /** Of that record. */
  seq = 0;
  /** With `maxHz`: not before this time on the clock of performance.now(). */
  dueAt = 0;
  timer: Timer | undefined;

  constructor(
    readonly topic: Topic,
    private readonly subscription: StreamSubscription,
  ) {}

  offer(bytes: Buffer, start: number, end: number): void {
    if (!this.isBehind) this.subscription.offer(this, bytes, start, end);
  }

  drop(): void {
    this.subscription.drop(this.topic);
  }
}

export class StreamSubscription {
  /** bytes of values that may still be sent. */
  #credit: number;
  readonly #cursors = new Map<Topic, Cursor>();
  #behind: Cursor[] = [];
  /** Values lost since that was said last, by topic. */
  readonly #lost = new Map<string, number>();
  readonly #isThinned: boolean;
  readonly #periodMs: number;

  constructor(
    readonly serial: string,
    readonly options: SubscribeOptions,
    private readonly sink: StreamSink,
  ) {
    this.#credit = options.credit;
    this.#isThinned = options.mode === "latest" || options.maxHz !== undefined;
    this.#periodMs = options.maxHz === undefined ? 0 : 1000 / options.maxHz;
  }

  /** Length of the name or the prefix by which it wants the topic, a name before any prefix; −1 if not. */
  rankOf(topic: string): number {
    if (this.options.topics.includes(topic)) return Number.POSITIVE_INFINITY;
    let rank = -1;
    for (const prefix of this.options.prefixes) {
      if (prefix.length > rank && topic.startsWith(prefix)) rank = prefix.length;
    }
    return rank;
  }

  has(topic: Topic): boolean {
    return this.#cursors.has(topic);
  }

  /** Follows a topic from now on; from earlier values on where the options ask for it. */
  add(topic: Topic): void {
    const cursor = new Cursor(topic, this);
    this.#cursors.set(topic, cursor);
    topic.followers.push(cursor);
    const { lastMs } = this.options;
    if (lastMs === undefined || topic.last === null || topic.seq === 0) return;
    this.#fallBehind(cursor, topic.last, topic.newest, topic.seq);
    if (lastMs > 0 && !this.#isThinned) seekBack(cursor, lastMs, wrappedMs(performance.now()));
  }

  /** A new value of a topic whose cursor is not behind, the record at `topic.newest`. */
  offer(cursor: Cursor, bytes: Buffer, start: number, end: number): void {
    if (this.#credit > 0 && !this.#mustWait(cursor) && this.sink.sendValue(bytes, start, end)) {
      this.#credit -= end - start;
      return;
    }
    const { last, newest, seq } = cursor.topic;
    if (last !== null) this.#fallBehind(cursor, last, newest, seq);
  }

  addCredit(bytes: number): void {
    this.#credit += bytes;
    this.pump();
  }

  /** Sends to cursors that are behind, by turns, as long as there is credit and room. */
  pump(): void {
    if (this.#lost.size > 0) this.#tellLost();
    while (this.#behind.length > 0) {
      const cursors = this.#behind;
      this.#behind = [];
      let isBlocked = false;
      for (const cursor of cursors) {
        if (isBlocked) this.#behind.push(cursor);
        else {
          isBlocked = !this.#advance(cursor);
          if (cursor.isBehind && cursor.timer === undefined) this.#behind.push(cursor);
        }
      }
      if (this.#lost.size > 0) this.#tellLost();
      if (isBlocked) return;
    }
  }

  /** The topic is gone, or another subscription of the connection has it now. */
  drop(topic: Topic): void {
    const cursor = this.#cursors.get(topic);
    if (cursor === undefined) return;
    this.#cursors.delete(topic);
    clearTimeout(cursor.timer);
    cursor.isBehind = false;
    this.#behind = this.#behind.filter((other) => other !== cursor);
    const index = topic.followers.indexOf(cursor);
    if (index >= 0) topic.followers.splice(index, 1);
  }

  close(): void {
    for (const topic of [...this.#cursors.keys()]) this.drop(topic);
  }

  #fallBehind(cursor: Cursor, chunk: Chunk, record: number, seq: number): void {
    cursor.isBehind = true;
    cursor.chunk = this.#isThinned ? null : chunk;
    cursor.record = record;
    cursor.seq = seq;
    if (cursor.timer === undefined) this.#behind.push(cursor);
  }

  /** True within the period of `maxHz`; then a timer sends the newest value at its end. */
  #mustWait(cursor: Cursor): boolean {
    if (this.#periodMs === 0) return false;
    const now = performance.now();
    if (now < cursor.dueAt) {
      cursor.timer ??= setTimeout(() => {
        cursor.timer = undefined;
        if (!cursor.isBehind) return;
        this.#behind.push(cursor);
        this.pump();
      }, cursor.dueAt - now);
      return true;
    }
    // By the grid of the period, so that a timer's lateness does not add up.
    cursor.dueAt = now - cursor.dueAt < this.#periodMs ? cursor.dueAt + this.#periodMs : now + this.#periodMs;
    return false;
  }

  /** Returns false if no more can be sent at present. */
  #advance(cursor: Cursor): boolean {
    for (let count = 0; count < turnRecordsMax; count++) {
      if (this.#credit <= 0) return false;
      if (cursor.chunk?.isDropped === true) this.#skipLost(cursor);
      const chunk = cursor.chunk ?? cursor.topic.last;
      const record = cursor.chunk === null ? cursor.topic.newest : cursor.record;
      if (chunk === null) return true;
      if (cursor.chunk === null && this.#mustWait(cursor)) return true;
      const start = framedStart(record);
      const end = framedEnd(chunk.bytes, record);
      if (!this.sink.sendValue(chunk.bytes, start, end)) return false;
      this.#credit -= end - start;
      if (cursor.chunk === null || !next(cursor, end)) {
        cursor.isBehind = false;
        cursor.chunk = null;
        return true;
      }
    }
    return true;
  }

  /** The records up to the first one that is still there are lost. */
  #skipLost(cursor: Cursor): void {
    const { first, name } = cursor.topic;
    const seq = first?.firstSeq ?? cursor.topic.seq + 1;
    const count = seq - cursor.seq;
    cursor.chunk = first;
    cursor.record = 0;
    cursor.seq = seq;
    if (count <= 0) return;
    cursor.topic.dropped += count;
    this.#lost.set(name, (this.#lost.get(name) ?? 0) + count);
  }

  #tellLost(): void {
    this.sink.sendDropped(this.serial, Object.fromEntries(this.#lost));
    this.#lost.clear();
  }
}

/** Moves on to the record after the one that ends at `end`. Returns false if there is none yet. */
const next = (cursor: Cursor, end: number): boolean => {
  cursor.seq++;
  cursor.record = end;
  if (cursor.chunk === null || end < cursor.chunk.end) return true;
  cursor.chunk = cursor.chunk.next;
  cursor.record = 0;
  return cursor.chunk !== null;
};

/** Moves the cursor back to the first value that arrived within `lastMs`. */
const seekBack = (cursor: Cursor, lastMs: number, now: number): void => {
  for (let chunk = cursor.topic.first; chunk !== null; chunk = chunk.next) {
    if (ageOf(chunk.lastAt, now) > lastMs) continue;
    let seq = chunk.firstSeq;
    for (let record = 0; record < chunk.end; record = framedEnd(chunk.bytes, record), seq++) {
      if (ageOf(chunk.bytes.readUInt32LE(record), now) > lastMs) continue;
      cursor.chunk = chunk;
      cursor.record = record;
      cursor.seq = seq;
      return;
    }
  }
};
