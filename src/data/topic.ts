/**
 * One topic: its newest values as a log in memory, in the form in which they travel. The log is
 * history, the newest value and the buffer of every subscriber that is behind, which has a cursor
 * in it. So a slow subscriber costs no memory and no time of others.
 *
 * A record is the time of arrival (u32 ms, wraps), then the framed message `[topic, META, payload]`
 * with its length: see `transport/shm/framing.ts`. Records lie in chunks, and leave by chunks.
 */
import { localLongBytes, spareChunksMax, topicChunkBytesMax } from "../limits.ts";
import { engineTopicPrefix, stopTopic } from "../protocol/engine-topics.ts";
import { epochLength, prefixLength, seqPrefix, writeNextSeq } from "../protocol/values.ts";
import { sizeBytes } from "../transport/shm/framing.ts";
import type { Place } from "./framed.ts";

/** bytes of the time before each framed message. */
const timeBytes = 4;

/** A part of a log. */
export interface Chunk {
  bytes: Buffer;
  /** The end of its last record in `bytes`. */
  end: number;
  readonly firstSeq: number;
  /** ms, wrapped: arrival of its last record. */
  lastAt: number;
  next: Chunk | null;
  /** It has left the log: what a cursor has not read of it is lost. */
  isDropped: boolean;
  /** A connection may still send a record of it that is too long to be copied. */
  isShared: boolean;
}

export const noBytes = Buffer.alloc(0);

/**
 * Memory of the largest chunks, used again: the kernel clears each page of new memory, which takes
 * a quarter of the time of a small value.
 */
const spares: Buffer[] = [];

const takeMemory = (bytes: number): Buffer =>
  (bytes === topicChunkBytesMax ? spares.pop() : undefined) ?? Buffer.allocUnsafeSlow(bytes);

/** A cursor that still has a place in it holds no memory by that. */
const dropChunk = (chunk: Chunk): void => {
  const { bytes, isShared } = chunk;
  if (!isShared && bytes.length === topicChunkBytesMax && spares.length < spareChunksMax) spares.push(bytes);
  chunk.isDropped = true;
  chunk.bytes = noBytes;
  chunk.next = null;
};

/** A subscriber of a topic, with its place in the log. */
export interface Follower {
  /** A new value, the record at `newest`. */
  offer(bytes: Buffer, start: number, end: number): void;
  /** The topic is gone: removed, or another data worker's now. */
  gone(isRemoved: boolean): void;
  /** No value has come for the topic's `staleMs`. */
  stale?(ageMs: number): void;
}

/** ms of the monotonic clock, as records have them. */
export const wrappedMs = (nowMs: number): number => Math.floor(nowMs) >>> 0;

export const ageOf = (at: number, now: number): number => (now - at) >>> 0;

/** Where a record's framed message begins and ends. */
export const framedStart = (record: number): number => record + timeBytes;
export const framedEnd = (bytes: Buffer, record: number): number =>
  record + timeBytes + sizeBytes + bytes.readUInt32LE(record + timeBytes);

const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789";
/**
 * As random as 32 bits a letter are; `node:crypto`, which has more, costs a third of a megabyte.
 */
const newEpoch = (): string =>
  Array.from(crypto.getRandomValues(new Uint32Array(epochLength)), (word) => alphabet[word % alphabet.length]).join("");

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
  /** The last publisher's name, for people; null for none. */
  publisher: string | null = null;
  /**
   * It has events and no state, so that a new subscriber gets none of the earlier ones. Only
   * `$engine/stop` of the engine's own topics has a state.
   */
  readonly isOfEvents: boolean;
  /** `skip` was called, so that the next value must begin a chunk. */
  #hasSkipped = false;
  /** The bytes that all records begin with. */
  readonly #head: Buffer;
  readonly #metaSizeAt: number;

  constructor(readonly name: string) {
    this.isOfEvents = name.startsWith(engineTopicPrefix) && name !== stopTopic;
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
    return this.last !== null && this.last.end + recordBytes <= this.last.bytes.length && !this.#hasSkipped;
  }

  /**
   * bytes of the chunk that a record needs which has no room in the last one. Chunks grow while one
   * holds the values of less than `spanMs`, since old values leave by whole chunks.
   */
  nextChunkBytes(recordBytes: number, spanMs: number): number {
    if (this.last === null) return recordBytes;
    const { bytes, lastAt } = this.last;
    const isSlow = ageOf(bytes.readUInt32LE(0), lastAt) >= spanMs;
    return Math.max(recordBytes, Math.min(isSlow ? bytes.length : 2 * bytes.length, topicChunkBytesMax));
  }

  addChunk(bytes: number): void {
    const chunk: Chunk = {
      bytes: takeMemory(bytes),
      end: 0,
      firstSeq: this.seq + 1,
      lastAt: 0,
      next: null,
      isDropped: false,
      isShared: false,
    };
    if (this.last === null) this.first = chunk;
    else this.last.next = chunk;
    this.last = chunk;
    this.bytes += bytes;
    this.#hasSkipped = false;
  }

  /** So many values were lost before they came here: a gap in `seq`. */
  skip(count: number): void {
    if (count <= 0) return;
    this.seq += count;
    for (let left = count; left > 0; left--) writeNextSeq(this.#head, this.#metaSizeAt + sizeBytes);
    this.#hasSkipped = this.last !== null;
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
    if (recordEnd - start > localLongBytes) chunk.isShared = true;
    this.newest = start;
  }

  unfollow(follower: Follower): void {
    const index = this.followers.indexOf(follower);
    if (index >= 0) this.followers.splice(index, 1);
  }

  /**
   * Gives up the oldest chunk, or all but the newest value of the only one. Returns bytes freed.
   */
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
    dropChunk(first);
    return before - this.bytes;
  }

  /**
   * Gives up all values, the newest included, for one that takes its place. Returns bytes freed.
   */
  clear(): number {
    const freed = this.bytes;
    for (let chunk = this.first; chunk !== null; ) {
      const { next } = chunk;
      dropChunk(chunk);
      chunk = next;
    }
    this.first = null;
    this.last = null;
    this.bytes = 0;
    return freed;
  }

  /** bytes that `shrink` could free at most. */
  get shrinkableBytes(): number {
    return this.last === null ? 0 : this.bytes - (this.last.end - this.newest);
  }

  /** The newest value; null for a topic without one. */
  get newestPlace(): Place | null {
    const { last, newest } = this;
    if (last === null || last.end === 0) return null;
    return { bytes: last.bytes, start: framedStart(newest), end: last.end };
  }

  /**
   * Values a second that came within `windowMs`, as far as their chunks tell; 0 where fewer than
   * two came.
   */
  rate(windowMs: number, now: number): number {
    for (let chunk = this.first; chunk !== null; chunk = chunk.next) {
      if (chunk.end === 0 || ageOf(chunk.lastAt, now) > windowMs) continue;
      const spanMs = ageOf(chunk.bytes.readUInt32LE(0), now);
      return spanMs === 0 ? 0 : ((this.seq - chunk.firstSeq) * 1000) / spanMs;
    }
    return 0;
  }
}
