/**
 * The client's connection to the engine: one link, and another one each time that it is lost.
 *
 * It stands once the engine has answered a ping. Nothing else is handed to a link before: it would keep it for an engine that comes
 * an hour later. When it is lost, which is told after all that has still come over it, the link is thrown away with what it has not sent
 * yet, and nothing of that reaches the engine by the next one.
 *
 * To an engine without keys on this machine the way past libzmq is tried first. Where nobody is there, ZeroMQ waits for the engine, and
 * once that is found to be there it is tried again: an engine of before, or one behind a tunnel, has no other.
 */
import { isLoopback } from "../exposure.ts";
import { clientLingerMs, drainMessagesMax, localAnswerMs, reconnectMs, reconnectMsMax } from "../limits.ts";
import type { Frame } from "../wire/frame.ts";
import type { SocketOptions } from "../zmq/options.ts";
import { addressIn } from "./endpoint.ts";
import { libzmq } from "./libzmq.ts";
import { type Link, lost } from "./link.ts";
import { LocalLink } from "./local-link.ts";

export interface ConnectionOptions {
  /** `tcp://HOST:PORT` */
  readonly endpoint: string;
  readonly keys: SocketOptions;
  /** Makes a message that whoever is there answers, and that changes nothing. */
  readonly ping: () => readonly string[];
  readonly onMessage: (frames: readonly Frame[]) => void;
  /** Something has been read: `isClear` may be true now. */
  readonly onRead: () => void;
  /** What was sent and not answered never will be: the engine knows us no more. Everything that had come has been told. */
  readonly onLost: () => void;
}

export class Connection {
  readonly #options: ConnectionOptions;
  /** The address of this machine that a way past libzmq may lead to; null for any other. */
  readonly #local: { readonly host: string; readonly port: number } | null;
  /** The last one was lost before it stood, so it does not count. */
  #isLocalRefused = false;
  /** null while it is lost, and once it is closed */
  #link: Link | null = null;
  #stands = false;
  #closed = false;
  #reopening: Timer | undefined;
  /** Why there can be none at present; null where that is not known. */
  #trouble: string | null = null;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#local = localAddressOf(options);
    this.#open();
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Why there is no connection, where that is this program's own doing, in one line; else null. */
  get trouble(): string | null {
    return this.#trouble;
  }

  /** Whether there is a connection by which something new can be asked for. */
  get isClear(): boolean {
    return this.#stands && this.#link?.isClear === true;
  }

  /** Hands over a message. False: there is no connection, or it takes nothing more at present. */
  send(frames: readonly string[]): boolean {
    return this.#stands && this.#link?.send(frames) === true;
  }

  /** What has been handed over still goes out, if that takes no longer than `clientLingerMs`. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#reopening);
    this.#drop(this.#stands ? clientLingerMs : 0);
  }

  #open(): void {
    if (!this.#useLocal()) void this.#useZmq();
  }

  #useLocal(): boolean {
    if (this.#local === null || this.#isLocalRefused) return false;
    const link = LocalLink.to(this.#local.host, this.#local.port);
    if (link === null) return false;
    this.#use(link);
    // Who listens there and says nothing must not keep us from who serves at the port.
    this.#reopening = setTimeout(() => {
      if (!this.#stands) this.#lose(link);
    }, localAnswerMs);
    return true;
  }

  async #useZmq(): Promise<void> {
    try {
      const { ZmqLink } = await libzmq();
      if (this.#closed) return;
      this.#use(new ZmqLink(this.#options.endpoint, this.#options.keys));
      this.#trouble = null;
    } catch (error) {
      this.#trouble = error instanceof Error ? error.message : String(error);
      if (!this.#closed) this.#openLater(reconnectMsMax);
    }
  }

  #use(link: Link): void {
    this.#link = link;
    link.onReadable(() => this.#receive(link));
    link.send(this.#options.ping());
  }

  #drop(lingerMs: number): void {
    this.#stands = false;
    this.#link?.close(lingerMs);
    this.#link = null;
  }

  #receive(link: Link): void {
    this.#drain(link);
    if (this.#stands) this.#options.onRead();
  }

  #drain(link: Link): void {
    for (let count = 0; count < drainMessagesMax; count++) {
      // Whoever was told of the last one may have closed us.
      if (link.closed) return;
      const message = link.receive();
      if (message === null) return;
      if (message === lost) return this.#lose(link);
      if (this.#stands) this.#options.onMessage(message);
      else if (!this.#stand(link)) return;
    }
  }

  /** The first message answers the ping, whatever it says. False where another link is tried instead. */
  #stand(link: Link): boolean {
    clearTimeout(this.#reopening);
    this.#stands = link instanceof LocalLink || !this.#useLocal();
    if (!this.#stands) link.close(0);
    return this.#stands;
  }

  #lose(link: Link): void {
    this.#isLocalRefused = link instanceof LocalLink && !this.#stands;
    this.#drop(0);
    // Not at once: an engine that takes connections and drops them would else be met by a storm of them.
    this.#openLater(reconnectMs);
    this.#options.onLost();
  }

  #openLater(ms: number): void {
    clearTimeout(this.#reopening);
    this.#reopening = setTimeout(() => this.#open(), ms);
  }
}

const localAddressOf = ({ endpoint, keys }: ConnectionOptions): { host: string; port: number } | null => {
  const { host: name, port } = addressIn(endpoint);
  const host = name === "localhost" ? "127.0.0.1" : name;
  return Object.keys(keys).length === 0 && isLoopback(host) ? { host, port } : null;
};
