/** Unix sockets by their descriptors, unix(7). */
import { cString, libc, pollEntries, pollHangUp, pollReturnedOffset, socketOption } from "../zmq/library.ts";

const unixFamily = 1; // AF_UNIX
const stream = 1 | 0o2004000; // SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, socket(2)

const credentialsOption = 17; // SO_PEERCRED, getsockopt(2)
const credentialsCount = 3; // struct ucred: pid, uid, gid

/** The descriptors of the two sockets of a connection. */
export interface Line {
  readonly messages: number;
  readonly bell: number;
}

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

/** Whether the other end has been closed, be there something to read yet. */
export const isDead = (descriptor: number): boolean => {
  const polled = pollEntries([descriptor], 0);
  return libc.poll(polled, 1, 0) > 0 && ((polled[pollReturnedOffset] ?? 0) & pollHangUp) !== 0;
};

/** Of the process that has connected; null where the system does not say. */
export const peerPid = (descriptor: number): number | null =>
  socketOption(descriptor, credentialsOption, credentialsCount)?.[0] ?? null;
