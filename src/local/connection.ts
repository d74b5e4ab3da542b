/**
 * One connection of a Unix socket that carries messages of frames, with the API of a ZeroMQ socket as far as both ends need it.
 * Bun's event loop reads it; while this process waits outside of that, it is read from directly, which is why its bytes are one stream
 * whoever takes them. No thread stands between the two ends: a message costs one call to the system at each.
 */
import type { Socket as BunSocket, SocketHandler } from "bun";
import { lingerMs, localBytesMax, peerQueueMessagesMax } from "../limits.ts";
import { libc, receiveWithoutWaiting } from "../zmq/library.ts";
import { type Alert, reactor, type Source } from "../zmq/reactor.ts";
import type { Frame, SendResult } from "../zmq/socket.ts";
import { encodeMessage, MessageReader } from "./framing.ts";

/** The last message of every connection. No frame of a peer looks like it: it is not JSON. */
const lost: readonly Frame[] = [Buffer.from("\0lost")];

/** bytes that have come and are not read, above which no more are taken from the kernel. */
const unreadBytesMax = 1024 * 1024;

export type LocalSocket = BunSocket<LocalConnection>;

export class LocalConnection implements Source {
  readonly descriptor: number;
  /** When something came last, on the clock of performance.now(). */
  heardAt = performance.now();
  readonly #socket: LocalSocket;
  readonly #reader = new MessageReader();
  /** What the kernel has not taken yet. */
  #unsent: Uint8Array[] = [];
  #unsentBytes = 0;
  #onAlert: (() => void) | null = null;
  /** There may be more in the kernel. */
  #isExpected = true;
  #isPaused = false;
  /** Nothing comes any more. */
  #hasEnded = false;
  #closed = false;

  constructor(socket: LocalSocket) {
    this.#socket = socket;
    // Bun's types leave it out.
    this.descriptor = (socket as LocalSocket & { readonly fd: number }).fd;
  }

  get closed(): boolean {
    return this.#closed;
  }

  get isKnownEmpty(): boolean {
    return !this.#isExpected && !this.#hasEnded && !this.#reader.hasMessage;
  }

  get readable(): boolean {
    if (this.#closed) return false;
    if (this.#isExpected && !this.#reader.hasMessage) this.#receive();
    return this.#hasEnded || this.#reader.hasMessage;
  }

  /** That the kernel takes more of what is unsent. */
  get needsEventLoop(): boolean {
    return this.#unsentBytes > 0;
  }

  expect(): void {
    this.#isExpected = true;
  }

  listen(onAlert: () => void): Alert {
    this.#onAlert = onAlert;
    return {
      pause: () => this.#pause(),
      resume: () => this.#resume(),
      end: () => {
        this.#onAlert = null;
      },
    };
  }

  /** Calls `handler` whenever there is something to receive, until the connection is closed. The handler must take at least one message. */
  onReadable(handler: () => void): void {
    reactor.watch(this, handler);
  }

  /** Sends a whole message or nothing; never waits. The bytes are copied where the kernel does not take them at once. */
  trySend(frames: readonly (Uint8Array | string)[]): SendResult {
    if (this.#closed || this.#hasEnded) return "unreachable";
    if (this.#unsentBytes > localBytesMax || this.#unsent.length >= peerQueueMessagesMax) return "full";
    const bytes = encodeMessage(frames);
    const sent = this.#unsentBytes > 0 ? 0 : this.#write(bytes);
    if (sent < bytes.length) {
      this.#unsent.push(bytes.slice(sent));
      this.#unsentBytes += bytes.length - sent;
    }
    return "sent";
  }

  /** The next whole message, or null where there is none; never waits. The last one of a connection that has ended is `\0lost`. */
  tryReceive(): readonly Frame[] | null {
    if (this.#closed) return null;
    const message = this.#next();
    if (message !== null || !this.#hasEnded) return message;
    this.drop();
    return lost;
  }

  /** Sends what is unsent, as far as the kernel takes it. False where something is left. */
  flush(): boolean {
    for (let [bytes] = this.#unsent; bytes !== undefined && !this.#closed && !this.#hasEnded; [bytes] = this.#unsent) {
      const sent = this.#write(bytes);
      this.#unsentBytes -= sent;
      if (sent < bytes.length) {
        this.#unsent[0] = bytes.subarray(sent);
        return false;
      }
      this.#unsent.shift();
    }
    return true;
  }

  /** Ends it at once. A second call does nothing. */
  drop(): void {
    if (this.#closed) return;
    this.#closed = true;
    reactor.unwatch(this);
    this.#socket.terminate();
  }

  /** Ends it as if its peer had: who reads it is told. */
  end(): void {
    this.#hasEnded = true;
    this.#onAlert?.();
  }

  /* ── What Bun tells ────────────────────────────────────────────────────────────────────────────────────────────── */

  /** What a listener or a connection takes; `opened` is given the connection, and who reads it is to be set then. */
  static handlers(opened: (connection: LocalConnection) => void): SocketHandler<LocalConnection> {
    return {
      open: (socket) => {
        socket.data = new LocalConnection(socket);
        opened(socket.data);
      },
      data: ({ data: connection }, bytes) => connection.#take(bytes),
      drain: ({ data: connection }) => void connection.flush(),
      close: ({ data: connection }) => connection.end(),
      error: ({ data: connection }, failure) => {
        connection.end();
        // Bun brings here, too, what one of these handlers throws: that is no matter of a connection.
        if (!("errno" in failure)) throw failure;
      },
    };
  }

  #take(bytes: Uint8Array): void {
    this.heardAt = performance.now();
    this.#reader.append(bytes);
    this.#endIfBroken();
    if (this.#reader.unread > unreadBytesMax && this.#reader.hasMessage) this.#pause();
    this.#onAlert?.();
  }

  /* ── Within ────────────────────────────────────────────────────────────────────────────────────────────────────── */

  /** How many of the bytes the kernel has taken. Of a connection that is gone, none: Bun tells of its end. */
  #write(bytes: Uint8Array): number {
    return Math.max(0, this.#socket.write(bytes));
  }

  #next(): Frame[] | null {
    const message = this.#reader.next();
    if (message !== null) return message;
    this.#endIfBroken();
    this.#resume();
    if (!this.#isExpected || this.#hasEnded) return null;
    this.#receive();
    return this.#reader.next();
  }

  #receive(): void {
    const room = this.#reader.room();
    const size = libc.recv(this.descriptor, room, room.length, receiveWithoutWaiting);
    this.#isExpected = size === room.length;
    if (size > 0) {
      this.heardAt = performance.now();
      this.#reader.took(size);
      this.#endIfBroken();
    } else if (size === 0) this.#hasEnded = true;
  }

  #endIfBroken(): void {
    if (this.#reader.isBroken) this.#hasEnded = true;
  }

  #pause(): void {
    if (this.#isPaused) return;
    this.#isPaused = true;
    this.#socket.pause();
  }

  #resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#socket.resume();
  }
}

/** Ends all of them, once the kernel has taken what is unsent, or the time for that is over. Blocks the thread. */
export const closeAll = (connections: readonly LocalConnection[]): void => {
  const untilMs = performance.now() + lingerMs;
  const isAllSent = (): boolean => connections.filter((connection) => !connection.flush()).length === 0;
  while (!isAllSent() && performance.now() < untilMs) Bun.sleepSync(1);
  for (const connection of connections) connection.drop();
};
