/** The one libzmq context of this process: its I/O thread, and the end of all its sockets. */
import type { Pointer } from "bun:ffi";
import { lastError, zmq } from "./library.ts";

const maxSocketsOption = 2; // ZMQ_MAX_SOCKETS, zmq_ctx_set(3)

let context: Pointer | null = null;

/** Sockets of the context that are open. */
export const openSockets = new Set<Disposable>();

export const sharedContext = (): Pointer => {
  if (context !== null) return context;
  context = zmq.zmq_ctx_new() as Pointer | null;
  if (context === null) throw lastError("zmq_ctx_new");
  // Few roles open more than three; `bench` and the tests open some hundred.
  zmq.zmq_ctx_set(context, maxSocketsOption, 4096);
  return context;
};

/**
 * Closes all open sockets, then waits until their messages are out or their `linger` is over. It
 * blocks the thread, so it is for the last step before a process ends.
 */
export const terminateContext = (): void => {
  if (context === null) return;
  // One open socket would block zmq_ctx_term(3) for ever, until the supervisor kills the process.
  for (const socket of openSockets) socket[Symbol.dispose]();
  zmq.zmq_ctx_term(context);
  context = null;
};
