/**
 * Finds out what listens at a TCP port, for a client that gets no answer: libzmq only reports that
 * it tries again.
 *
 * It sends the beginning of a ZMTP greeting. A ZeroMQ socket answers with its own and its security
 * mechanism. If nothing answers, it sends an empty line, to which most other servers respond.
 * Source: https://rfc.zeromq.org/spec/37 (ZMTP 3.1), connect(2).
 */
import { type Pointer, read } from "bun:ffi";
import { probeAnswerMs } from "../../limits.ts";
import {
  libc,
  pinnedBytes,
  pollEntries,
  pollWritable,
  receiveWithoutWaiting,
  sendWithoutWaiting,
  socketOption,
} from "../libc.ts";

/** The result, if there is one. */
export type Finding =
  /** The name has no IPv4 address, as far as can be found out. */
  | { readonly kind: "unknown host" }
  /** The system says that there is no connection to be had, by this errno. */
  | { readonly kind: "no connection"; readonly errno: number }
  /** The listener closes the connection without an answer. */
  | { readonly kind: "closed" }
  /** The listener does not answer. */
  | { readonly kind: "mute" }
  /** A ZeroMQ socket, with its security mechanism: NULL, PLAIN, CURVE… */
  | { readonly kind: "zmtp"; readonly mechanism: string }
  /** Something else, and what it says first. */
  | { readonly kind: "other"; readonly said: Uint8Array };

const internetFamily = 2; // AF_INET
const stream = 1 | 0o2004000; // SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, socket(2)
const errorOption = 4; // SO_ERROR, getsockopt(2)
const inProgress = 115; // EINPROGRESS
const again = 11; // EAGAIN
const stepMsMax = 50;

/**
 * Signature and major version. More would make a peer with another mechanism close before it
 * answers.
 */
const greeting = pinnedBytes(11);
greeting.set([0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3]);
const emptyLine = pinnedBytes(4);
emptyLine.set(Buffer.from("\r\n\r\n"));
const greetingSize = 64;
const signatureStart = 0xff;
const signatureEndAt = 9;
const signatureEnd = 0x7f;
const mechanismAt = 12;
const mechanismEnd = 32;

/**
 * Returns null if `isWanted` returned false first; an address without any response takes that long.
 * @param host a name or an IPv4 address
 */
export const probe = async (host: string, port: number, isWanted: () => boolean): Promise<Finding | null> => {
  const address = await resolveHost(host);
  if (address === null) return { kind: "unknown host" };
  const descriptor = libc.socket(internetFamily, stream, 0);
  if (descriptor < 0) return null;
  try {
    const errno = await connected(descriptor, address, port, isWanted);
    if (errno === null) return null;
    return errno === 0 ? await answered(descriptor, isWanted) : { kind: "no connection", errno };
  } finally {
    libc.close(descriptor);
  }
};

const resolveHost = async (host: string): Promise<string | null> => {
  try {
    // The system's own resolver knows the names in /etc/hosts and `.local`.
    const [first] = await Bun.dns.lookup(host, { family: 4, backend: "libc" });
    return first?.address ?? null;
  } catch {
    return null;
  }
};

/** 0 where the connection stands, else the errno; null where nobody wants to know any more. */
const connected = async (descriptor: number, ip: string, port: number, isWanted: () => boolean) => {
  const address = Buffer.alloc(16); // struct sockaddr_in
  address.writeUInt16LE(internetFamily, 0);
  address.writeUInt16BE(port, 2);
  address.set(ip.split(".").map(Number), 4);
  if (libc.connect(descriptor, address, address.length) === 0) return 0;
  const errno = lastErrno();
  if (errno !== inProgress) return errno;
  const polled = pollEntries([descriptor], pollWritable);
  const isDone = (): true | null => (libc.poll(polled, 1, 0) > 0 ? true : null);
  return (await found(isDone, isWanted)) && (socketOption(descriptor, errorOption, 1)?.[0] ?? 0);
};

/** Returns the listener's answer to a greeting. */
const answered = async (descriptor: number, isWanted: () => boolean): Promise<Finding | null> => {
  const startedMs = performance.now();
  const said = Buffer.alloc(greetingSize);
  let size = 0;
  let isNudged = false;
  libc.send(descriptor, greeting, greeting.length, sendWithoutWaiting);
  return found((): Finding | null => {
    const more = libc.recv(descriptor, said.subarray(size), greetingSize - size, receiveWithoutWaiting);
    const isOver = more === 0 || (more < 0 && lastErrno() !== again);
    size += Math.max(more, 0);
    const isZmtp = said[0] === signatureStart && (size <= signatureEndAt || said[signatureEndAt] === signatureEnd);
    if (isZmtp && size === greetingSize) return { kind: "zmtp", mechanism: mechanismOf(said) };
    if (size > 0 && (isOver || !isZmtp)) return { kind: "other", said: said.subarray(0, size) };
    if (isOver) return { kind: "closed" };
    const silentMs = performance.now() - startedMs;
    if (silentMs > probeAnswerMs) return { kind: "mute" };
    if (size === 0 && !isNudged && silentMs > probeAnswerMs / 2) {
      isNudged = true;
      libc.send(descriptor, emptyLine, emptyLine.length, sendWithoutWaiting);
    }
    return null;
  }, isWanted);
};

const mechanismOf = (said: Buffer): string => said.toString("latin1", mechanismAt, mechanismEnd).replace(/\0.*$/s, "");

/** Looks until there is something, now and then; null where nobody wants it any more. */
const found = async <Found>(look: () => Found | null, isWanted: () => boolean): Promise<Found | null> => {
  for (let stepMs = 1; ; stepMs = Math.min(2 * stepMs, stepMsMax)) {
    const result = look();
    if (result !== null || !isWanted()) return result;
    await Bun.sleep(stepMs);
  }
};

/** errno of the call that has just failed. */
const lastErrno = (): number => read.i32(libc.__errno_location() as Pointer, 0);
