/**
 * Memory of the largest chunks, used again: the kernel clears each page of new memory, which takes
 * a quarter of the time of a small value.
 */
import { spareChunksMax, topicChunkBytesMax } from "../limits.ts";

const spares: Buffer[] = [];

export const takeMemory = (bytes: number): Buffer =>
  (bytes === topicChunkBytesMax ? spares.pop() : undefined) ?? Buffer.allocUnsafeSlow(bytes);

/** Gives up memory to which nothing refers any more. */
export const giveMemory = (bytes: Buffer): void => {
  if (bytes.length === topicChunkBytesMax && spares.length < spareChunksMax) spares.push(bytes);
};
