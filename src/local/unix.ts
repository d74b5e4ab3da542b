/** Unix sockets by their descriptors, unix(7). */
import { readFileSync } from "node:fs";
import {
  cString,
  libc,
  nameOf,
  pinnedBytes,
  pollEntries,
  pollHangUp,
  pollReturnedOffset,
  socketOption,
} from "../zmq/libc.ts";

const unixFamily = 1; // AF_UNIX
const familyBytes = 2; // sa_family_t
const stream = 1 | 0o2004000; // SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, socket(2)

const credentialsOption = 17; // SO_PEERCRED, getsockopt(2)
const credentialsCount = 3; // struct ucred: pid, uid, gid

/** The descriptors of the two sockets of a connection. */
export interface Line {
  readonly messages: number;
  readonly bell: number;
}

/** Behind the name of a line's first socket it is that of its second. */
const bellSuffix = "/bell";

/**
 * Both sockets of a line to who listens at the path, each bound to a name by which that one knows which two belong together; null
 * where nobody does, or has no time. A path that begins with NUL is a name without a file, of the network namespace.
 */
export const dial = (path: string): Line | null => {
  const messages = connectTo(path, "");
  if (messages === null) return null;
  const bell = connectTo(path, `${pathOf(libc.getsockname, messages)}${bellSuffix}`);
  if (bell !== null) return { messages, bell };
  libc.close(messages);
  return null;
};

/** Of a line that no connection was made of. */
export const closeLine = ({ messages, bell }: Line): void => {
  libc.close(messages);
  libc.close(bell);
};

/** One socket of a line. @param ownName of this end; the kernel gives one that nobody has where it is empty */
export const connectTo = (path: string, ownName: string): number | null => {
  const descriptor = libc.socket(unixFamily, stream, 0);
  if (descriptor < 0) return null;
  const own = addressOf(ownName);
  const address = addressOf(path);
  // At a Unix socket that is done at once, or not at all.
  const isConnected =
    libc.bind(descriptor, own, own.length) === 0 && libc.connect(descriptor, address, address.length) === 0;
  if (isConnected) return descriptor;
  libc.close(descriptor);
  return null;
};

/** struct sockaddr_un: a path ends with NUL, a name without a file begins so and ends where the address does. */
const addressOf = (path: string): Buffer => {
  const name = path === "" ? Buffer.alloc(0) : path.startsWith("\0") ? Buffer.from(path, "latin1") : cString(path);
  const family = Buffer.alloc(familyBytes);
  family.writeUInt16LE(unixFamily, 0);
  return Buffer.concat([family, name]);
};

/** The path of an end, which is a name for one that has no file; empty where there is none. */
const pathOf = (call: typeof libc.getsockname, descriptor: number): string =>
  nameOf(call, descriptor)?.slice(familyBytes) ?? "";

/** Which line a socket belongs to that somebody has connected by `dial`, and as which of its two; null for anything else. */
export const partOf = (descriptor: number): { readonly line: string; readonly isBell: boolean } | null => {
  const name = pathOf(libc.getpeername, descriptor);
  const pid = peerPid(descriptor);
  if (!name.startsWith("\0") || pid === null) return null;
  const isBell = name.endsWith(bellSuffix);
  // Names are free for all: one of another's line does not do.
  return { line: `${pid} ${isBell ? name.slice(0, -bellSuffix.length) : name}`, isBell };
};

/** Whether the other end has been closed, be there something to read yet. */
export const isDead = (descriptor: number): boolean => {
  const polled = pollEntries([descriptor], 0);
  return libc.poll(polled, 1, 0) > 0 && ((polled[pollReturnedOffset] ?? 0) & pollHangUp) !== 0;
};

const unreadRequest = 0x5411; // SIOCOUTQ, tcp(7); of a Unix socket it is what the other end has not read
const unread = new Int32Array(pinnedBytes(4).buffer);

/** Whether the other end has not read yet what was sent last. False where the system does not say. */
export const isUnread = (descriptor: number): boolean =>
  libc.ioctl(descriptor, unreadRequest, unread) === 0 && unread[0] !== 0;

const credentialsOf = (descriptor: number): Int32Array | null =>
  socketOption(descriptor, credentialsOption, credentialsCount);

/** Of the process that has connected, or that listens; null where the system does not say. */
export const peerPid = (descriptor: number): number | null => credentialsOf(descriptor)?.[0] ?? null;

/** The user that it had then; null where the system does not say. */
export const peerUid = (descriptor: number): number | null => credentialsOf(descriptor)?.[1] ?? null;

/** Whether a process was stopped by a signal or a debugger, proc(5). The name before its state may have any character. */
export const isHalted = (pid: number): boolean => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return /^[Tt]/.test(stat.slice(stat.lastIndexOf(")") + 2));
  } catch {
    return false; // It has ended: of that the connection tells.
  }
};
