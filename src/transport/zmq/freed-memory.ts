/**
 * Returns memory to the system after a flood. The C library keeps what libzmq freed for later use,
 * gigabytes of it.
 */
import { freedBytesMax } from "../../limits.ts";
import { libc } from "../libc.ts";

const mappedSizeOption = -3; // M_MMAP_THRESHOLD, mallopt(3)
/**
 * bytes of a block from which on free(3) returns it to the system at once. The C library starts
 * with this value too, but raises it by itself.
 */
const mappedSize = 128 * 1024;

export class FreedMemory {
  /** bytes of the process when nothing was left to return, or the least since. */
  #leastBytes = Number.POSITIVE_INFINITY;
  #lastBytes = 0;

  constructor() {
    libc.mallopt(mappedSizeOption, mappedSize);
  }

  /** Call it regularly. A growing process is busy, and is left alone. */
  look(): void {
    const bytes = process.memoryUsage.rss();
    this.#leastBytes = Math.min(this.#leastBytes, bytes);
    const isGrowing = bytes > this.#lastBytes;
    this.#lastBytes = bytes;
    if (isGrowing || bytes - this.#leastBytes < freedBytesMax) return;
    Bun.gc(true);
    libc.malloc_trim(0);
    // The rest is in use.
    this.#leastBytes = process.memoryUsage.rss();
  }
}
