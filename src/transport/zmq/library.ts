/**
 * libzmq through bun:ffi. Importing this module loads it.
 * Source: https://libzmq.readthedocs.io, zmq.h of libzmq 4.3.5.
 */
import { dlopen, type Pointer } from "bun:ffi";
import { addressOf, pinnedBytes } from "../libc.ts";
import { StartError } from "../start-error.ts";
import { addonPath } from "./addon.ts";

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

/** Libraries that libzmq needs, and their packages on Debian and Raspberry Pi OS. */
const packages: Readonly<Record<string, string>> = { "libgcc_s.so.1": "libgcc-s1", "libstdc++.so.6": "libstdc++6" };

/** Returns one line for a person: which library is missing, and how to install it. */
const notLoaded = (failure: unknown): StartError => {
  const said = (failure instanceof Error ? failure.message : String(failure)).replace(
    /^Failed to open library "[^"]*": /,
    "",
  );
  const missing = /^(\S+): cannot open shared object file: No such file/.exec(said)?.[1] ?? "";
  const package_ = packages[missing];
  if (package_ !== undefined) {
    return new StartError(
      `this program needs ${missing}, which this system lacks; install it: apt install ${package_}`,
    );
  }
  const old = /version `((?:GLIBC|GLIBCXX|CXXABI|GCC)_[\d.]+)' not found/.exec(said)?.[1];
  if (old === undefined) return new StartError(`libzmq cannot be loaded: ${said.split("\n")[0]}`);
  return new StartError(
    `this system is too old for this program: it has no ${old}, which glibc 2.25 and GCC 6 brought`,
  );
};

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

// All sockets share these: libzmq is called on one thread, and no call nests.
const value = new Int32Array(pinnedBytes(4).buffer);
const valueAddress = addressOf(value);
const size = new BigUint64Array(pinnedBytes(8).buffer);
const sizeAddress = addressOf(size);

/** Reads a socket's option of type int. Throws ZmqError. */
export const readIntOption = (socket: Pointer, option: number): number => {
  for (;;) {
    size[0] = 4n;
    if (zmq.zmq_getsockopt(socket, option, valueAddress, sizeAddress) === 0) return value[0] ?? 0;
    if (zmq.zmq_errno() !== errno.EINTR) throw lastError(`cannot read option ${option}`);
  }
};
