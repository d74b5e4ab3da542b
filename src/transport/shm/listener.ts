/** Listens at a Unix socket for processes of the same machine. */
import { rmSync } from "node:fs";
import type { Socket, UnixSocketListener } from "bun";
import { beatIntervalMs, beatSilenceMs, localBytesMax, localStallPauseMs, unfinishedMsMax } from "../../limits.ts";
import { duplicateOf, libc } from "../libc.ts";
import { Pulse } from "../pulse.ts";
import type { Listener, SendResult } from "../transport.ts";
import { ShmConnection } from "./connection.ts";
import { closeAll, flushOut } from "./flushing.ts";
import { Budget } from "./framing.ts";
import { answer, closeLine, introductionFrom, isDead, isOwnOrRoot, partOf, peerUid } from "./unix.ts";

/** Above U+00FF, so no key of a ZeroMQ peer begins with it. */
const keyPrefix = "→";

/** The first socket of a connection whose second, the bell, has not come yet. */
interface Half {
  readonly descriptor: number;
  /** It was already there when the halves were last checked. */
  isOld: boolean;
}

export interface ShmListenerOptions {
  /** A file, which only its user can open; or a name that begins with NUL, which anyone can. */
  readonly path: string;
  /** Ends each connection of another user than this one and root, even if it can open the path. */
  readonly isPrivate?: boolean;
  /** Returns the `identity` of a peer by its introduction, which may be empty; null ends it. */
  readonly identify?: (introduction: string) => string | null;
  readonly connectionsMax: number;
  /** bytes of one message that comes. */
  readonly messageBytesMax?: number;
  /** bytes of long messages that are not whole, of all connections. */
  readonly unfinishedBytesMax?: number;
  /** ms that such a message may take. */
  readonly unfinishedMs?: number;
  /** bytes that wait for peers to read, of all connections. */
  readonly unsentBytesMax?: number;
  /** ms of silence after which a peer is checked for having been halted. */
  readonly silenceMs?: number;
}

export class ShmListener implements Listener {
  readonly #options: Required<ShmListenerOptions>;
  readonly #listener: UnixSocketListener<undefined>;
  readonly #connections = new Map<string, ShmConnection>();
  /** Half connections by the names of their lines. */
  readonly #halves = new Map<string, Half>();
  /** Connections with messages gathered since the last `flush`. */
  readonly #gathering = new Set<ShmConnection>();
  readonly #budget: Budget;
  readonly #looks: Pulse;
  /** Until then an urgent `flush` waits for no peer, because one has just stalled. */
  #patientAt = Number.NEGATIVE_INFINITY;
  #count = 0;
  #onReadable: (connection: ShmConnection) => void = () => undefined;

  /** Replaces a socket file that an earlier process left. Throws the system's error. */
  constructor({
    messageBytesMax = localBytesMax,
    unfinishedBytesMax = Number.POSITIVE_INFINITY,
    unfinishedMs = unfinishedMsMax,
    unsentBytesMax = Number.POSITIVE_INFINITY,
    silenceMs = beatSilenceMs,
    isPrivate = false,
    identify = () => "",
    ...options
  }: ShmListenerOptions) {
    const bounds = { messageBytesMax, unfinishedBytesMax, unfinishedMs, unsentBytesMax, silenceMs };
    this.#options = { ...bounds, isPrivate, identify, ...options };
    this.#budget = new Budget(unfinishedBytesMax);
    const { path } = options;
    if (!path.startsWith("\0")) rmSync(path, { force: true });
    const mask = process.umask(0o177);
    try {
      const socket = { open: (accepted: Socket<undefined>) => this.#open(accepted), data: () => undefined };
      this.#listener = Bun.listen({ unix: path, socket });
    } finally {
      process.umask(mask);
    }
    this.#looks = new Pulse(Math.min(beatIntervalMs, silenceMs), () => {
      this.#forgetClosed();
      this.#endHalves();
      for (const connection of this.#connections.values()) {
        connection.endIfHalted(silenceMs);
        if (unfinishedBytesMax < Number.POSITIVE_INFINITY) connection.endIfUnfinished(unfinishedMs);
      }
    });
  }

  /** Must be called before the event loop runs, which accepts the first connection. */
  onReadable(handler: (connection: ShmConnection) => void): void {
    this.#onReadable = handler;
  }

  has(key: string): boolean {
    return key.startsWith(keyPrefix);
  }

  /** Takes a whole message or nothing, to be sent by the next `flush`. */
  gather(key: string, frames: readonly (Uint8Array | string)[]): SendResult {
    const connection = this.#connections.get(key);
    if (connection === undefined) return "unreachable";
    const result = connection.gather(frames);
    if (result === "sent") this.#gathering.add(connection);
    return result;
  }

  /**
   * Sends the gathered messages as far as peers read; the rest goes out later.
   * @param isUrgent wait a little for peers that read, but not for one that did not of late, so
   * that it cannot hold up the others
   */
  flush(isUrgent = false): void {
    for (const connection of this.#gathering) {
      if (!isUrgent || performance.now() < this.#patientAt) connection.flush();
      else if (!flushOut(connection)) this.#patientAt = performance.now() + localStallPauseMs;
    }
    this.#gathering.clear();
  }

  /** Ends the connections of peers that may not stay. */
  cut(mayStay: (identity: string) => boolean): void {
    for (const connection of this.#connections.values()) if (!mayStay(connection.identity)) connection.end();
  }

  /** Closes after unsent messages are out, or after the lingering time. */
  close(): void {
    this.#looks[Symbol.dispose]();
    closeAll([...this.#connections.values()]);
    for (const { descriptor } of this.#halves.values()) libc.close(descriptor);
    this.#halves.clear();
    this.#listener.stop(true);
  }

  /** Takes the socket from Bun before anything is read from it. */
  #open(accepted: Socket<undefined>): void {
    // Bun's types leave it out.
    const descriptor = duplicateOf((accepted as Socket<undefined> & { readonly fd: number }).fd);
    accepted.terminate();
    if (descriptor !== null && !this.#take(descriptor)) libc.close(descriptor);
  }

  /**
   * Returns false for a socket that is neither the first of a line, nor the bell of one, and for
   * one of a user who may not connect.
   */
  #take(descriptor: number): boolean {
    if (this.#options.isPrivate && !isOwnOrRoot(peerUid(descriptor))) return false;
    const part = partOf(descriptor);
    if (part === null) return false;
    if (!part.isBell) {
      // The other end of an older socket of that name is closed.
      this.#dropHalf(part.line);
      if (!this.#makeRoom()) return false;
      this.#halves.set(part.line, { descriptor, isOld: false });
      return true;
    }
    const half = this.#halves.get(part.line);
    if (half === undefined) return false;
    this.#halves.delete(part.line);
    // The peer may have given up already: a router that was halted finds many of them in its
    // backlog.
    const line = isDead(descriptor) ? null : answer(half.descriptor, descriptor);
    const identity = line === null ? null : this.#options.identify(introductionFrom(half.descriptor));
    libc.close(half.descriptor);
    if (line === null) return false;
    if (identity === null) {
      closeLine(line);
      return true;
    }
    const key = `${keyPrefix}${++this.#count}`;
    const connection = new ShmConnection(line, key, this.#options.messageBytesMax, this.#budget, this.#mayKeep);
    connection.identity = identity;
    this.#connections.set(key, connection);
    connection.onReadable(() => this.#onReadable(connection));
    return true;
  }

  /** Added up only for a peer that is behind. */
  readonly #mayKeep = (): boolean => {
    let bytes = 0;
    for (const { unsentBytes } of this.#connections.values()) bytes += unsentBytes;
    return bytes < this.#options.unsentBytesMax;
  };

  #forgetClosed(): void {
    for (const [key, { closed }] of this.#connections) if (closed) this.#connections.delete(key);
  }

  #makeRoom(): boolean {
    this.#forgetClosed();
    return this.#connections.size + this.#halves.size < this.#options.connectionsMax;
  }

  /** Closes sockets whose peer never sent the bell, or died before. */
  #endHalves(): void {
    for (const [line, half] of this.#halves) {
      if (half.isOld) this.#dropHalf(line);
      half.isOld = true;
    }
  }

  #dropHalf(line: string): void {
    const half = this.#halves.get(line);
    if (half !== undefined) libc.close(half.descriptor);
    this.#halves.delete(line);
  }
}
