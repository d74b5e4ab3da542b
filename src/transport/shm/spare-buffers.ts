/**
 * Buffers of long messages: one allocated for each message would keep the garbage collector busy.
 */
import { spareBufferBytesMax, spareBuffersMax } from "../../limits.ts";

/** A multiple of so many bytes serves messages of different lengths. */
const stepBytes = 64 * 1024;

const spares: Buffer[] = [];

/** Returns one of at least so many bytes, with whatever was in it before. */
export const takeBuffer = (bytesMin: number): Buffer => {
  const index = spares.findIndex(({ length }) => length >= bytesMin && length <= 2 * bytesMin);
  const [spare] = index < 0 ? [] : spares.splice(index, 1);
  return spare ?? Buffer.allocUnsafeSlow(Math.ceil(bytesMin / stepBytes) * stepBytes);
};

/** Gives one back to which nothing refers any more. */
export const giveBuffer = (bytes: Buffer): void => {
  if (bytes.length <= spareBufferBytesMax && spares.push(bytes) > spareBuffersMax) spares.shift();
};
