/**
 * ZeroMQ sockets with the names of zeromq.js (`new Router()`, `bind`, `send`, `receive`), and calls
 * that never wait: `trySend`, `tryReceive`, `onReadable`.
 */
import type { Pointer } from "bun:ffi";
import { DescriptorAlert } from "../alert.ts";
import { cString, duplicateOf } from "../libc.ts";
import { type Alert, reactor, type Source } from "../reactor.ts";
import type { SendResult } from "../transport.ts";
import { admission } from "./admission.ts";
import { openSockets, sharedContext } from "./context.ts";
import { errno, lastError, readIntOption, ZmqError, zmq } from "./library.ts";
import { copyOfPart, FirstFrames, locate, messageAddress, placeholder } from "./message.ts";
import {
  checkOptions,
  dontWait,
  eventsOption,
  fdOption,
  isSecretOption,
  lastEndpointOption,
  optionByName,
  optionBytes,
  pollIn,
  pollOut,
  type SocketOptions,
  type SocketType,
  sendMore,
  socketType,
} from "./options.ts";
import { noPeer, type Peer, peerOf } from "./peer.ts";

export class Socket implements Source {
  /** When there was last nothing to receive, on the clock of performance.now(). */
  emptyAt = Number.NEGATIVE_INFINITY;
  readonly #handle: Pointer;
  #closed = false;
  #asksForPeers: boolean;
  #lastPeer: Peer = noPeer;
  #isKnownEmpty = false;
  readonly #firstFrames = new FirstFrames();
  #onReadable: (() => void) | null = null;
  #receivers: { resolve: (frames: Buffer[]) => void; reject: (error: Error) => void }[] = [];

  constructor(type: SocketType, options: SocketOptions = {}) {
    const handle = zmq.zmq_socket(sharedContext(), socketType[type]) as Pointer | null;
    if (handle === null) throw lastError(`zmq_socket(${type})`);
    this.#handle = handle;
    openSockets.add(this);
    this.#asksForPeers = type === "xpub";
    this.set({ linger: 0, ...options });
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Sets options; throws ZmqError for a value that libzmq refuses. */
  set(options: SocketOptions): void {
    checkOptions(options);
    for (const [name, value] of Object.entries(options)) {
      const option = optionByName.get(name);
      if (option === undefined) throw new TypeError(`no such socket option: ${name}`);
      const bytes = optionBytes(option.type, value);
      const size = bytes.byteLength;
      if (zmq.zmq_setsockopt(this.#handle, option.number, size === 0 ? placeholder : bytes, size) !== 0) {
        throw lastError(`cannot set ${name} to ${isSecretOption(name) ? "the value given" : String(value)}`);
      }
      if (name === "curveServer") this.#asksForPeers ||= Boolean(value);
    }
  }

  /**
   * @param endpoint `tcp://HOST:PORT`, port `*` or 0 for a free one. Throws ZmqError, e.g.
   * EADDRINUSE.
   */
  bind(endpoint: string): void {
    const text = cString(endpoint);
    if (zmq.zmq_bind(this.#handle, text) !== 0) throw lastError(`cannot bind ${endpoint}`);
  }

  /** Starts to connect, and to connect again whenever the connection is lost; never waits. */
  connect(endpoint: string): void {
    const text = cString(endpoint);
    if (zmq.zmq_connect(this.#handle, text) !== 0) throw lastError(`cannot connect to ${endpoint}`);
  }

  /** Gives an endpoint up at once; closing does so a little later. */
  unbind(endpoint: string): void {
    const text = cString(endpoint);
    if (zmq.zmq_unbind(this.#handle, text) !== 0) throw lastError(`cannot unbind ${endpoint}`);
  }

  /** The endpoint as bound, with its real port. */
  get lastEndpoint(): string {
    const text = new Uint8Array(256);
    const size = new BigUint64Array([256n]);
    if (zmq.zmq_getsockopt(this.#handle, lastEndpointOption, text, size) !== 0) {
      throw lastError("cannot read the endpoint");
    }
    return Buffer.from(text.buffer, 0, Number(size[0]) - 1).toString();
  }

  /** From the next message on, `lastPeer` is its sender. */
  askForPeers(): void {
    this.#asksForPeers = true;
  }

  /**
   * Sender of the last received message; `noPeer` if not asked for. CURVE servers and XPUB ask
   * always.
   */
  get lastPeer(): Peer {
    return this.#lastPeer;
  }

  get descriptor(): number {
    return readIntOption(this.#handle, fdOption);
  }

  get readable(): boolean {
    if (this.#closed) return false;
    this.#isKnownEmpty = (readIntOption(this.#handle, eventsOption) & pollIn) === 0;
    return !this.#isKnownEmpty;
  }

  /** libzmq has not been called for this socket since. */
  get isKnownEmpty(): boolean {
    return this.#isKnownEmpty;
  }

  expect(): void {
    this.#isKnownEmpty = false;
  }

  listen(onAlert: () => void): Alert {
    // A duplicate, since libzmq may close its own, and the number may then be another file's.
    const descriptor = duplicateOf(this.descriptor);
    if (descriptor === null) throw new Error("there is no file descriptor left to wait for a socket");
    const expectIt = (): void => {
      this.expect();
      onAlert();
    };
    // libzmq reads this eventfd(2), too, so what the alert reads is written back.
    return new DescriptorAlert({ descriptor, givesBack: true, onAlert: expectIt });
  }

  /** libzmq had something to do, and it was no message: a peer has connected, or is gone. */
  onNothing(): void {
    admission.lookSoon();
  }

  /**
   * Sends a whole message or nothing; never waits. The bytes are copied. Throws ZmqError for errors
   * other than a full queue or a missing peer.
   * @param to routing id of a ROUTER's peer; null if it is the first frame, or for other sockets
   */
  trySend(frames: readonly (Uint8Array | string)[], to: Uint8Array | null = null): SendResult {
    // libzmq may take in an arrival during the call, and with it the edge that would have woken us.
    reactor.lookAgain();
    this.#isKnownEmpty = false;
    const first = to === null ? 0 : -1;
    const last = frames.length - 1;
    for (let index = first; index <= last; index++) {
      const frame = (index < 0 ? to : frames[index]) ?? "";
      const flags = index < last ? dontWait | sendMore : dontWait;
      let sent = this.#sendFrame(frame, flags);
      // libzmq checks at most once per ms if a full queue was read; reading the events makes it
      // check.
      if (sent < 0 && zmq.zmq_errno() === errno.EAGAIN && (readIntOption(this.#handle, eventsOption) & pollOut) !== 0) {
        sent = this.#sendFrame(frame, flags);
      }
      if (sent >= 0) continue;
      const code = zmq.zmq_errno();
      if (index > first) throw new ZmqError("a message was sent in part", code);
      if (code === errno.EAGAIN) return "full";
      if (code === errno.EHOSTUNREACH) return "unreachable";
      throw new ZmqError("cannot send", code);
    }
    return "sent";
  }

  /** A signal that arrives in the middle of it is no reason not to send. */
  #sendFrame(frame: Uint8Array | string, flags: number): number {
    const [start, size] = locate(frame);
    let sent = zmq.zmq_send(this.#handle, start, size, flags);
    while (sent < 0 && zmq.zmq_errno() === errno.EINTR) sent = zmq.zmq_send(this.#handle, start, size, flags);
    return sent;
  }

  /** zeromq.js's form: fails where the message cannot be queued at once. */
  async send(frames: readonly (Uint8Array | string)[]): Promise<void> {
    const result = this.trySend(frames);
    if (result !== "sent") throw new Error(`cannot send: ${result === "full" ? "the queue is full" : "no such peer"}`);
  }

  /**
   * Returns the next whole message or null; never waits. Of a message with more than `framesMax`
   * frames only the first `framesMax` are kept.
   */
  tryReceive(framesMax = Number.POSITIVE_INFINITY): Buffer[] | null {
    const frames: Buffer[] = [];
    for (;;) {
      const size = zmq.zmq_msg_recv(messageAddress, this.#handle, dontWait);
      if (size < 0) {
        const code = zmq.zmq_errno();
        if (code === errno.EINTR) continue;
        if (code === errno.EAGAIN && frames.length === 0) {
          this.#isKnownEmpty = true;
          this.emptyAt = performance.now();
          return null;
        }
        throw new ZmqError("cannot receive", code);
      }
      if (this.#asksForPeers && frames.length === 0) this.#lastPeer = peerOf(messageAddress);
      if (frames.length === 0) frames.push(this.#firstFrames.copyOfPart(size));
      else if (frames.length < framesMax) frames.push(copyOfPart(size));
      if (zmq.zmq_msg_more(messageAddress) === 0) return frames;
    }
  }

  /**
   * Calls `handler` whenever there is something to receive, until the socket is closed. It must
   * take at least one message; it is called again, after other sockets, while any is left.
   */
  onReadable(handler: () => void): void {
    if (this.#onReadable !== null) throw new Error("the socket has its reader already");
    this.#onReadable = handler;
    reactor.watch(this, handler);
  }

  /** The next message. Rejects when the socket is closed while it waits. */
  receive(): Promise<Buffer[]> {
    if (this.#closed) return Promise.reject(new Error("the socket is closed"));
    if (this.#onReadable === null) this.onReadable(() => this.#giveToReceivers());
    const { promise, resolve, reject } = Promise.withResolvers<Buffer[]>();
    this.#receivers.push({ resolve, reject });
    this.#giveToReceivers();
    return promise;
  }

  #giveToReceivers(): void {
    if (this.#receivers.length === 0) {
      // Without a receiver, messages stay in libzmq, whose queue is bounded.
      reactor.pause(this);
      return;
    }
    reactor.resume(this);
    while (this.#receivers.length > 0) {
      const frames = this.tryReceive();
      if (frames === null) return;
      this.#receivers.shift()?.resolve(frames);
    }
  }

  /** Closes at once; what is unsent goes out within `linger`. A second call does nothing. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    openSockets.delete(this);
    reactor.unwatch(this);
    zmq.zmq_close(this.#handle);
    for (const receiver of this.#receivers.splice(0)) receiver.reject(new Error("the socket was closed"));
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

export class Router extends Socket {
  constructor(options: SocketOptions = {}) {
    super("router", options);
  }
}

export class Dealer extends Socket {
  constructor(options: SocketOptions = {}) {
    super("dealer", options);
  }
}

export class Subscriber extends Socket {
  constructor(options: SocketOptions = {}) {
    super("sub", options);
  }

  /** @param prefixes beginnings of topics; the empty one is every topic. */
  subscribe(...prefixes: string[]): void {
    for (const prefix of prefixes) this.set({ subscribe: prefix });
  }
}

export class XPublisher extends Socket {
  constructor(options: SocketOptions = {}) {
    super("xpub", options);
  }
}
