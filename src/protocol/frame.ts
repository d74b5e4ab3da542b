/** What a message is made of, before anybody has looked into it. */
import { charBytesMax } from "../limits.ts";

/** The bytes of a frame as they came; or its text, where whoever has read them has found that they are UTF-8. */
export type Frame = Uint8Array | string;

/** bytes that a frame has on its way. */
export const sizeOf = (frame: Frame): number => (typeof frame === "string" ? Buffer.byteLength(frame) : frame.length);

/** Of one that is known to be UTF-8, or for a person to read. */
export const textOf = (frame: Frame): string => (typeof frame === "string" ? frame : Buffer.from(frame).toString());

/** Whether they have more bytes together; without counting those of texts that are short enough whatever is in them. */
export const areLonger = (frames: readonly Frame[], bytesMax: number): boolean => {
  let length = 0;
  for (const frame of frames) length += frame.length;
  return length * charBytesMax > bytesMax && bytesOf(frames) > bytesMax;
};

/** The same of one. */
export const isLonger = (frame: Frame, bytesMax: number): boolean =>
  frame.length * charBytesMax > bytesMax && sizeOf(frame) > bytesMax;

export const bytesOf = (frames: readonly Frame[]): number => {
  let bytes = 0;
  for (const frame of frames) bytes += sizeOf(frame);
  return bytes;
};
