/** A frame as it travels, before it is decoded. */
import { charBytesMax } from "../limits.ts";

/** The bytes of a frame; or its text, where they are known to be UTF-8. */
export type Frame = Uint8Array | string;

/** bytes that a frame has on its way. */
export const sizeOf = (frame: Frame): number => (typeof frame === "string" ? Buffer.byteLength(frame) : frame.length);

export const bytesOf = (frames: readonly Frame[]): number => {
  let bytes = 0;
  for (const frame of frames) bytes += sizeOf(frame);
  return bytes;
};

/**
 * Returns true if the frame has more bytes. Counts them only where the number of characters does
 * not tell.
 */
export const isLonger = (frame: Frame, bytesMax: number): boolean =>
  frame.length * charBytesMax > bytesMax && sizeOf(frame) > bytesMax;

/** As `isLonger`, of several frames together. */
export const areLonger = (frames: readonly Frame[], bytesMax: number): boolean => {
  let length = 0;
  for (const frame of frames) length += frame.length;
  return length * charBytesMax > bytesMax && bytesOf(frames) > bytesMax;
};

/** The text of a frame that is known to be UTF-8, or that a person reads. */
export const textOf = (frame: Frame): string => (typeof frame === "string" ? frame : Buffer.from(frame).toString());

/**
 * Without a copy. JavaScriptCore makes one of a small array when its `buffer` is read, which a
 * Buffer spares.
 */
export const asBuffer = (bytes: Uint8Array): Buffer =>
  bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
