/** One clock for all processes of a test: those of JavaScript begin at each process's own start. */
import { libc, monotonicClock, pinnedBytes, timespecMs, timespecSize } from "../../src/zmq/library.ts";

const time = pinnedBytes(timespecSize);

/** ms since the machine's start, with fractions; the same in every process. */
export const monotonicMs = (): number => {
  libc.clock_gettime(monotonicClock, time);
  return timespecMs(time);
};
