/**
 * Messages of frames in a stream of bytes, which has no ends of its own: the bytes of a message are told before it, and those of a
 * frame before that one, each as four bytes, the lowest first.
 */
import { localBytesMax } from "../limits.ts";
import { charBytesMax } from "../zmq/message.ts";

const sizeBytes = 4;
/** bytes: most messages fit, and what a reader keeps when it has nothing to read. */
const usualBytes = 64 * 1024;

const usual = Buffer.allocUnsafeSlow(usualBytes);

/** The bytes of a message. They are good until the next call. */
export const encodeMessage = (frames: readonly (Uint8Array | string)[]): Uint8Array => {
  let bytesMax = sizeBytes;
  for (const frame of frames) bytesMax += sizeBytes + frame.length * (typeof frame === "string" ? charBytesMax : 1);
  const bytes = bytesMax <= usualBytes ? usual : Buffer.allocUnsafeSlow(bytesMax);
  let at = sizeBytes;
  for (const frame of frames) {
    const start = at + sizeBytes;
    let size = frame.length;
    if (typeof frame === "string") size = bytes.write(frame, start);
    else bytes.set(frame, start);
    bytes.writeUInt32LE(size, at);
    at = start + size;
  }
  bytes.writeUInt32LE(at - sizeBytes, 0);
  return bytes.subarray(0, at);
};

/** Takes bytes as they come, and gives the messages that are whole. */
export class MessageReader {
  /** What has come is no message: what follows cannot be told apart any more. */
  isBroken = false;
  #bytes = Buffer.allocUnsafeSlow(usualBytes);
  #start = 0;
  #end = 0;

  /** bytes that have come and not been given. */
  get unread(): number {
    return this.#end - this.#start;
  }

  get hasMessage(): boolean {
    return this.unread >= sizeBytes && this.unread >= sizeBytes + this.#size;
  }

  /** Where bytes can be written that are then taken by `took`: at least one. */
  room(): Uint8Array {
    this.#makeRoom();
    return this.#bytes.subarray(this.#end);
  }

  took(size: number): void {
    if (this.isBroken) return;
    this.#end += size;
    this.#check();
  }

  /** The next message, its frames in bytes of their own; null where none is whole. */
  next(): Buffer[] | null {
    if (!this.hasMessage) return null;
    const end = this.#start + sizeBytes + this.#size;
    const frames: Buffer[] = [];
    for (let at = this.#start + sizeBytes; at < end; ) {
      const start = at + sizeBytes;
      at = start + (start <= end ? this.#bytes.readUInt32LE(at) : 0);
      if (at > end) return this.#break();
      const frame = Buffer.allocUnsafeSlow(at - start);
      this.#bytes.copy(frame, 0, start, at);
      frames.push(frame);
    }
    this.#start = end;
    if (this.#start === this.#end) this.#reset();
    else this.#check();
    return frames;
  }

  /** Of the message that is begun. */
  get #size(): number {
    return this.#bytes.readUInt32LE(this.#start);
  }

  #check(): void {
    if (this.unread >= sizeBytes && this.#size > localBytesMax) this.#break();
  }

  #break(): null {
    this.isBroken = true;
    this.#reset();
    return null;
  }

  #reset(): void {
    this.#start = 0;
    this.#end = 0;
    if (this.#bytes.length > usualBytes) this.#bytes = Buffer.allocUnsafeSlow(usualBytes);
  }

  /** For the rest of the message that is begun; of a long one it comes to that step by step, as its bytes come. */
  #makeRoom(): void {
    const { unread } = this;
    const begun = unread < sizeBytes ? 0 : sizeBytes + this.#size;
    const wanted = Math.max(unread + 1, Math.min(begun, 2 * this.#bytes.length));
    if (this.#start + wanted <= this.#bytes.length) return;
    const bytes = wanted <= this.#bytes.length ? this.#bytes : Buffer.allocUnsafeSlow(wanted);
    this.#bytes.copy(bytes, 0, this.#start, this.#end);
    this.#bytes = bytes;
    this.#start = 0;
    this.#end = unread;
  }
}
