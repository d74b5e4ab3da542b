/**
 * The client's connection to the engine: a DEALER socket, and another one each time that the connection is lost.
 *
 * It stands once the engine has answered a ping. Nothing else is handed to libzmq before: it would keep it for an engine that comes
 * an hour later. When libzmq says that the connection is lost, which it does after all that has still come over it, the socket
 * is thrown away with what it has not sent yet, and nothing of that reaches the engine by the next connection.
 */
import {
  clientLingerMs,
  drainMessagesMax,
  frameBytesHardMax,
  messageFramesMax,
  peerQueueMessagesMax,
  reconnectMs,
} from "../limits.ts";
import type { SocketOptions } from "../zmq/options.ts";
import { reactor } from "../zmq/reactor.ts";
import { Dealer, type Frame } from "../zmq/socket.ts";

export interface ConnectionOptions {
  /** `tcp://HOST:PORT` */
  readonly endpoint: string;
  readonly keys: SocketOptions;
  /** Makes a message that whoever is there answers, and that changes nothing. */
  readonly ping: () => readonly Uint8Array[];
  readonly onMessage: (message: readonly Frame[]) => void;
  /** Something has been read: `isClear` may be true now. */
  readonly onRead: () => void;
  /** What was sent and not answered never will be: the engine knows us no more. Everything that had come has been told. */
  readonly onLost: () => void;
}

/** What libzmq puts behind the last message of a connection that is lost. No engine's answer looks like it: it is not JSON. */
const lostConnection = "\0lost";
const isLoss = (message: readonly Frame[]): boolean => message.length === 1 && message[0]?.[0] === 0;

const delimiter = new Uint8Array(0);

/** ms that it counts that nothing was unread. A connection takes longer to be lost, and to be there again. */
const lookMs = 1;

export class Connection {
  readonly #options: ConnectionOptions;
  /** null while it is lost, and once it is closed */
  #dealer: Dealer | null;
  #stands = false;
  #closed = false;
  #reopening: Timer | undefined;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#dealer = this.#open();
  }

  get closed(): boolean {
    return this.#closed;
  }

  /**
   * Whether there is a connection by which something new can be asked for. Not while there is anything unread: it may be the
   * word that the connection is lost, and libzmq may have the next one already.
   * A look of just now will do: what is sent in a row must not look each time.
   */
  get isClear(): boolean {
    if (this.#dealer === null || !this.#stands) return false;
    if (performance.now() - this.#dealer.emptyAt < lookMs || !this.#dealer.readable) return true;
    // By looking, we may have taken from the reactor the word that there is something.
    reactor.lookAgain();
    return false;
  }

  /** Hands over a message, without the delimiter. False: there is no connection, or it takes nothing more at present. */
  send(frames: readonly Uint8Array[]): boolean {
    return this.#stands && this.#dealer?.trySend([delimiter, ...frames]) === "sent";
  }

  /** What has been handed over still goes out, if that takes no longer than `clientLingerMs`. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#reopening);
    if (this.#stands) this.#dealer?.set({ linger: clientLingerMs });
    this.#drop();
  }

  #open(): Dealer {
    const dealer = new Dealer({
      ...this.#options.keys,
      hiccupMessage: lostConnection,
      linger: 0,
      sendHighWaterMark: peerQueueMessagesMax,
      receiveHighWaterMark: peerQueueMessagesMax,
      maxMessageSize: frameBytesHardMax,
      reconnectInterval: reconnectMs,
      reconnectIntervalMax: 1_000,
      heartbeatInterval: 2_000,
      heartbeatTimeout: 6_000,
    });
    dealer.onReadable(() => this.#receive(dealer));
    dealer.connect(this.#options.endpoint);
    dealer.trySend([delimiter, ...this.#options.ping()]);
    return dealer;
  }

  #drop(): void {
    this.#stands = false;
    this.#dealer?.close();
    this.#dealer = null;
  }

  #receive(dealer: Dealer): void {
    this.#drain(dealer);
    if (this.#stands) this.#options.onRead();
  }

  #drain(dealer: Dealer): void {
    for (let count = 0; count < drainMessagesMax; count++) {
      // Whoever was told of the last one may have closed us.
      if (dealer.closed) return;
      const message = dealer.tryReceive(messageFramesMax + 1);
      if (message === null) return;
      if (isLoss(message)) return this.#lose();
      // The first one answers the ping, whatever it says.
      if (this.#stands) this.#options.onMessage(message);
      else this.#stands = true;
    }
  }

  #lose(): void {
    this.#drop();
    // Not at once: an engine that takes connections and drops them would else be met by a storm of them.
    this.#reopening = setTimeout(() => {
      this.#dealer = this.#open();
    }, reconnectMs);
    this.#options.onLost();
  }
}
