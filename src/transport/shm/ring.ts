/**
 * A byte stream from one process to another through shared memory: one writes, the other reads, and
 * neither makes a system call. Each keeps its own count in its own memory and publishes it in the
 * shared memory; the other's count is checked before it is used.
 *
 * A reader with nothing to read marks itself as sleeping, and checks once more; a writer publishes
 * its count, and checks that mark. Atomics have one total order, so at least one of both sees the
 * other's mark.
 */
import { localRingBytes } from "../../limits.ts";
import { encodedBytesMax, encodeInto } from "./framing.ts";
import type { Memory } from "./memory.ts";

/**
 * Places of a ring's marks in its part of the control block, as int32; each has its own cache line.
 */
const writtenMark = 0;
const readMark = 16;
const sleepsMark = 32;
const waitsMark = 48;
const marks = 64;

const inRing = localRingBytes - 1;

/** The ends of a connection. @param isMaker of the memory: it writes by the first ring */
export const ringsOf = ({ control, rings }: Memory, isMaker: boolean): { reader: RingReader; writer: RingWriter } => {
  const [out, incoming] = isMaker ? [0, 1] : [1, 0];
  const marksOf = (ring: number): Int32Array => control.subarray(ring * marks, (ring + 1) * marks);
  return {
    writer: new RingWriter(marksOf(out), rings[out as 0 | 1]),
    reader: new RingReader(marksOf(incoming), rings[incoming as 0 | 1]),
  };
};

/** Distance of one count before another: both wrap at 2³². */
const ahead = (first: number, second: number): number => (first - second) >>> 0;

export class RingWriter {
  #marks: Int32Array;
  #bytes: Buffer;
  /** bytes that were written ever, and so many of them as the reader may see. */
  #written = 0;
  #shown = 0;

  constructor(marks: Int32Array, bytes: Buffer) {
    this.#marks = marks;
    this.#bytes = bytes;
  }

  /** Writes a whole message, not yet visible to the reader. Returns false if there is no room. */
  add(frames: readonly (Uint8Array | string)[]): boolean {
    if (encodedBytesMax(frames) > this.#room) return false;
    const at = this.#written & inRing;
    this.#written = (this.#written + encodeInto(this.#bytes, at, frames) - at) | 0;
    return true;
  }

  /**
   * Writes framed bytes whole, not yet visible to the reader. Returns false if there is no room;
   * then the reader will tell when there is.
   */
  addFramed(bytes: Buffer, start: number, end: number): boolean {
    if (end - start > this.#room) {
      Atomics.store(this.#marks, waitsMark, 1);
      if (end - start > this.#room) return false;
    }
    bytes.copy(this.#bytes, this.#written & inRing, start, end);
    this.#written = (this.#written + end - start) | 0;
    return true;
  }

  /**
   * Writes as many bytes as there is room for, and returns their number. If that is not all, the
   * reader will tell when there is room.
   */
  write(bytes: Uint8Array): number {
    let size = Math.min(bytes.length, this.#room);
    if (size < bytes.length) {
      Atomics.store(this.#marks, waitsMark, 1);
      // Check again: a reader that read before the mark was set did not see it.
      size = Math.min(bytes.length, this.#room);
    }
    this.#bytes.set(size === bytes.length ? bytes : bytes.subarray(0, size), this.#written & inRing);
    this.#written = (this.#written + size) | 0;
    return size;
  }

  /**
   * Publishes the written bytes. Returns true, once per sleep, if the reader sleeps and must be
   * woken.
   */
  show(): boolean {
    if (this.#shown !== this.#written) {
      this.#shown = this.#written;
      Atomics.store(this.#marks, writtenMark, this.#written);
    }
    return take(this.#marks, sleepsMark);
  }

  close(): void {
    this.#marks = noMarks;
    this.#bytes = noBytes;
  }

  get #room(): number {
    // A reader that says that it has read more than was written gets nothing any more.
    return Math.max(0, this.#bytes.length / 2 - ahead(this.#written, Atomics.load(this.#marks, readMark)));
  }
}

export class RingReader {
  #marks: Int32Array;
  #bytes: Buffer;
  #read = 0;
  /** The mark that this end sleeps stands, or the peer has taken it and is about to wake it. */
  #isToBeWoken = false;

  constructor(marks: Int32Array, bytes: Buffer) {
    this.#marks = marks;
    this.#bytes = bytes;
  }

  get isEmpty(): boolean {
    return Atomics.load(this.#marks, writtenMark) === this.#read;
  }

  /** Copies unread bytes to `at`. Returns their number; -1 if the peer's count is impossible. */
  read(into: Buffer, at: number): number {
    const unread = ahead(Atomics.load(this.#marks, writtenMark), this.#read);
    if (unread > this.#bytes.length / 2) return -1;
    const start = this.#read & inRing;
    const size = this.#bytes.copy(into, at, start, start + Math.min(unread, into.length - at));
    if (size > 0) {
      this.#read = (this.#read + size) | 0;
      Atomics.store(this.#marks, readMark, this.#read);
    }
    return size;
  }

  /** Returns true, once per wait, if the writer waits for room and must be told of it. */
  get isAwaited(): boolean {
    return take(this.#marks, waitsMark);
  }

  /** Asks the peer for a wake-up. Returns false if there is something to read already. */
  sleep(): boolean {
    if (!this.#isToBeWoken) Atomics.store(this.#marks, sleepsMark, 1);
    this.#isToBeWoken = true;
    if (this.isEmpty) return true;
    if (take(this.#marks, sleepsMark)) this.#isToBeWoken = false;
    return false;
  }

  /** The peer has sent the wake-up. */
  wake(): void {
    this.#isToBeWoken = false;
  }

  close(): void {
    this.#marks = noMarks;
    this.#bytes = noBytes;
  }
}

/** Clears a mark, and returns true if it was set. Mostly it is not, and a load costs less. */
const take = (all: Int32Array, mark: number): boolean =>
  Atomics.load(all, mark) === 1 && Atomics.exchange(all, mark, 0) === 1;

/** In the place of memory that is unmapped: nothing can be reached by them. */
const noBytes = Buffer.alloc(0);
const noMarks = new Int32Array(marks);
