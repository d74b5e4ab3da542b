/** A place in a topic's log, from which its values are read one after the other. */
import { ageOf, type Chunk, framedEnd, framedStart, noBytes, type Topic } from "./topic.ts";

export class Cursor {
  /** Chunk of the next record; null for the newest record, whichever that will be. */
  chunk: Chunk | null = null;
  record = 0;
  /** Of that record. */
  seq = 0;

  constructor(readonly topic: Topic) {}

  /** Where the framed message that `find` has found begins and ends, in `bytes`. */
  start = 0;
  end = 0;

  /** Not kept: a place that nobody reads must not hold the memory of a chunk. */
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
