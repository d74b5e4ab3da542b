/**
 * Frames messages in a byte stream: the length of a message precedes it, and the length of each
 * frame precedes that frame. A length has four bytes, little-endian.
 */
import { charBytesMax } from "../../limits.ts";
import { giveBuffer, takeBuffer } from "./spare-buffers.ts";

export const sizeBytes = 4;
/** bytes that an idle reader or writer keeps; most messages fit. */
const usualBytes = 64 * 1024;

/** A part of a stream: what has been written to it from `start` to `end`. */
interface Piece {
  readonly bytes: Buffer;
  start: number;
  end: number;
}

/** Keeps messages as bytes, in few pieces, until they are taken. */
export class MessageWriter {
  /** bytes that wait. */
  size = 0;
  /** None before there is something to keep: most connections never have that. */
  readonly #pieces: Piece[] = [];

  add(frames: readonly (Uint8Array | string)[]): void {
    const piece = this.#pieceFor(encodedBytesMax(frames));
    const begun = piece.end;
    piece.end = encodeInto(piece.bytes, begun, frames);
    this.size += piece.end - begun;
  }

  /** Keeps bytes of framed messages without a copy: they must not change any more. */
  addShared(bytes: Buffer): void {
    if (this.size === 0) this.#pieces.length = 0;
    this.#pieces.push({ bytes, start: 0, end: bytes.length });
    this.size += bytes.length;
  }

  /** Some of the bytes that wait, the first ones; they are good until the next call. */
  first(): Uint8Array {
    const [piece] = this.#pieces;
    return piece === undefined ? noBytes : piece.bytes.subarray(piece.start, piece.end);
  }

  /** So many of the first ones wait no more. */
  took(size: number): void {
    const [piece] = this.#pieces;
    if (piece === undefined) return;
    this.size -= size;
    piece.start += size;
    if (piece.start < piece.end) return;
    if (this.#pieces.length > 1) this.#pieces.shift();
    else if (piece.bytes.length !== usualBytes) this.clear();
    else {
      piece.start = 0;
      piece.end = 0;
    }
  }

  clear(): void {
    this.size = 0;
    this.#pieces.length = 0;
  }

  /** The last one if the message fits there, or else another. */
  #pieceFor(bytesMax: number): Piece {
    const last = this.#pieces.at(-1);
    if (last !== undefined && last.end + bytesMax <= last.bytes.length) return last;
    const piece = { bytes: Buffer.allocUnsafeSlow(Math.max(usualBytes, bytesMax)), start: 0, end: 0 };
    // One that holds nothing is in the way.
    if (this.size === 0) this.#pieces.length = 0;
    this.#pieces.push(piece);
    return piece;
  }
}

/** Writes a message to where there is room for `encodedBytesMax` of it. Gives where it ends. */
export const encodeInto = (bytes: Buffer, begun: number, frames: readonly (Uint8Array | string)[]): number => {
  let at = begun + sizeBytes;
  for (const frame of frames) {
    const start = at + sizeBytes;
    let size = frame.length;
    if (typeof frame === "string") size = bytes.write(frame, start);
    else bytes.set(frame, start);
    bytes.writeUInt32LE(size, at);
    at = start + size;
  }
  bytes.writeUInt32LE(at - begun - sizeBytes, begun);
  return at;
};

/** bytes: no message of these frames takes more. */
export const encodedBytesMax = (frames: readonly (Uint8Array | string)[]): number => {
  let bytes = sizeBytes;
  for (const frame of frames) bytes += sizeBytes + bytesMaxOf(frame);
  return bytes;
};

/** An upper bound for a short text: counting its bytes would cost more than the room. */
const bytesMaxOf = (frame: Uint8Array | string): number => {
  if (typeof frame !== "string") return frame.length;
  return frame.length * charBytesMax <= usualBytes / 8 ? frame.length * charBytesMax : Buffer.byteLength(frame);
};

const noBytes = Buffer.alloc(0);

/** bytes of a frame that is kept as text although it is not ASCII. */
const wideBytesMax = 1024;

/** Stands in a text for what was no UTF-8; or it was sent. */
const replacement = "\ufffd";

/** Bytes that several connections share: what one has taken, another cannot have. */
export class Budget {
  #left: number;

  constructor(bytes: number) {
    this.#left = bytes;
  }

  /** False where there are not so many left; then none is taken. Fewer than 0 are given back. */
  take(bytes: number): boolean {
    if (bytes > this.#left) return false;
    this.#left -= bytes;
    return true;
  }
}

/** A message as it travels, without its length; good until the next one is taken. */
export interface Framed {
  readonly raw: Buffer;
  readonly rawStart: number;
  readonly rawEnd: number;
}

/** Takes bytes as they come, and gives the messages that are whole. */
export class MessageReader implements Framed {
  readonly #messageBytesMax: number;
  /** The input is no message, so the rest of the stream cannot be parsed. */
  isBroken = false;
  /** It is broken for want of memory alone. */
  isOverBudget = false;
  raw: Buffer = noBytes;
  rawStart = 0;
  rawEnd = 0;
  #hasTakenRaw = false;
  readonly #usual = Buffer.allocUnsafeSlow(usualBytes);
  /** The usual one, or a larger one until the long message in it is taken. */
  #bytes: Buffer = this.#usual;
  #start = 0;
  #end = 0;
  readonly #budget: Budget;

  /**
   * @param messageBytesMax a longer message breaks the stream
   * @param budget bounds the bytes kept of unfinished long messages; exceeding it breaks the stream
   */
  constructor(messageBytesMax: number, budget = new Budget(Number.POSITIVE_INFINITY)) {
    this.#messageBytesMax = messageBytesMax;
    this.#budget = budget;
  }

  /** bytes that a message takes of the budget. */
  get kept(): number {
    return this.#bytes === this.#usual ? 0 : this.#bytes.length;
  }

  /** Nothing comes any more. */
  close(): void {
    this.#break();
  }

  /** bytes that have come and not been given. */
  get unread(): number {
    return this.#end - this.#start;
  }

  get hasMessage(): boolean {
    return this.unread >= sizeBytes && this.unread >= sizeBytes + this.#size;
  }

  /**
   * Reads more of the stream, and returns the number of bytes, or -1 if the stream is broken.
   * @param read copies bytes into the buffer from `at` on, at least one if there is any; returns
   * their number or -1
   */
  fill(read: (into: Buffer, at: number) => number): number {
    if (!this.#makeRoom()) return 0;
    const size = read(this.#bytes, this.#end);
    if (size < 0) this.#break();
    else if (!this.isBroken) {
      this.#end += size;
      this.#check();
    }
    return size;
  }

  /**
   * Returns the next whole message or null. A frame is text, or bytes of its own if it may not be
   * UTF-8. Of a message with more than `framesMax` frames only so many are kept.
   */
  next(framesMax = Number.POSITIVE_INFINITY): (string | Buffer)[] | null {
    if (!this.hasMessage) return null;
    const end = this.#start + sizeBytes + this.#size;
    const frames: (string | Buffer)[] = [];
    for (let at = this.#start + sizeBytes; at < end; ) {
      const start = at + sizeBytes;
      at = start + (start <= end ? this.#bytes.readUInt32LE(at) : 0);
      if (at > end) return this.#break();
      if (frames.length === framesMax) continue;
      frames.push(this.#frame(start, at));
    }
    this.#start = end;
    this.#afterMessage();
    return frames;
  }

  /**
   * Takes the next whole message as it is, without its length: the frames, each after its own
   * length, are `raw` from `rawStart` to `rawEnd`, good until the next call. Returns false if there
   * is none.
   */
  takeRaw(): boolean {
    if (this.#hasTakenRaw) this.#afterMessage();
    this.#hasTakenRaw = this.hasMessage;
    if (!this.#hasTakenRaw) return false;
    this.raw = this.#bytes;
    this.rawStart = this.#start + sizeBytes;
    this.rawEnd = this.rawStart + this.#size;
    this.#start = this.rawEnd;
    return true;
  }

  #afterMessage(): void {
    this.#hasTakenRaw = false;
    if (this.#start < this.#end) return this.#check();
    if (this.kept > 0) giveBuffer(this.#bytes);
    this.#reset();
  }

  /**
   * Text, unlike a Buffer, needs no memory beside the string and no finalizer: frames are small and
   * many.
   */
  #frame(start: number, end: number): string | Buffer {
    const text = this.#bytes.toString("utf8", start, end);
    // One character beyond Latin-1 doubles the memory of a string, but its limits count bytes of
    // UTF-8.
    const mayBeWide = text.length < end - start && end - start > wideBytesMax;
    if (!mayBeWide && !text.includes(replacement)) return text;
    const bytes = Buffer.allocUnsafeSlow(end - start);
    this.#bytes.copy(bytes, 0, start, end);
    return bytes;
  }

  /** bytes of the message that is begun. */
  get #size(): number {
    return this.#bytes.readUInt32LE(this.#start);
  }

  #check(): void {
    if (this.unread >= sizeBytes && this.#size > this.#messageBytesMax) this.#break();
  }

  #break(): null {
    this.isBroken = true;
    this.#reset();
    return null;
  }

  #reset(): void {
    this.#start = 0;
    this.#end = 0;
    this.#budget.take(-this.kept);
    this.#bytes = this.#usual;
  }

  /**
   * Makes room for the rest of the message; for a long one step by step, as its bytes arrive.
   * Returns false if there is none.
   */
  #makeRoom(): boolean {
    const { unread } = this;
    const begun = unread < sizeBytes ? 0 : sizeBytes + this.#size;
    const wanted = Math.max(unread + 1, Math.min(begun, 2 * this.#bytes.length));
    if (this.#start + wanted <= this.#bytes.length) return true;
    const bytes = wanted <= this.#bytes.length ? this.#bytes : takeBuffer(wanted);
    if (bytes !== this.#bytes && !this.#budget.take(bytes.length - this.kept)) {
      this.isOverBudget = true;
      this.#break();
      return false;
    }
    this.#bytes.copy(bytes, 0, this.#start, this.#end);
    this.#bytes = bytes;
    this.#start = 0;
    this.#end = unread;
    return true;
  }
}
