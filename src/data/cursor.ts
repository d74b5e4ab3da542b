import { ageOf, type Chunk, framedEnd, framedStart, noBytes, type Topic } from "./topic.ts";

/** A place in a topic's log, from which its values are read one after the other. */
export class Cursor {
  /** Chunk of the next record; null for the newest record, whichever that will be. */
  chunk: Chunk | null = null;
  record = 0;
  /** Sequence number of that record. */
  seq = 0;

  constructor(readonly topic: Topic) {}

  /** Where the framed message that `find` has found begins and ends, in `bytes`. */
  start = 0;
  end = 0;

  /** The cursor does not keep them: one that nobody reads must not hold the memory of a chunk. */
  get bytes(): Buffer {
    return (this.chunk ?? this.topic.last)?.bytes ?? noBytes;
  }

  /** Goes to the newest record. */
  toNewest(): void {
    const { last, newest, seq } = this.topic;
    this.chunk = last;
    this.record = newest;
    this.seq = seq;
  }

  /** Goes back to the first value that arrived within `lastMs`. */
  seekBack(lastMs: number, now: number): void {
    for (let chunk = this.topic.first; chunk !== null; chunk = chunk.next) {
      if (ageOf(chunk.lastAt, now) > lastMs) continue;
      let seq = chunk.firstSeq;
      for (let record = 0; record < chunk.end; record = framedEnd(chunk.bytes, record), seq++) {
        if (ageOf(chunk.bytes.readUInt32LE(record), now) > lastMs) continue;
        this.chunk = chunk;
        this.record = record;
        this.seq = seq;
        return;
      }
    }
  }

  /**
   * Goes to the first value that is still there, if the present one has left the log. Returns the
   * number of values that are lost so.
   */
  skipLost(): number {
    if (this.chunk?.isDropped !== true) return 0;
    const { first, seq } = this.topic;
    const next = first?.firstSeq ?? seq + 1;
    const count = next - this.seq;
    this.chunk = first;
    this.record = 0;
    this.seq = next;
    return Math.max(0, count);
  }

  /** Finds the record. Returns false if there is none. */
  find(): boolean {
    const { topic } = this;
    const chunk = this.chunk ?? topic.last;
    if (chunk === null) return false;
    const record = this.chunk === null ? topic.newest : this.record;
    this.start = framedStart(record);
    this.end = framedEnd(chunk.bytes, record);
    return true;
  }

  /** Goes to the record after the one that was found. Returns false if there is none yet. */
  next(): boolean {
    if (this.chunk === null) return false;
    this.seq++;
    this.record = this.end;
    if (this.end < this.chunk.end) return true;
    this.chunk = this.chunk.next;
    this.record = 0;
    if (this.chunk === null) return false;
    this.seq = this.chunk.firstSeq;
    return true;
  }
}

/**
 * One request for values that are in the log: `get` and `history`. It goes on as the peer reads.
 */
export class HistoryReading {
  /** Values that were sent. */
  count = 0;
  /** Values that left the log before they could be sent. */
  dropped = 0;
  readonly #cursor: Cursor;
  /** `seq` of the first and the last value to send. */
  #firstSeq: number;
  readonly #lastSeq: number;
  /** The newest value is wanted, also if it is another one by then. */
  readonly #isOfNewest: boolean;

  /**
   * @param topic one that has values
   * @param lastMs ms; null for the newest value, however old
   * @param limit number of values, the newest ones
   * @param now wrapped ms
   */
  constructor(topic: Topic, lastMs: number | null, limit: number, now: number) {
    const cursor = new Cursor(topic);
    cursor.toNewest();
    this.#cursor = cursor;
    this.#lastSeq = topic.seq;
    this.#isOfNewest = lastMs === null;
    if (lastMs !== null) cursor.seekBack(lastMs, now);
    const isNone = lastMs !== null && ageOf(topic.last?.lastAt ?? 0, now) > lastMs;
    this.#firstSeq = isNone ? topic.seq + 1 : Math.max(cursor.seq, topic.seq - limit + 1);
  }

  /**
   * Sends what there is room for. Returns false if some of it is left.
   * @param send takes a framed message, or returns false
   */
  pump(send: (bytes: Buffer, start: number, end: number) => boolean): boolean {
    const cursor = this.#cursor;
    while (this.#firstSeq <= this.#lastSeq) {
      if (cursor.skipLost() > 0 && this.#isOfNewest) cursor.seq = this.#lastSeq;
      const seq = Math.min(cursor.seq, this.#lastSeq + 1);
      if (seq > this.#firstSeq) {
        this.dropped += seq - this.#firstSeq;
        this.#firstSeq = seq;
        continue;
      }
      if (!cursor.find()) break;
      if (seq === this.#firstSeq) {
        if (!send(cursor.bytes, cursor.start, cursor.end)) return false;
        this.count++;
        this.#firstSeq++;
      }
      if (!cursor.next()) break;
    }
    return true;
  }
}
