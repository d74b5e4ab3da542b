/** One request for values that are in the log: `get` and `history`. It goes on as the peer reads. */
import { Cursor } from "./cursor.ts";
import { ageOf, type Topic } from "./topic.ts";

interface HistoryReadingOptions {
  /** One that has values. */
  readonly topic: Topic;
  /** ms; null for the newest value, however old. */
  readonly lastMs: number | null;
  /** Number of values, the newest ones. */
  readonly limit: number;
  /** wrapped ms */
  readonly now: number;
}

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

  constructor({ topic, lastMs, limit, now }: HistoryReadingOptions) {
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
