/**
 * The client's connection to the engine. It holds one link, and another one each time that it is
 * lost.
 *
 * The connection stands once the engine has answered a ping, and the link gets nothing else before:
 * it would keep it for an engine that comes an hour later. A lost link is thrown away with its
 * unsent messages, so that the engine gets none of them by the next one.
 *
 * For an engine on this machine the local link is tried first (see local.ts). Where that finds
 * nobody, ZeroMQ waits for the engine, and the local link is tried again once it is there.
 */
import { clientLingerMs, drainMessagesMax, localAnswerMs, reconnectMs, reconnectMsMax } from "../limits.ts";
import { addressIn } from "../protocol/address.ts";
import type { Frame } from "../protocol/frame.ts";
import { type ClientConnection, saysLost } from "../transport/transport.ts";
import type { SocketOptions } from "../transport/zmq/options.ts";
import { libzmq } from "./libzmq.ts";
import type { LocalEngine } from "./local.ts";
import { PortCheck, type Trouble } from "./trouble.ts";

interface EngineConnectionOptions {
  /** `tcp://HOST:PORT` */
  readonly endpoint: string;
  readonly keys: SocketOptions;
  readonly local: LocalEngine;
  /** Makes a message that every engine answers, and that changes nothing. */
  readonly ping: () => readonly string[];
  readonly onMessage: (frames: readonly Frame[]) => void;
  /** Something was read: `isClear` may be true now. */
  readonly onRead: () => void;
  /**
   * Requests that were sent get no reply any more. All replies that arrived were handed over
   * before.
   */
  readonly onLost: () => void;
  /** Returns true if a request waits for the connection. */
  readonly isAwaited: () => boolean;
  /** Gets the reason why there never was a connection, perhaps several times. */
  readonly onTrouble: (trouble: Trouble) => void;
}

export class EngineConnection {
  readonly #options: EngineConnectionOptions;
  readonly #portCheck: PortCheck;
  /** The last local link was lost before it stood, so the next one goes by ZeroMQ. */
  #isLocalRefused = false;
  /** null while the connection is lost, and once it is closed */
  #link: ClientConnection | null = null;
  #isLocal = false;
  #stands = false;
  #hasStood = false;
  #closed = false;
  #reopening: Timer | undefined;
  /** The reason why libzmq cannot be used; null if it can. */
  #fault: string | null = null;

  constructor(options: EngineConnectionOptions) {
    this.#options = options;
    const { host, port } = addressIn(options.endpoint);
    const hasKeys = Object.keys(options.keys).length > 0;
    const isWanted = (): boolean => !this.#closed && !this.#stands && options.isAwaited();
    this.#portCheck = new PortCheck(host, port, hasKeys, isWanted, (trouble) => this.#reportTrouble(trouble));
    this.#open();
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** The reason why there is no connection, if it is known. */
  get trouble(): string | null {
    return this.#fault ?? this.#portCheck.why;
  }

  /** Says that a request waits for the connection: if it does not come, the port is checked. */
  await(): void {
    if (!this.#stands) this.#portCheck.start();
  }

  /** True if a new request can be sent. */
  get isClear(): boolean {
    return this.#stands && this.#link?.isClear === true;
  }

  /** Returns false if there is no connection, or it takes no more at present. */
  send(frames: readonly string[]): boolean {
    return this.#stands && this.#link?.trySend(frames) === "sent";
  }

  /** Messages that were sent still go out, if that takes no longer than `clientLingerMs`. */
  close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#reopening);
    this.#portCheck.stop();
    return this.#drop(this.#stands ? clientLingerMs : 0);
  }

  #open(): void {
    if (!this.#useLocal()) void this.#useZmq();
  }

  #useLocal(): boolean {
    const link = this.#isLocalRefused ? null : this.#options.local.dialRouter();
    if (link === null) return false;
    this.#use(link, true);
    // A process that listens there and says nothing must not keep us from the engine at the port.
    this.#reopening = setTimeout(() => {
      if (!this.#stands) this.#lose();
    }, localAnswerMs);
    return true;
  }

  async #useZmq(): Promise<void> {
    try {
      const { openZmqClient } = await libzmq();
      if (this.#closed || this.#link !== null) return;
      this.#use(openZmqClient(this.#options.endpoint, this.#options.keys), false);
      this.#fault = null;
    } catch (error) {
      this.#fault = error instanceof Error ? error.message : String(error);
      this.#tell({ why: this.#fault, isFinal: false });
      if (!this.#closed) this.#openLater(reconnectMsMax);
    }
  }

  #use(link: ClientConnection, isLocal: boolean): void {
    this.#link = link;
    this.#isLocal = isLocal;
    link.onReadable(() => this.#receive(link));
    link.trySend(this.#options.ping());
  }

  #receive(link: ClientConnection): void {
    this.#drain(link);
    if (this.#stands) this.#options.onRead();
  }

  #drain(link: ClientConnection): void {
    for (let count = 0; count < drainMessagesMax; count++) {
      // The handler of the last message may have closed the client.
      if (link.closed) return;
      const message = link.tryReceive();
      if (message === null) return;
      if (saysLost(message)) return this.#lose();
      if (this.#stands) this.#options.onMessage(message);
      else if (!this.#stand(link)) return;
    }
  }

  /** The first message answers the ping. Returns false if another link is tried instead. */
  #stand(link: ClientConnection): boolean {
    clearTimeout(this.#reopening);
    this.#portCheck.clear();
    this.#hasStood = true;
    this.#stands = this.#isLocal || !this.#useLocal();
    if (!this.#stands) link.close();
    return this.#stands;
  }

  #lose(): void {
    this.#isLocalRefused = this.#isLocal && !this.#stands;
    void this.#drop(0);
    // After a pause, since an engine may take connections and drop them.
    this.#openLater(reconnectMs);
    this.#options.onLost();
  }

  async #drop(lingerMs: number): Promise<void> {
    this.#stands = false;
    const link = this.#link;
    this.#link = null;
    if (lingerMs > 0) await link?.linger(lingerMs);
    link?.close();
  }

  #openLater(ms: number): void {
    clearTimeout(this.#reopening);
    this.#reopening = setTimeout(() => this.#open(), ms);
  }

  /**
   * Keys that do not fit the port's are no trouble for the owner of an engine that has started
   * meanwhile: that one has a local link, or will have.
   */
  #reportTrouble(trouble: Trouble): void {
    const link = this.#link;
    if (!trouble.isFinal) return this.#tell(trouble);
    if (link !== null && this.#isLocal) return;
    if (this.#useLocal()) link?.close();
    else if (this.#isLocalRefused || !this.#options.local.mayCome) this.#tell(trouble);
  }

  #tell(trouble: Trouble): void {
    if (!this.#hasStood) this.#options.onTrouble(trouble);
  }
}
