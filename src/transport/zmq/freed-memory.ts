/**
 * Gives memory back to the system after a flood. The C library, from which libzmq has it, keeps what was freed for what may come,
 * gigabytes if need be.
 */
import { freedBytesMax } from "../../limits.ts";
import { libc } from "../libc.ts";

const mappedSizeOption = -3; // M_MMAP_THRESHOLD, mallopt(3)
/** bytes: larger blocks are given back as soon as they are freed. The C library begins with so many, but learns to keep larger ones. */
const mappedSize = 128 * 1024;

export class FreedMemory {
  /** bytes that the process had when there was last nothing to give back, or at the least since. */
  #leastBytes = Number.POSITIVE_INFINITY;
  #lastBytes = 0;

  constructor() {
    libc.mallopt(mappedSizeOption, mappedSize);
  }

  /** To be called now and then. A process that grows is busy: it is left alone. */
  look(): void {
    const bytes = process.memoryUsage.rss();
    this.#leastBytes = Math.min(this.#leastBytes, bytes);
    const isGrowing = bytes > this.#lastBytes;
    this.#lastBytes = bytes;
    if (isGrowing || bytes - this.#leastBytes < freedBytesMax) return;
    Bun.gc(true);
    libc.malloc_trim(0);
    // What is left now is in use.
    this.#leastBytes = process.memoryUsage.rss();
  }
}
