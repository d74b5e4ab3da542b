/**
 * The connections of a bound port, and how to cut some of them. libzmq can only close a port with
 * all its connections, which would interrupt every worker and lose answers to others. So this
 * module calls shutdown(2) on the descriptor of one connection, and libzmq sees a peer that left.
 */
import { readdirSync } from "node:fs";
import { endlessBytesMin } from "../../limits.ts";
import { libc, nameOf, pinnedBytes, pollEntries, pollEntrySize, pollReadable, pollReturnedOffset } from "../libc.ts";
import type { Peer } from "./peer.ts";

const size = new Uint32Array(pinnedBytes(4).buffer);
const bothWays = 2; // SHUT_RDWR
const tcpLevel = 6; // IPPROTO_TCP, getsockopt(2)
const infoOption = 11; // TCP_INFO, tcp(7)
const infoSize = 256;
const receivedOffset = 128; // of tcpi_bytes_received in struct tcp_info, linux/tcp.h
const info = pinnedBytes(infoSize);
const infoView = new DataView(info.buffer);

interface Known {
  readonly user: string;
  /** The peer's address: the descriptor may be another connection's by now. */
  readonly peer: string;
}

/** The state of a connection that sends an unfinished message. */
interface Unfinished {
  readonly peer: string;
  /** bytes that it had sent before, which are not counted. */
  readonly from: number;
  /** True if it was too long at the last check, too: so it is not just that we were busy. */
  readonly isSuspect: boolean;
}

export class Connections {
  readonly #known = new Map<number, Known>();
  /** Descriptors of which a message came since the last look. */
  readonly #spoke = new Set<number>();
  #unfinished = new Map<number, Unfinished>();

  /** Remembers whose connection a message came from; to be told of every message. */
  note({ user, descriptor }: Peer): void {
    this.#spoke.add(descriptor);
    if (user === null) return;
    const peer = nameOf(libc.getpeername, descriptor);
    const known = this.#known.get(descriptor);
    // All of the engine's own workers are one user, so the peer's address must be the same, too.
    if (peer !== null && (known?.user !== user || known.peer !== peer)) this.#known.set(descriptor, { user, peer });
  }

  /**
   * Returns true if libzmq has not read all input, or the end, of a connection that spoke lately.
   */
  hasUnread(port: number): boolean {
    const descriptors = [...this.#spoke];
    const entries = pollEntries(descriptors, pollReadable);
    if (descriptors.length === 0 || libc.poll(entries, descriptors.length, 0) <= 0) return false;
    const view = new DataView(entries.buffer);
    return descriptors.some(
      (descriptor, index) =>
        (view.getInt16(index * pollEntrySize + pollReturnedOffset, true) & pollReadable) !== 0 &&
        // It may be another file's descriptor by now.
        portOf(nameOf(libc.getsockname, descriptor)) === port,
    );
  }

  /**
   * Cuts every connection of the port that is not known to be of a user who may stay. A connection
   * that never sent anything loses nothing, and may connect again.
   */
  cut(port: number, mayStay: (user: string) => boolean): void {
    const open = new Set<number>();
    for (const { descriptor, peer } of connectionsOf(port)) {
      open.add(descriptor);
      const known = this.#known.get(descriptor);
      if (known === undefined || known.peer !== peer || !mayStay(known.user)) libc.shutdown(descriptor, bothWays);
    }
    for (const descriptor of this.#known.keys()) if (!open.has(descriptor)) this.#known.delete(descriptor);
  }

  /**
   * Cuts every connection that sends frames of one message without an end: libzmq keeps them all,
   * and shows none before the last. Call it regularly, and soon again if it returns true: a
   * connection is cut only when two calls find it.
   */
  cutEndless(port: number): boolean {
    const unfinished = new Map<number, Unfinished>();
    for (const { descriptor, peer } of connectionsOf(port)) {
      const before = this.#unfinished.get(descriptor);
      const received = receivedBy(descriptor);
      const isOther = before === undefined || before.peer !== peer;
      const from = isOther || this.#spoke.has(descriptor) ? received : before.from;
      const isSuspect = received - from > endlessBytesMin;
      if (isSuspect && before?.isSuspect === true) cutConnection(descriptor);
      unfinished.set(descriptor, { peer, from, isSuspect });
    }
    this.#unfinished = unfinished;
    this.#spoke.clear();
    return [...unfinished.values()].some(({ isSuspect }) => isSuspect);
  }
}

/** The connections that have come in at a port. */
function* connectionsOf(port: number): Generator<{ descriptor: number; peer: string }, void, undefined> {
  // A descriptor that was closed meanwhile is not a socket, or one of another port.
  for (const descriptor of readdirSync("/proc/self/fd").map(Number)) {
    if (portOf(nameOf(libc.getsockname, descriptor)) !== port) continue;
    const peer = nameOf(libc.getpeername, descriptor);
    if (peer !== null) yield { descriptor, peer };
  }
}

/** bytes that have come by a connection so far; 0 where the kernel does not say. */
const receivedBy = (descriptor: number): number => {
  size[0] = infoSize;
  if (libc.getsockopt(descriptor, tcpLevel, infoOption, info, size) !== 0) return 0;
  return size[0] >= receivedOffset + 8 ? Number(infoView.getBigUint64(receivedOffset, true)) : 0;
};

/** Returns the peer's address of a descriptor; null if it is not connected. */
export const peerAddressOf = (descriptor: number): string | null => nameOf(libc.getpeername, descriptor);

/** Cuts one connection, if it still stands; its peer may come back. */
export const cutConnection = (descriptor: number): void => {
  // Never a listening socket, which a descriptor may have become: libzmq would abort the process.
  if (peerAddressOf(descriptor) !== null) libc.shutdown(descriptor, bothWays);
};

/**
 * The port, in network order, follows the family (AF_INET 2, AF_INET6 10); −1 for other families.
 * Source: ip(7), ipv6(7).
 */
const portOf = (name: string | null): number => {
  if (name === null || name.length < 4) return -1;
  const bytes = Buffer.from(name, "latin1");
  const family = bytes.readUInt16LE(0);
  return family === 2 || family === 10 ? bytes.readUInt16BE(2) : -1;
};
