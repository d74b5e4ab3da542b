/** Reads the options of a socket that are integers. */
import type { Pointer } from "bun:ffi";
import { addressOf, pinnedBytes } from "../libc.ts";
import { errno, lastError, zmq } from "./library.ts";

// One for all sockets: libzmq's calls are made on one thread, and none of them nests.
const value = new Int32Array(pinnedBytes(4).buffer);
const valueAddress = addressOf(value);
const size = new BigUint64Array(pinnedBytes(8).buffer);
const sizeAddress = addressOf(size);

export const readIntOption = (socket: Pointer, option: number): number => {
  for (;;) {
    size[0] = 4n;
    if (zmq.zmq_getsockopt(socket, option, valueAddress, sizeAddress) === 0) return value[0] ?? 0;
    if (zmq.zmq_errno() !== errno.EINTR) throw lastError(`cannot read option ${option}`);
  }
};
