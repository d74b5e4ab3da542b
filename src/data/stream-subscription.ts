/**
 * A subscription at the stream port. It has a cursor in the log of each of its topics: while a
 * subscriber takes values as they come, each is sent at once; otherwise the cursor stays behind,
 * and what leaves the log before it is sent is lost, counted and said.
 *
 * `latest` and `maxHz` move a cursor to the newest value. What they leave out is not lost.
 */
import { creditBytesMax } from "../limits.ts";
import { isEngineTopic } from "../protocol/engine-topics.ts";
import type { SubscribeRequest } from "../protocol/stream.ts";
import { Cursor } from "./cursor.ts";
import { type Follower, type Topic, wrappedMs } from "./topic.ts";

/** Records that one topic sends before others that are behind have their turn. */
const turnRecordsMax = 32;

/** The connection of a subscriber. */
export interface StreamSink {
  /** Takes a whole framed message, or returns false. Then `pump` follows once there is room. */
  sendValue(bytes: Buffer, start: number, end: number): boolean;
  /** Returns false if there is no room for it. */
  sendDropped(serial: string, topics: Readonly<Record<string, number>>): boolean;
  sendRemoved(serial: string, topic: string): void;
  sendStale(serial: string, topic: string, ageMs: number): void;
  /** Shows what it has taken; to be called after values that a timer has sent. */
  flush(): void;
}

/** The cursor of a subscription in one topic. */
class Following extends Cursor implements Follower {
  isBehind = false;
  /** With `maxHz`: not before this time on the clock of performance.now(). */
  dueAt = 0;
  timer: Timer | undefined;

  constructor(
    topic: Topic,
    private readonly subscription: StreamSubscription,
  ) {
    super(topic);
  }

  offer(bytes: Buffer, start: number, end: number): void {
    if (!this.isBehind) this.subscription.offer(this, bytes, start, end);
  }

  gone(isRemoved: boolean): void {
    this.subscription.ended(this.topic, isRemoved);
  }

  stale(ageMs: number): void {
    this.subscription.stale(this.topic, ageMs);
  }
}

export class StreamSubscription {
  /** bytes of values that may still be sent. */
  #credit: number;
  readonly #cursors = new Map<Topic, Following>();
  #behind: Following[] = [];
  /** Values whose loss is not said yet, by topic. */
  readonly #lost = new Map<string, number>();
  readonly #isThinned: boolean;
  readonly #periodMs: number;

  constructor(
    readonly serial: string,
    readonly options: SubscribeRequest,
    private readonly sink: StreamSink,
  ) {
    this.#credit = options.credit;
    this.#isThinned = options.mode === "latest" || options.maxHz !== undefined;
    this.#periodMs = options.maxHz === undefined ? 0 : 1000 / options.maxHz;
  }

  /** All names and prefixes. */
  get names(): string[] {
    return [...this.options.topics, ...this.options.prefixes];
  }

  /**
   * Length of the name or the prefix by which it wants the topic, a name before any prefix; −1 if
   * not. The empty prefix means all topics but the engine's own.
   */
  rankOf(topic: string): number {
    if (this.options.topics.includes(topic)) return Number.POSITIVE_INFINITY;
    let rank = -1;
    for (const prefix of this.options.prefixes) {
      if (prefix.length <= rank || !topic.startsWith(prefix)) continue;
      if (prefix !== "" || !isEngineTopic(topic)) rank = prefix.length;
    }
    return rank;
  }

  has(topic: Topic): boolean {
    return this.#cursors.has(topic);
  }

  /**
   * Follows a topic from now on, or from earlier values on where the options ask for it.
   * @param isNew the subscription is new, so that it may ask for earlier values
   */
  add(topic: Topic, isNew: boolean): void {
    const cursor = new Following(topic, this);
    this.#cursors.set(topic, cursor);
    topic.followers.push(cursor);
    const { lastMs } = this.options;
    if (!isNew || lastMs === undefined || topic.isOfEvents || topic.newestPlace === null) return;
    this.#fallBehind(cursor);
    if (lastMs > 0 && !this.#isThinned) cursor.seekBack(lastMs, wrappedMs(performance.now()));
  }

  /** A new value of a topic whose cursor is not behind, the record at `topic.newest`. */
  offer(cursor: Following, bytes: Buffer, start: number, end: number): void {
    if (this.#credit > 0 && (this.#periodMs === 0 || this.#isDue(cursor)) && this.sink.sendValue(bytes, start, end)) {
      this.#credit -= end - start;
      if (this.#periodMs !== 0) this.#setDue(cursor);
    } else this.#fallBehind(cursor);
  }

  addCredit(bytes: number): void {
    this.#credit = Math.min(this.#credit + bytes, creditBytesMax);
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
        if (!isBlocked) isBlocked = !this.#advance(cursor);
        if (cursor.isBehind && cursor.timer === undefined) this.#behind.push(cursor);
      }
      if (isBlocked) return;
    }
  }

  /** Another subscription of the connection has the topic now, or this one ends. */
  drop(topic: Topic): void {
    const cursor = this.#cursors.get(topic);
    if (cursor === undefined) return;
    this.#cursors.delete(topic);
    clearTimeout(cursor.timer);
    cursor.isBehind = false;
    this.#behind = this.#behind.filter((other) => other !== cursor);
    topic.unfollow(cursor);
  }

  /**
   * Somebody has removed the topic, or it is another data worker's now: what has not been sent is
   * lost.
   */
  ended(topic: Topic, isRemoved: boolean): void {
    const cursor = this.#cursors.get(topic);
    if (cursor?.isBehind === true && cursor.chunk !== null) this.#lose(cursor);
    this.drop(topic);
    if (isRemoved) this.sink.sendRemoved(this.serial, topic.name);
  }

  stale({ name }: Topic, ageMs: number): void {
    this.sink.sendStale(this.serial, name, ageMs);
  }

  close(): void {
    for (const topic of [...this.#cursors.keys()]) this.drop(topic);
  }

  #fallBehind(cursor: Following): void {
    cursor.isBehind = true;
    if (this.#isThinned) cursor.chunk = null;
    else cursor.toNewest();
    if (cursor.timer === undefined) this.#behind.push(cursor);
  }

  /** False within the period of `maxHz`; then a timer sends the newest value at its end. */
  #isDue(cursor: Following): boolean {
    const now = performance.now();
    if (now >= cursor.dueAt) return true;
    cursor.timer ??= setTimeout(() => {
      cursor.timer = undefined;
      if (!cursor.isBehind) return;
      this.#behind.push(cursor);
      this.pump();
      this.sink.flush();
    }, cursor.dueAt - now);
    return false;
  }

  /** The times are on the grid of the period, so that a timer's lateness does not add up. */
  #setDue(cursor: Following): void {
    const now = performance.now();
    cursor.dueAt = now - cursor.dueAt < this.#periodMs ? cursor.dueAt + this.#periodMs : now + this.#periodMs;
  }

  /** Returns false if no more can be sent at present. */
  #advance(cursor: Following): boolean {
    for (let count = 0; count < turnRecordsMax; count++) {
      if (this.#credit <= 0) return false;
      this.#lose(cursor);
      if (this.#periodMs !== 0 && !this.#isDue(cursor)) return true;
      if (!cursor.find()) break;
      const { bytes, start, end } = cursor;
      if (!this.sink.sendValue(bytes, start, end)) return false;
      this.#credit -= end - start;
      if (this.#periodMs !== 0) this.#setDue(cursor);
      if (!cursor.next()) break;
      if (count === turnRecordsMax - 1) return true;
    }
    cursor.isBehind = false;
    cursor.chunk = null;
    return true;
  }

  /** Says at once what has been lost: the count comes before the values after the gap. */
  #lose(cursor: Following): void {
    const count = cursor.skipLost();
    if (count === 0) return;
    const { topic } = cursor;
    topic.dropped += count;
    this.#lost.set(topic.name, (this.#lost.get(topic.name) ?? 0) + count);
    this.#tellLost();
  }

  #tellLost(): void {
    if (this.sink.sendDropped(this.serial, Object.fromEntries(this.#lost))) this.#lost.clear();
  }
}
