/**
 * The thread that sleeps for the main thread. It is told an epoll descriptor and a callback, and calls the one for the other,
 * after it has noted the time.
 */
import { CFunction, dlopen, type Pointer } from "bun:ffi";

declare const self: Worker;

/** CLOCK_MONOTONIC */
const clock = 1;

self.onmessage = ({ data }: MessageEvent<{ epoll: number; wake: Pointer; wokenAt: Pointer }>) => {
  const { symbols: libc } = dlopen("libc.so.6", {
    epoll_wait: { args: ["int", "ptr", "int", "int"], returns: "int" },
    clock_gettime: { args: ["int", "ptr"], returns: "int" },
  });
  const wake = CFunction({ ptr: data.wake, args: [], returns: "void" });
  const event = new Uint8Array(16);
  for (;;) {
    // −1: an interrupted wait; then the main thread has not been armed for nothing, so wait on.
    if (libc.epoll_wait(data.epoll, event, 1, -1) <= 0) continue;
    libc.clock_gettime(clock, data.wokenAt);
    wake();
  }
};
