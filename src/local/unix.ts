/** Unix sockets by their descriptors, unix(7). */
import { cString, duplicate, libc, pollEntrySize, pollReturnedOffset } from "../zmq/library.ts";
import type { Line } from "./connection.ts";

const unixFamily = 1; // AF_UNIX
const stream = 1 | 0o2004000; // SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, socket(2)

const pollHangUp = 0x10; // POLLHUP, poll(2)
const socketLevel = 1; // SOL_SOCKET, getsockopt(2)
const credentialsOption = 17; // SO_PEERCRED
const credentialsSize = 12; // struct ucred: pid, uid, gid

/** Both sockets of a line to who listens at the path, one right after the other; null where nobody does, or has no time. */
export const dial = (path: string): Line | null => {
  const messages = connectTo(path);
  if (messages === null) return null;
  const bell = connectTo(path);
  if (bell !== null) return { messages, bell };
  libc.close(messages);
  return null;
};

const connectTo = (path: string): number | null => {
  const descriptor = libc.socket(unixFamily, stream, 0);
  if (descriptor < 0) return null;
  const name = cString(path);
  const address = Buffer.alloc(2 + name.length);
  address.writeUInt16LE(unixFamily, 0);
  name.copy(address, 2);
  // At a Unix socket that is done at once, or not at all.
  if (libc.connect(descriptor, address, address.length) === 0) return descriptor;
  libc.close(descriptor);
  return null;
};

/** Another descriptor of the same socket, which stays open when the first is closed; null where there is none left. */
export const duplicateOf = (descriptor: number): number | null => {
  const copy = libc.fcntl(descriptor, duplicate, 0);
  return copy < 0 ? null : copy;
};

/** Whether the other end has been closed, be there something to read yet. */
export const isDead = (descriptor: number): boolean => {
  const entry = new DataView(new ArrayBuffer(pollEntrySize));
  entry.setInt32(0, descriptor, true);
  const polled = new Uint8Array(entry.buffer);
  return libc.poll(polled, 1, 0) > 0 && ((polled[pollReturnedOffset] ?? 0) & pollHangUp) !== 0;
};

/** Of the process that has connected; null where the system does not say. */
export const peerPid = (descriptor: number): number | null => {
  const credentials = new Int32Array(credentialsSize / 4);
  const size = new Int32Array([credentialsSize]);
  if (libc.getsockopt(descriptor, socketLevel, credentialsOption, credentials, size) !== 0) return null;
  return credentials[0] ?? null;
};
