/** One clock for all processes of a test: those of JavaScript begin at each process's own start. */
import { ptr } from "bun:ffi";
import { libc } from "../../src/transport/libc.ts";

const monotonicClock = 1; // CLOCK_MONOTONIC, clock_gettime(2)
const time = new BigInt64Array(new ArrayBuffer(16)); // struct timespec: seconds and nanoseconds

/** ms since the machine's start, with fractions; the same in every process. */
export const monotonicMs = (): number => {
  libc.clock_gettime(monotonicClock, ptr(time));
  return Number(time[0]) * 1e3 + Number(time[1]) / 1e6;
};
