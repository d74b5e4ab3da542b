/**
 * The message part that all sockets receive into, and the buffer that text is encoded into. libzmq
 * is called on one thread, and no call nests.
 */
import type { Pointer } from "bun:ffi";
import { charBytesMax } from "../../limits.ts";
import { addressOf, libc, pinnedBytes } from "../libc.ts";
import { zmq } from "./library.ts";

export const messageAddress = addressOf(pinnedBytes(64));
zmq.zmq_msg_init(messageAddress);

const noBytes = Buffer.alloc(0);
/** bun:ffi has no address for an empty array. */
export const placeholder = new Uint8Array(1);

/**
 * Copies the part just received. Not into Buffer's pool, which a frame that waits long would keep.
 */
export const copyOfPart = (size: number): Buffer => {
  if (size === 0) return noBytes;
  const frame = Buffer.allocUnsafeSlow(size);
  libc.memcpy(frame, zmq.zmq_msg_data(messageAddress), size);
  return frame;
};

/** The longest routing id that a peer can choose. */
const routingIdBytesMax = 255;

/** Reuses the first frame of a message, the routing id, while one peer sends several in a row. */
export class FirstFrames {
  #last: Buffer = noBytes;

  /** Copies the part just received. */
  copyOfPart(size: number): Buffer {
    const last = this.#last;
    const isSame = size > 0 && size === last.length;
    if (isSame && libc.memcmp(last, zmq.zmq_msg_data(messageAddress), size) === 0) return last;
    const frame = copyOfPart(size);
    if (size <= routingIdBytesMax) this.#last = frame;
    return frame;
  }
}

// Text that is sent is mostly a META or a HEADER: what is longer than fits here is encoded apart.
const textBytes = Buffer.from(pinnedBytes(64 * 1024).buffer);
const textAddress = addressOf(textBytes);

/**
 * Returns the start and the size of a frame's bytes; those of text are valid until the next call.
 */
export const locate = (frame: Uint8Array | string): readonly [start: Uint8Array | Pointer, size: number] => {
  if (typeof frame === "string") {
    if (frame.length * charBytesMax <= textBytes.length) return [textAddress, textBytes.write(frame)];
    return locate(Buffer.from(frame));
  }
  return [frame.length === 0 ? placeholder : frame, frame.length];
};
