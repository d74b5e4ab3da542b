/**
 * One connection between two processes of an engine that carries messages of frames, with the API of a ZeroMQ socket as far as both
 * ends need it. No thread stands between the ends: a message costs each a call to the system or two.
 *
 * It is two Unix sockets: one for the messages, and a bell, which is rung after each of them. The event loop listens to the bell
 * alone, so that the messages are read by nobody but this, at once and in their order, wherever the process waits for them. (Not over
 * Bun's own sockets, which have two timers that wake both ends 1.25 times a second for as long as they are open.)
 */
import { localBytesMax, localLingerMs, localResendMs, localResendMsMax, localStallMs } from "../limits.ts";
import { DescriptorAlert } from "../zmq/alert.ts";
import { libc, receiveWithoutWaiting, sendWithoutWaiting } from "../zmq/libc.ts";
import { lostConnection } from "../zmq/lost.ts";
import { type Alert, reactor, type Source } from "../zmq/reactor.ts";
import type { SendResult } from "../zmq/socket.ts";
import { MessageReader, MessageWriter } from "./framing.ts";
import { isDead, isHalted, isUnread, type Line, peerPid } from "./unix.ts";

/** The last message of every connection. */
const lost: readonly string[] = [lostConnection];

const ring = new Uint8Array(1);

export class LocalConnection implements Source {
  /** When something came last, on the clock of performance.now(). */
  heardAt = performance.now();
  /** When it was looked last whether its peer is at work, and when that was found so last. */
  #lookedAt = Number.NEGATIVE_INFINITY;
  #ranAt = performance.now();
  readonly #line: Line;
  readonly #reader: MessageReader;
  /** What the kernel has not taken yet. */
  readonly #writer = new MessageWriter();
  #isListening = false;
  #resendMs = localResendMs;
  #resending: Timer | undefined;
  /** There may be more in the kernel. */
  #isExpected = true;
  /** The bell is closed: what is not in the kernel now never comes, and nobody hears what is sent. */
  #isLast = false;
  /** The other end is closed, and all that it has sent is read. */
  #hasEnded = false;
  #closed = false;

  /**
   * Owns the descriptors from now on.
   * @param messageBytesMax of one that comes; a longer one ends the connection
   */
  constructor(line: Line, messageBytesMax = localBytesMax) {
    this.#line = line;
    this.#reader = new MessageReader(messageBytesMax);
  }

  get descriptor(): number {
    return this.#line.messages;
  }

  get closed(): boolean {
    return this.#closed;
  }

  get isKnownEmpty(): boolean {
    return !this.#isExpected && !this.#isOver && !this.#reader.hasMessage;
  }

  get readable(): boolean {
    if (this.#closed) return false;
    this.#receive();
    return this.#isOver || this.#reader.hasMessage;
  }

  /** To send on. */
  get needsEventLoop(): boolean {
    return this.#writer.size > 0;
  }

  expect(): void {
    this.#isExpected = true;
  }

  listen(onAlert: () => void): Alert {
    this.#isListening = true;
    const heed = (isLast: boolean): void => {
      this.#isLast = isLast;
      this.expect();
      onAlert();
    };
    return new DescriptorAlert({ descriptor: this.#line.bell, givesBack: false, onAlert: heed });
  }

  /** Calls `handler` whenever there is something to receive, until the connection is closed. The handler must take at least one message. */
  onReadable(handler: () => void): void {
    reactor.watch(this, handler);
  }

  /** Sends a whole message or nothing; never waits. The bytes are copied where the kernel does not take them at once. */
  trySend(frames: readonly (Uint8Array | string)[]): SendResult {
    const result = this.gather(frames);
    if (result === "sent") this.flush();
    return result;
  }

  /** As `trySend`, but nothing goes out before `flush`: several messages cost no more calls to the system than one. */
  gather(frames: readonly (Uint8Array | string)[]): SendResult {
    if (!this.#isOpen) return "unreachable";
    if (this.#writer.size > localBytesMax) return "full";
    this.#writer.add(frames);
    return "sent";
  }

  /** The next whole message, or null where there is none; never waits. The last one of a connection that has ended is `\0lost`. */
  tryReceive(framesMax?: number): readonly (string | Buffer)[] | null {
    if (this.#closed) return null;
    this.#receive();
    const message = this.#reader.next(framesMax);
    if (message !== null || !this.#isOver) return message;
    this.drop();
    return lost;
  }

  /** Sends what is unsent, as far as the kernel takes it; the rest goes out by and by. False where there is one. */
  flush(): boolean {
    // Who has not read waits to be asked again.
    if (this.#resending === undefined && !this.push()) this.#resendLater();
    return this.#writer.size === 0;
  }

  /** Sends what is unsent, as far as the kernel takes it now. False where something is left. */
  push(): boolean {
    while (this.#isOpen && this.#writer.size > 0) {
      const bytes = this.#writer.first();
      const sent = this.#send(bytes);
      this.#writer.took(sent);
      if (sent < bytes.length) return false;
    }
    // What comes next need not wait to be asked for.
    clearTimeout(this.#resending);
    this.#resending = undefined;
    return true;
  }

  /**
   * As `flush`, but waits for as long as the peer reads, and blocks the thread meanwhile: what comes next may let nothing else run. A
   * peer that was behind already is not waited for. False where it has waited in vain.
   */
  flushOut(): boolean {
    const wasBehind = this.#resending !== undefined;
    if (this.flush() || wasBehind) return true;
    let left = this.#writer.size;
    let readAt = performance.now();
    while (!this.push()) {
      if (performance.now() >= readAt + localStallMs) return false;
      if (this.#writer.size < left) readAt = performance.now();
      left = this.#writer.size;
      Bun.sleepSync(1);
    }
    return true;
  }

  /** Whether the other end has been closed, be there something to read yet. */
  get isDead(): boolean {
    return this.#closed || this.#isOver || isDead(this.descriptor);
  }

  /**
   * Ends it if the process at its other end was found halted at each look of so many ms, and has said nothing. The kernel tells of one
   * that has died, but not of one that was halted, and may be holding what drives the robot. To be called now and then.
   */
  endIfHalted(silenceMs: number): void {
    if (this.#closed) return;
    const now = performance.now();
    const hasSpoken = this.heardAt > this.#lookedAt;
    this.#lookedAt = now;
    if (hasSpoken) this.#ranAt = this.heardAt;
    else if (!this.#isPeerHalted) this.#ranAt = now;
    else if (now - this.#ranAt >= silenceMs) this.end();
  }

  /** Ends it as if its peer had: who reads it is told. */
  end(): void {
    this.#hasEnded = true;
    reactor.lookAgain();
  }

  /** Ends it at once. A second call does nothing. */
  drop(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#resending);
    this.#writer.clear();
    reactor.unwatch(this);
    libc.close(this.#line.messages);
    // Else by who listens to it.
    if (!this.#isListening) libc.close(this.#line.bell);
  }

  get #isPeerHalted(): boolean {
    const pid = peerPid(this.descriptor);
    return pid !== null && isHalted(pid);
  }

  get #isOpen(): boolean {
    return !this.#closed && !this.#isOver && !this.#isLast;
  }

  /** Nothing comes any more: what is no message has no end. */
  get #isOver(): boolean {
    return this.#hasEnded || this.#reader.isBroken;
  }

  /** Until a message is whole or the kernel has no more: nobody says a second time that something has come. */
  #receive(): void {
    while (this.#isExpected && !this.#isOver && !this.#reader.hasMessage) this.#receiveOnce();
  }

  #receiveOnce(): void {
    const room = this.#reader.room();
    const size = libc.recv(this.descriptor, room, room.length, receiveWithoutWaiting);
    // Who is told for the last time looks until there is nothing.
    this.#isExpected = size === room.length || (size > 0 && this.#isLast);
    if (size > 0) {
      this.heardAt = performance.now();
      this.#reader.took(size);
    } else if (size === 0 || this.#isLast) this.#hasEnded = true;
  }

  /** How many of the bytes the kernel has taken. Of a connection that is gone, none: that it is, the bell tells. */
  #send(bytes: Uint8Array): number {
    const sent = libc.send(this.descriptor, bytes, bytes.length, sendWithoutWaiting);
    // Who has not heard the last ring yet will look after that, and finds this as well.
    if (sent > 0 && !isUnread(this.#line.bell)) libc.send(this.#line.bell, ring, ring.length, sendWithoutWaiting);
    return Math.max(0, sent);
  }

  #resendLater(): void {
    this.#resending = setTimeout(() => {
      this.#resending = undefined;
      const before = this.#writer.size;
      const isAll = this.push();
      this.#resendMs = this.#writer.size < before ? localResendMs : Math.min(2 * this.#resendMs, localResendMsMax);
      if (!isAll) this.#resendLater();
    }, this.#resendMs);
  }
}

/** Ends all of them, once the kernel has taken what is unsent, or `ms` are over. Blocks the thread. */
export const closeAll = (connections: readonly LocalConnection[], ms = localLingerMs): void => {
  const untilMs = performance.now() + ms;
  const isAllSent = (): boolean => connections.map((connection) => connection.push()).every(Boolean);
  while (!isAllSent() && performance.now() < untilMs) Bun.sleepSync(1);
  for (const connection of connections) connection.drop();
};
