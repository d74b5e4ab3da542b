/**
 * One connection between two processes of an engine. Messages go through rings in shared memory,
 * without another thread and without a system call.
 *
 * A Unix socket, the bell, goes with it: a byte wakes a sleeping peer; EOF means that it closed.
 * (Bun's own sockets have two timers that wake both ends 1.25 times a second.)
 */
import { localBytesMax, localLongBytes, localReadsMax, requestorBeatMs, requestorSilenceMs } from "../../limits.ts";
import { DescriptorAlert } from "../alert.ts";
import { libc, pinnedBytes, receiveWithoutWaiting, sendWithoutWaiting } from "../libc.ts";
import { Pulse } from "../pulse.ts";
import { type Alert, reactor, type Source } from "../reactor.ts";
import { type Inbox, lostConnection, type SendResult } from "../transport.ts";
import { type Budget, type Framed, MessageReader, MessageWriter } from "./framing.ts";
import { PeerWatch } from "./peer-watch.ts";
import { type RingReader, type RingWriter, ringsOf } from "./ring.ts";
import { isDead, type Line } from "./unix.ts";

const bothWays = 2; // SHUT_RDWR, shutdown(2)
const word = new Uint8Array(1);
/** The bytes read from a bell, all of the same value. */
const words = pinnedBytes(16);

export class ShmConnection implements Source, Inbox {
  readonly hasEnvelopes = false;
  /** The peer's identity, where its listener gives it one. */
  identity = "";
  /** When something came last, on the clock of performance.now(). */
  heardAt = performance.now();
  readonly #incoming: RingReader;
  readonly #outgoing: RingWriter;
  readonly #reader: MessageReader;
  readonly #watch: PeerWatch;
  /** Messages that the ring has no room for yet. */
  readonly #writer = new MessageWriter();
  #isListening = false;
  /** The peer had not read enough that all could be sent when that was tried last. */
  #isBehind = false;
  /** The bell is closed: what is not in the ring now never comes, and nobody hears what is sent. */
  #isLast = false;
  /** The other end is closed, and all that it has sent is read. */
  #hasEnded = false;
  #closed = false;

  /** Called when the peer has made room for what `gatherFramed` refused. */
  onRoom: (() => void) | null = null;
  #looks: Pulse | undefined;
  #isOvertime = false;

  /**
   * Owns the line from now on.
   * @param peer key of the peer among those of a listener
   * @param messageBytesMax of one that comes; a longer one ends the connection
   * @param budget of long messages that are not whole, which other connections share
   * @param mayKeep whether there is room for one more message that the peer has not read yet
   */
  constructor(
    private readonly line: Line,
    readonly peer = "",
    messageBytesMax = localBytesMax,
    budget?: Budget,
    private readonly mayKeep = (): boolean => true,
  ) {
    this.#watch = new PeerWatch(line.bell);
    const { reader, writer } = ringsOf(line.memory, line.isMaker);
    this.#incoming = reader;
    this.#outgoing = writer;
    this.#reader = new MessageReader(messageBytesMax, budget);
  }

  /** Nothing waits for the peer to read. */
  get hasRoom(): boolean {
    return this.#writer.size === 0;
  }

  /** bytes that wait for the peer to read. */
  get unsentBytes(): number {
    return this.#writer.size;
  }

  /** Why this end has ended it, in a few words; null where it has not. */
  get cutReason(): string | null {
    if (this.#isOvertime) return "a message of it was not whole in time";
    return this.#reader.isOverBudget ? "unfinished messages take all the memory that there is for them" : null;
  }

  get descriptor(): number {
    return this.line.bell;
  }

  get closed(): boolean {
    return this.#closed;
  }

  get isKnownEmpty(): boolean {
    return this.#incoming.isEmpty && !this.#isLast && !this.#isOver && !this.#reader.hasMessage;
  }

  get readable(): boolean {
    if (this.#closed) return false;
    this.#receive();
    return this.#isOver || this.#reader.hasMessage;
  }

  /** There is something that it could not be sent yet: it has to read first. */
  get isBehind(): boolean {
    return this.#isBehind;
  }

  requestWakeUp(): boolean {
    return this.#closed || this.#incoming.sleep();
  }

  expect(): void {
    if (!this.#closed) this.#deliver(libc.recv(this.line.bell, words, words.length, receiveWithoutWaiting) === 0);
  }

  listen(onAlert: () => void): Alert {
    this.#isListening = true;
    const deliver = (isLast: boolean): void => {
      this.#deliver(isLast);
      onAlert();
    };
    return new DescriptorAlert({ descriptor: this.line.bell, givesBack: false, onAlert: deliver });
  }

  /**
   * Calls `handler` whenever there is something to receive, until the connection is closed. It must
   * take at least one message. Without it nothing tells of room for unsent messages.
   */
  onReadable(handler: () => void): void {
    reactor.watch(this, handler);
  }

  /** Sends a whole message or nothing; never waits. The bytes are copied. */
  trySend(frames: readonly (Uint8Array | string)[]): SendResult {
    const result = this.gather(frames);
    if (result === "sent") this.flush();
    return result;
  }

  /** As `trySend`, but visible only at `flush`, so that several messages wake the peer once. */
  gather(frames: readonly (Uint8Array | string)[]): SendResult {
    if (!this.#isOpen) return "unreachable";
    if (this.#writer.size > localBytesMax) return "full";
    if (this.#writer.size === 0 && this.#outgoing.add(frames)) return "sent";
    if (!this.mayKeep()) return "full";
    this.#writer.add(frames);
    return "sent";
  }

  /**
   * As `gather`, for a message that is framed already, its length included. Keeps nothing: "full"
   * means that the caller has to try again at `onRoom`. A message that is larger than a part of the
   * ring is kept without a copy, one at a time, so its bytes must not change any more.
   */
  gatherFramed(bytes: Buffer, start: number, end: number): SendResult {
    if (!this.#isOpen) return "unreachable";
    if (this.#writer.size > 0) return "full";
    if (end - start > localLongBytes) this.#writer.addShared(bytes.subarray(start, end));
    else if (!this.#outgoing.addFramed(bytes, start, end)) return "full";
    return "sent";
  }

  /**
   * Takes the next whole message without decoding it; see `MessageReader.takeRaw`. Returns false if
   * there is none, or after the end, which `isOver` tells.
   */
  takeRaw(): boolean {
    if (this.#closed) return false;
    if (this.#reader.takeRaw()) return true;
    this.#receive();
    return this.#reader.takeRaw();
  }

  /** The message that `takeRaw` has taken. */
  get framed(): Framed {
    return this.#reader;
  }

  /** The connection has ended, and all that came before is read. */
  get isOver(): boolean {
    return this.#closed || (this.#isOver && !this.#reader.hasMessage);
  }

  /**
   * Returns the next whole message or null; never waits. The last one after the end is `\0lost`.
   */
  tryReceive(framesMax?: number): (string | Buffer)[] | null {
    if (this.#closed) return null;
    this.#receive();
    const message = this.#reader.next(framesMax);
    if (message !== null || !this.#isOver) return message;
    this.drop();
    return [lostConnection];
  }

  /** Sends what there is room for. Returns false if a rest waits for the peer to read. */
  flush(): boolean {
    if (!this.#isOpen) return true;
    while (this.#writer.size > 0) {
      const bytes = this.#writer.first();
      const sent = this.#outgoing.write(bytes);
      this.#writer.took(sent);
      if (sent < bytes.length) break;
    }
    if (this.#outgoing.show()) this.#ring();
    this.#isBehind = this.#writer.size > 0;
    return !this.#isBehind;
  }

  /** True if the other end is closed, even if there is still something to read. */
  get isDead(): boolean {
    return this.#closed || this.#isOver || this.#isLast || isDead(this.line.bell);
  }

  /** Ends it from now on when the peer is halted. */
  watchPeer(): this {
    this.#looks ??= new Pulse(requestorBeatMs, () => this.endIfHalted(requestorSilenceMs));
    return this;
  }

  /** See `PeerWatch.isHalted`. */
  endIfHalted(silenceMs: number): void {
    if (!this.#closed && this.#watch.isHalted(this.heardAt, silenceMs)) this.end();
  }

  /** Ends it if a long message was unfinished at each check for so many ms. */
  endIfUnfinished(ms: number): void {
    if (!this.#watch.isOvertime(!this.#closed && this.#reader.kept > 0, ms)) return;
    this.#isOvertime = true;
    this.end();
  }

  /** Ends it as if the peer had closed it: the reader gets `\0lost`. */
  end(): void {
    this.#hasEnded = true;
    reactor.lookAgain();
  }

  /** Ends it after what there is room for is sent. */
  close(): void {
    this.flush();
    this.drop();
  }

  /** Ends it at once. A second call does nothing. */
  drop(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#looks?.[Symbol.dispose]();
    this.#writer.clear();
    this.#reader.close();
    reactor.unwatch(this);
    this.#incoming.close();
    this.#outgoing.close();
    this.line.memory.unmap();
    // The peer sees EOF at once; a listening alert closes the descriptor itself.
    libc.shutdown(this.line.bell, bothWays);
    if (!this.#isListening) libc.close(this.line.bell);
  }

  get #isOpen(): boolean {
    return !this.#closed && !this.#isOver && !this.#isLast;
  }

  /** Nothing comes any more: what is no message has no end. */
  get #isOver(): boolean {
    return this.#hasEnded || this.#reader.isBroken;
  }

  /** The peer has sent, has made room by reading, or is gone. */
  #deliver(isLast: boolean): void {
    this.#incoming.wake();
    if (isLast) this.#isLast = true;
    if (this.#writer.size > 0) this.flush();
    if (this.#writer.size === 0) this.onRoom?.();
  }

  /** Reads until a message is whole; bounded, so that one busy peer does not block others. */
  #receive(): void {
    for (let reads = 0; reads < localReadsMax && !this.#isOver && !this.#reader.hasMessage; reads++) {
      const size = this.#reader.fill(this.#read);
      if (size > 0) this.heardAt = performance.now();
      else if (this.#isLast) this.#hasEnded = true;
      else return;
    }
  }

  readonly #read = (into: Buffer, at: number): number => {
    const size = this.#incoming.read(into, at);
    if (size > 0 && this.#incoming.isAwaited) this.#ring();
    return size;
  };

  /** Wakes the peer. A failure needs no report: the own bell tells that the peer is gone. */
  #ring(): void {
    libc.send(this.line.bell, word, word.length, sendWithoutWaiting);
  }
}
