/** Unix sockets by their descriptors, unix(7). */
import { fs } from "../fs.ts";
import {
  cString,
  libc,
  nameOf,
  pinnedBytes,
  pollEntries,
  pollHangUp,
  pollReturnedOffset,
  receiveWithoutWaiting,
  sendWithoutWaiting,
  socketOption,
} from "../libc.ts";
import { type Memory, makeMemory, mapMemory } from "./memory.ts";
import { receiveDescriptor, sendDescriptor } from "./passing.ts";

const unixFamily = 1; // AF_UNIX
const familyBytes = 2; // sa_family_t
const stream = 1 | 0o2004000; // SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, socket(2)

const credentialsOption = 17; // SO_PEERCRED, getsockopt(2)
const credentialsCount = 3; // struct ucred: pid, uid, gid

/** unix(7): sun_path has 108 bytes, one for the NUL at its end. */
export const socketPathBytesMax = 107;

/** The parts of a connection. */
export interface Line {
  /** Descriptor of the socket over which each end wakes the other, and learns of its end. */
  readonly bell: number;
  readonly memory: Memory;
  /** True if this end connected, and so made the memory. */
  readonly isMaker: boolean;
}

/** Behind the name of the socket over which the memory is handed over it is that of the bell. */
const bellSuffix = "/bell";

/** Names that no process of the same pid in another container has. */
const ownNames = `\0task-engine/${process.pid}/${Math.random().toString(36).slice(2)}`;
let dialled = 0;

/**
 * Connects to the listener at a path; null if there is none, or if its backlog is full. A path that
 * begins with NUL is a name in the network namespace.
 *
 * A first socket passes the memory and is closed then, so that the memory is there when the bell
 * arrives. The names of both sockets tell the listener that they belong together.
 * @param introduction what this end says of itself, in ASCII, up to `introductionBytesMax`
 */
export const dial = (path: string, introduction = ""): Line | null => {
  // The kernel may give a name again that an earlier connection's bell still has.
  const name = `${ownNames}/${++dialled}`;
  const handover = connectTo(path, name);
  const memory = handover === null ? null : makeMemory();
  if (handover === null || memory === null) return closed(handover);
  const isPassed = sendDescriptor(handover, memory) && introduce(handover, introduction);
  const bell = isPassed ? connectTo(path, `${name}${bellSuffix}`) : null;
  const mapped = bell === null ? null : mapMemory(memory);
  closed(handover, memory);
  if (bell === null || mapped === null) return closed(bell);
  return { bell, memory: mapped, isMaker: true };
};

/** Closes those that there are; null in the place of what they were for. */
const closed = (...descriptors: readonly (number | null)[]): null => {
  for (const descriptor of descriptors) if (descriptor !== null) libc.close(descriptor);
  return null;
};

/**
 * Makes a line from a bell and the socket that came before it; null if that passed no usable
 * memory.
 */
export const answer = (handover: number, bell: number): Line | null => {
  const descriptor = receiveDescriptor(handover);
  if (descriptor === null) return null;
  const memory = mapMemory(descriptor);
  libc.close(descriptor);
  return memory === null ? null : { bell, memory, isMaker: false };
};

const introductionBytesMax = 128;
const introductionBytes = pinnedBytes(introductionBytesMax);

/** Sends it behind the descriptor. Returns false where the socket takes nothing. */
const introduce = (handover: number, introduction: string): boolean => {
  if (introduction === "") return true;
  const { written } = new TextEncoder().encodeInto(introduction, introductionBytes);
  return libc.send(handover, introductionBytes, written, sendWithoutWaiting) === written;
};

/** The introduction of the peer, behind the descriptor that was received; empty for none. */
export const introductionFrom = (handover: number): string => {
  const size = libc.recv(handover, introductionBytes, introductionBytesMax, receiveWithoutWaiting);
  return size > 0 ? Buffer.from(introductionBytes.buffer, 0, size).toString("latin1") : "";
};

/** Closes a line that became no connection. */
export const closeLine = ({ bell, memory }: Line): void => {
  libc.close(bell);
  memory.unmap();
};

/** Connects one socket of a line. @param ownName its name; if empty, the kernel gives one */
export const connectTo = (path: string, ownName: string): number | null => {
  const descriptor = libc.socket(unixFamily, stream, 0);
  if (descriptor < 0) return null;
  const own = socketAddress(ownName);
  const address = socketAddress(path);
  // At a Unix socket that is done at once, or not at all.
  const isConnected =
    libc.bind(descriptor, own, own.length) === 0 && libc.connect(descriptor, address, address.length) === 0;
  if (isConnected) return descriptor;
  libc.close(descriptor);
  return null;
};

/**
 * struct sockaddr_un: a path ends with NUL; an abstract name begins with it and ends with the
 * address.
 */
const socketAddress = (path: string): Buffer => {
  const name = path === "" ? Buffer.alloc(0) : path.startsWith("\0") ? Buffer.from(path, "latin1") : cString(path);
  const family = Buffer.alloc(familyBytes);
  family.writeUInt16LE(unixFamily, 0);
  return Buffer.concat([family, name]);
};

/**
 * Returns the line of a socket that `dial` connected, and its part in it; null for any other
 * socket.
 */
export const partOf = (descriptor: number): { readonly line: string; readonly isBell: boolean } | null => {
  const name = nameOf(libc.getpeername, descriptor)?.slice(familyBytes) ?? "";
  const pid = peerPid(descriptor);
  if (!name.startsWith("\0") || pid === null) return null;
  const isBell = name.endsWith(bellSuffix);
  // Names are free for all: one of another's line does not do.
  return { line: `${pid} ${isBell ? name.slice(0, -bellSuffix.length) : name}`, isBell };
};

const polled = pollEntries([0], 0);
const polledDescriptor = new Int32Array(polled.buffer, 0, 1);

/** Returns true if the other end is closed, even if there is still something to read. */
export const isDead = (descriptor: number): boolean => {
  polledDescriptor[0] = descriptor;
  return libc.poll(polled, 1, 0) > 0 && ((polled[pollReturnedOffset] ?? 0) & pollHangUp) !== 0;
};

const credentialsOf = (descriptor: number): Int32Array | null =>
  socketOption(descriptor, credentialsOption, credentialsCount);

/**
 * The pid of the process that has connected, or that listens; null where the system does not say.
 */
export const peerPid = (descriptor: number): number | null => credentialsOf(descriptor)?.[0] ?? null;

/** The user that it had then; null where the system does not say. */
export const peerUid = (descriptor: number): number | null => credentialsOf(descriptor)?.[1] ?? null;

/** True for this process's own user and for root. */
export const isOwnOrRoot = (uid: number | null): boolean => uid !== null && (uid === 0 || uid === process.geteuid?.());

/**
 * Returns true if a signal or a debugger stopped the process, proc(5). Its name may hold any
 * character.
 */
export const isHalted = (pid: number): boolean => {
  try {
    const stat = fs().readFileSync(`/proc/${pid}/stat`, "latin1");
    return /^[Tt]/.test(stat.slice(stat.lastIndexOf(")") + 2));
  } catch {
    return false; // It has ended: of that the connection tells.
  }
};

/**
 * Returns the name of the listener beside a TCP address, in the abstract namespace of unix(7): it
 * lives as long as its process. The number is the version of the framing.
 */
export const localName = (host: string, port: number): string => `\0task-engine/2/${host}:${port}`;
