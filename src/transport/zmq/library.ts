/**
 * libzmq through bun:ffi. It is loaded with this module, which who has no need of it does not import.
 * Source: https://libzmq.readthedocs.io, zmq.h of libzmq 4.3.5.
 */
import { dlopen } from "bun:ffi";
import { addonPath } from "./addon.ts";
import { notLoaded } from "./needs.ts";

const functions = {
  zmq_ctx_new: { args: [], returns: "ptr" },
  zmq_ctx_set: { args: ["ptr", "int", "int"], returns: "int" },
  zmq_ctx_term: { args: ["ptr"], returns: "int" },
  zmq_socket: { args: ["ptr", "int"], returns: "ptr" },
  zmq_close: { args: ["ptr"], returns: "int" },
  zmq_bind: { args: ["ptr", "ptr"], returns: "int" },
  zmq_connect: { args: ["ptr", "ptr"], returns: "int" },
  zmq_unbind: { args: ["ptr", "ptr"], returns: "int" },
  zmq_setsockopt: { args: ["ptr", "int", "ptr", "usize"], returns: "int" },
  zmq_getsockopt: { args: ["ptr", "int", "ptr", "ptr"], returns: "int" },
  zmq_send: { args: ["ptr", "ptr", "usize", "int"], returns: "int" },
  zmq_msg_init: { args: ["ptr"], returns: "int" },
  zmq_msg_close: { args: ["ptr"], returns: "int" },
  zmq_msg_recv: { args: ["ptr", "ptr", "int"], returns: "int" },
  zmq_msg_data: { args: ["ptr"], returns: "ptr" },
  zmq_msg_more: { args: ["ptr"], returns: "int" },
  zmq_msg_get: { args: ["ptr", "int"], returns: "int" },
  zmq_msg_gets: { args: ["ptr", "ptr"], returns: "ptr" },
  zmq_curve_keypair: { args: ["ptr", "ptr"], returns: "int" },
  zmq_curve_public: { args: ["ptr", "ptr"], returns: "int" },
  zmq_z85_encode: { args: ["ptr", "ptr", "usize"], returns: "ptr" },
  zmq_errno: { args: [], returns: "int" },
  zmq_strerror: { args: ["int"], returns: "cstring" },
} as const;

const loaded = () => {
  try {
    return dlopen(addonPath, functions);
  } catch (failure) {
    throw notLoaded(failure);
  }
};

export const { symbols: zmq } = loaded();

/** errno values of Linux that this program tells apart; the same on x64 and arm64. */
export const errno = {
  EINTR: 4,
  EAGAIN: 11,
  EADDRINUSE: 98,
  EHOSTUNREACH: 113,
  EADDRNOTAVAIL: 99,
  EACCES: 13,
  ENODEV: 19,
} as const;

/** A call of libzmq that failed. `code` is the errno, `message` names the call and its subject. */
export class ZmqError extends Error {
  override readonly name = "ZmqError";
  constructor(
    what: string,
    readonly code: number,
  ) {
    super(`${what}: ${zmq.zmq_strerror(code)}`);
  }
}

/** The error of the call that has just failed on this thread. */
export const lastError = (what: string): ZmqError => new ZmqError(what, zmq.zmq_errno());
