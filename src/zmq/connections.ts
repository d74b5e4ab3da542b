/**
 * The connections of a port that binds, and how to cut some of them. libzmq can close a port with all its connections, but
 * not one connection of it: that would interrupt every worker and lose every answer that is on its way to others. So
 * the connection's own descriptor is shut down (shutdown(2)); libzmq then does what it does when a peer goes away.
 */
import { readdirSync } from "node:fs";
import { libc, pinnedBytes } from "./library.ts";
import type { Peer } from "./peer.ts";

const addressSize = 128; // struct sockaddr_storage
const address = pinnedBytes(addressSize);
const size = new Uint32Array(pinnedBytes(4).buffer);
const bothWays = 2; // SHUT_RDWR

interface Known {
  readonly user: string;
  /** The peer's address: the descriptor may be another connection's by now. */
  readonly peer: string;
}

export class Connections {
  readonly #known = new Map<number, Known>();

  /** Remembers whose connection a message came from; to be told of every message. */
  note({ user, descriptor }: Peer): void {
    if (user === null) return;
    const peer = nameOf(libc.getpeername, descriptor);
    const known = this.#known.get(descriptor);
    // Of the same user, too, it may be another connection: all of the engine's own workers are one user.
    if (peer !== null && (known?.user !== user || known.peer !== peer)) this.#known.set(descriptor, { user, peer });
  }

  /**
   * Cuts every connection of the port but those that are known to be of a user who may stay. Who has never said
   * anything loses nothing, and comes back by himself, if he is let in.
   */
  cut(port: number, mayStay: (user: string) => boolean): void {
    const open = new Set<number>();
    // A descriptor that is closed in the meantime is no socket any more, or one of another port: the calls say so.
    for (const descriptor of readdirSync("/proc/self/fd").map(Number)) {
      if (portOf(nameOf(libc.getsockname, descriptor)) !== port) continue;
      const peer = nameOf(libc.getpeername, descriptor);
      if (peer === null) continue;
      open.add(descriptor);
      const known = this.#known.get(descriptor);
      if (known === undefined || known.peer !== peer || !mayStay(known.user)) libc.shutdown(descriptor, bothWays);
    }
    for (const descriptor of this.#known.keys()) if (!open.has(descriptor)) this.#known.delete(descriptor);
  }
}

/** The address of whoever is at the other end of a descriptor; null where it is no connection (any more). */
export const peerAddressOf = (descriptor: number): string | null => nameOf(libc.getpeername, descriptor);

/** Cuts one connection, if it still stands; its peer may come back. */
export const cutConnection = (descriptor: number): void => {
  // Never a listening socket, which a descriptor may have become: libzmq would abort the process.
  if (peerAddressOf(descriptor) !== null) libc.shutdown(descriptor, bothWays);
};

/** An end of a TCP connection, as the bytes of its address; null where there is none. */
const nameOf = (call: typeof libc.getsockname, descriptor: number): string | null => {
  size[0] = addressSize;
  if (call(descriptor, address, size) !== 0) return null;
  return Buffer.from(address.buffer, 0, size[0]).toString("latin1");
};

/** ip(7), ipv6(7): after the family (AF_INET 2, AF_INET6 10) the port, in the network's order; −1 for other families. */
const portOf = (name: string | null): number => {
  if (name === null || name.length < 4) return -1;
  const bytes = Buffer.from(name, "latin1");
  const family = bytes.readUInt16LE(0);
  return family === 2 || family === 10 ? bytes.readUInt16BE(2) : -1;
};
