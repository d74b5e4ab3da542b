/**
 * One topic: its newest values as a log in memory, in the form in which they travel. The log is
 * history, the newest value and the buffer of every subscriber that is behind, which has a cursor
 * in it. So a slow subscriber costs no memory and no time of others.
 *
 * A record is the time of arrival (u32 ms, wraps), then the framed message `[topic, META, payload]`
 * with its length: see `transport/shm/framing.ts`. Records lie in chunks, and leave by chunks.
 */
import { randomInt } from "node:crypto";
import { topicChunkBytesMax } from "../limits.ts";
import { epochLength, prefixLength, seqPrefix, writeNextSeq } from "../protocol/values.ts";
import { sizeBytes } from "../transport/shm/framing.ts";

/** bytes of the time before each framed message. */
const timeBytes = 4;

/** A part of a log. */
export interface Chunk {
  readonly bytes: Buffer;
  /** Of its records. */
  end: number;
  readonly firstSeq: number;
  /** ms, wrapped: arrival of its last record. */
  lastAt: number;
  next: Chunk | null;
  /** It has left the log: what a cursor has not read of it is lost. */
  isDropped: boolean;
}

/** A subscriber of a topic, with its place in the log. */
export interface Follower {
  /** A new value, the record at `newest`. */
  offer(bytes: Buffer, start: number, end: number): void;
  /** The topic is gone. */
  drop(): void;
}

/** A place in a log: a record's framed message is `bytes` from `start` to `end`. */
export interface Place {
  readonly bytes: Buffer;
  readonly start: number;
  readonly end: number;
}

/** ms of the monotonic clock, as records have them. */
export const wrappedMs = (nowMs: number): number => Math.floor(nowMs) >>> 0;

export const ageOf = (at: number, now: number): number => (now - at) >>> 0;

/** Where a record's framed message begins and ends. */
export const framedStart = (record: number): number => record + timeBytes;
export const framedEnd = (bytes: Buffer, record: number): number =>
  record + timeBytes + sizeBytes + bytes.readUInt32LE(record + timeBytes);

const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789";
const newEpoch = (): string => Array.from({ length: epochLength }, () => alphabet[randomInt(alphabet.length)]).join("");

export class Topic {
  /** Place of the newest value among all of this epoch; 0 before the first. */
  seq = 0;
  readonly epoch = newEpoch();
  first: Chunk | null = null;
  last: Chunk | null = null;
  /** Where the newest record begins in `last`. */
  newest = 0;
  /** bytes of all chunks. */
  bytes = 0;
  /** Values that subscribers have lost, one counted for each. */
  dropped = 0;
  readonly followers: Follower[] = [];
  /** What all records begin with. */
  readonly #head: Buffer;
  readonly #metaSizeAt: number;

  constructor(readonly name: string) {
    const topic = Buffer.from(name);
    this.#metaSizeAt = timeBytes + 2 * sizeBytes + topic.length;
    this.#head = Buffer.alloc(this.#metaSizeAt + sizeBytes + prefixLength);
    this.#head.writeUInt32LE(topic.length, timeBytes + sizeBytes);
    topic.copy(this.#head, timeBytes + 2 * sizeBytes);
    this.#head.write(seqPrefix(this.epoch), this.#metaSizeAt + sizeBytes, "latin1");
  }

  /** bytes of a record with META and payload of these lengths. */
  recordBytes(metaBytes: number, payloadBytes: number): number {
    return this.#head.length + metaBytes - 1 + sizeBytes + payloadBytes;
  }

  /** True if the last chunk has room. */
  hasRoom(recordBytes: number): boolean {
    return this.last !== null && this.last.end + recordBytes <= this.last.bytes.length;
  }

  /** bytes of the chunk that a record needs which has no room in the last one. */
  nextChunkBytes(recordBytes: number): number {
    if (this.last === null) return recordBytes;
    return Math.max(recordBytes, Math.min(2 * this.last.bytes.length, topicChunkBytesMax));
  }

  addChunk(bytes: number): void {
    const chunk: Chunk = {
      bytes: Buffer.allocUnsafeSlow(bytes),
      end: 0,
      firstSeq: this.seq + 1,
      lastAt: 0,
      next: null,
      isDropped: false,
    };
    if (this.last === null) this.first = chunk;
    else this.last.next = chunk;
    this.last = chunk;
    this.bytes += bytes;
  }

  /**
   * Appends a value to the last chunk, which has room for it.
   * @param source a framed message with META at `metaStart` and, after it, the payload's length and
   * the payload, which ends at `end`
   * @param now wrapped ms
   */
  append(source: Buffer, metaStart: number, metaBytes: number, end: number, now: number): void {
    const chunk = this.last;
    if (chunk === null) return;
    const head = this.#head;
    this.seq++;
    writeNextSeq(head, this.#metaSizeAt + sizeBytes);
    const { bytes, end: start } = chunk;
    head.copy(bytes, start);
    const tail = start + head.length;
    source.copy(bytes, tail, metaStart + 1, end);
    const recordEnd = tail + end - metaStart - 1;
    bytes.writeUInt32LE(now, start);
    bytes.writeUInt32LE(recordEnd - start - timeBytes - sizeBytes, start + timeBytes);
    bytes.writeUInt32LE(prefixLength + metaBytes - 1, start + this.#metaSizeAt);
    chunk.end = recordEnd;
    chunk.lastAt = now;
    this.newest = start;
  }

  /** Gives up the oldest chunk, or all but the newest value of the only one. Returns bytes freed. */
  shrink(): number {
    const { first, last } = this;
    if (first === null || last === null) return 0;
    const before = this.bytes;
    if (first !== last) {
      this.first = first.next;
      this.bytes -= first.bytes.length;
    } else {
      const newest = last.bytes.subarray(this.newest, last.end);
      if (newest.length === last.bytes.length) return 0;
      const bytes = Buffer.allocUnsafeSlow(newest.length);
      newest.copy(bytes);
      const chunk = { ...last, bytes, end: bytes.length, firstSeq: this.seq };
      this.first = chunk;
      this.last = chunk;
      this.newest = 0;
      this.bytes = bytes.length;
    }
    first.isDropped = true;
    return before - this.bytes;
  }

  /** bytes that `shrink` could free at most. */
  get shrinkableBytes(): number {
    return this.last === null ? 0 : this.bytes - (this.last.end - this.newest);
  }

  /** The newest value; null for a topic without one. */
  get newestPlace(): Place | null {
    const { last, newest } = this;
    if (last === null) return null;
    return { bytes: last.bytes, start: framedStart(newest), end: framedEnd(last.bytes, newest) };
  }

  /** Values that arrived within `lastMs`, oldest first. */
  *since(lastMs: number, now: number): Generator<Place, void, undefined> {
    for (let chunk = this.first; chunk !== null; chunk = chunk.next) {
      if (ageOf(chunk.lastAt, now) > lastMs) continue;
      for (let record = 0; record < chunk.end; ) {
        const end = framedEnd(chunk.bytes, record);
        const isNewEnough = ageOf(chunk.bytes.readUInt32LE(record), now) <= lastMs;
        if (isNewEnough) yield { bytes: chunk.bytes, start: framedStart(record), end };
        record = end;
      }
    }
  }
}
