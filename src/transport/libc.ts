/**
 * All calls of the C library that Bun has no API for, and memory for them. One table, for each
 * dlopen(3) costs every start.
 */
import { dlopen, type Pointer, ptr } from "bun:ffi";

const { symbols: libc } = dlopen("libc.so.6", {
  mallopt: { args: ["int", "int"], returns: "int" },
  malloc_trim: { args: ["usize"], returns: "int" },
  memcpy: { args: ["ptr", "ptr", "usize"], returns: "ptr" },
  memcmp: { args: ["ptr", "ptr", "usize"], returns: "int" },
  epoll_ctl: { args: ["int", "int", "int", "ptr"], returns: "int" },
  close: { args: ["int"], returns: "int" },
  sched_yield: { args: [], returns: "int" },
  poll: { args: ["ptr", "usize", "int"], returns: "int" },
  write: { args: ["int", "ptr", "usize"], returns: "int" },
  recv: { args: ["int", "ptr", "usize", "int"], returns: "int" },
  send: { args: ["int", "ptr", "usize", "int"], returns: "int" },
  socket: { args: ["int", "int", "int"], returns: "int" },
  bind: { args: ["int", "ptr", "u32"], returns: "int" },
  connect: { args: ["int", "ptr", "u32"], returns: "int" },
  sendto: { args: ["int", "ptr", "usize", "int", "ptr", "u32"], returns: "i64" },
  socketpair: { args: ["int", "int", "int", "ptr"], returns: "int" },
  __errno_location: { args: [], returns: "ptr" },
  open: { args: ["ptr", "int"], returns: "int" },
  isatty: { args: ["int"], returns: "int" },
  dup: { args: ["int"], returns: "int" },
  dup2: { args: ["int", "int"], returns: "int" },
  fcntl: { args: ["int", "int", "int"], returns: "int" },
  flock: { args: ["int", "int"], returns: "int" },
  clock_gettime: { args: ["int", "ptr"], returns: "int" },
  adjtimex: { args: ["ptr"], returns: "int" },
  getppid: { args: [], returns: "int" },
  prctl: { args: ["int", "u64", "u64", "u64", "u64"], returns: "int" },
  prlimit: { args: ["int", "int", "ptr", "ptr"], returns: "int" },
  getrlimit: { args: ["int", "ptr"], returns: "int" },
  getsockopt: { args: ["int", "int", "int", "ptr", "ptr"], returns: "int" },
  getsockname: { args: ["int", "ptr", "ptr"], returns: "int" },
  getpeername: { args: ["int", "ptr", "ptr"], returns: "int" },
  shutdown: { args: ["int", "int"], returns: "int" },
  sendmsg: { args: ["int", "ptr", "int"], returns: "int" },
  recvmsg: { args: ["int", "ptr", "int"], returns: "int" },
  memfd_create: { args: ["ptr", "u32"], returns: "int" },
  fstatfs: { args: ["int", "ptr"], returns: "int" },
  lseek: { args: ["int", "i64", "int"], returns: "i64" },
  access: { args: ["ptr", "int"], returns: "int" },
  ftruncate: { args: ["int", "i64"], returns: "int" },
  mmap: { args: ["ptr", "usize", "int", "int", "int", "i64"], returns: "ptr" },
  munmap: { args: ["ptr", "usize"], returns: "int" },
});

export { libc };

/** `struct pollfd` and POLLIN of poll(2). */
export const pollEntrySize = 8;
const pollEventsOffset = 4;
export const pollReturnedOffset = 6;
export const pollReadable = 1;
export const pollWritable = 4;
export const pollHangUp = 0x10; // Told unasked.

/** A `struct pollfd` for each descriptor. @param events what is asked about each */
export const pollEntries = (descriptors: readonly number[], events: number): Uint8Array<ArrayBuffer> => {
  const entries = new DataView(new ArrayBuffer(descriptors.length * pollEntrySize));
  for (const [index, descriptor] of descriptors.entries()) {
    entries.setInt32(index * pollEntrySize, descriptor, true);
    entries.setInt16(index * pollEntrySize + pollEventsOffset, events, true);
  }
  return new Uint8Array(entries.buffer);
};

/** MSG_DONTWAIT of recv(2); with MSG_NOSIGNAL of send(2). */
export const receiveWithoutWaiting = 0x40;
export const sendWithoutWaiting = 0x4040;

const duplicate = 1030; // F_DUPFD_CLOEXEC, fcntl(2)

/**
 * Another descriptor of the same file, which stays open when the first is closed; null where there
 * is none left.
 */
export const duplicateOf = (descriptor: number): number | null => {
  const copy = libc.fcntl(descriptor, duplicate, 0);
  return copy < 0 ? null : copy;
};

const exclusiveWithoutWaiting = 2 | 4; // LOCK_EX | LOCK_NB, flock(2)

/** Locks an open file by flock(2). Returns false if it is locked by another open descriptor. */
export const lockFile = (descriptor: number): boolean => libc.flock(descriptor, exclusiveWithoutWaiting) === 0;

const socketLevel = 1; // SOL_SOCKET, getsockopt(2)

/** An option of a socket, `count` numbers of four bytes; null where the system does not say. */
export const socketOption = (descriptor: number, option: number, count: number): Int32Array | null => {
  const values = new Int32Array(count);
  const size = new Int32Array([values.byteLength]);
  return libc.getsockopt(descriptor, socketLevel, option, values, size) === 0 ? values : null;
};

/** EPOLL_CTL_MOD of epoll_ctl(2), and its `struct epoll_event`, which is packed on x64 alone. */
export const epollModify = 3;
export const epollIn = 0x1;
export const epollDataOffset = process.arch === "x64" ? 4 : 8;
export const epollEventSize = epollDataOffset + 8;

/** A NUL-terminated copy for a `const char *`. The caller keeps it referenced during the call. */
export const cString = (text: string): Buffer => Buffer.from(`${text}\0`);

/**
 * Only for the length of a call whose caller holds `bytes`: what nothing refers to is collected,
 * and its address is dead.
 */
export const addressOf = (bytes: Uint8Array | Int32Array | BigInt64Array | BigUint64Array): Pointer => ptr(bytes);

const exists = 0; // F_OK, access(2)

/** Returns true if a path exists. */
export const isThere = (path: string): boolean => libc.access(cString(path), exists) === 0;

const pinned: ArrayBuffer[] = [];

/**
 * Zeroed bytes whose address stays good for as long as the process lives. A plain `new
 * Uint8Array(n)` will not do: nothing may refer to it any more when its address is used, and
 * JavaScriptCore moves the content of a small one when its `buffer` is asked for, which the
 * optimizing compiler does unasked.
 */
export const pinnedBytes = (size: number): Uint8Array<ArrayBuffer> => {
  const buffer = new ArrayBuffer(size);
  pinned.push(buffer);
  return new Uint8Array(buffer);
};

const addressSize = 128; // struct sockaddr_storage
const address = pinnedBytes(addressSize);
const addressUsed = new Uint32Array(pinnedBytes(4).buffer);

/**
 * An end of a connection, as the bytes of its address, the family first; null where there is none.
 */
export const nameOf = (call: typeof libc.getsockname, descriptor: number): string | null => {
  addressUsed[0] = addressSize;
  if (call(descriptor, address, addressUsed) !== 0) return null;
  return Buffer.from(address.buffer, 0, addressUsed[0]).toString("latin1");
};
