/**
 * The client's connection to the engine: one link, and another one each time that it is lost.
 *
 * It stands once the engine has answered a ping. Nothing else is handed to a link before: it would keep it for an engine that comes
 * an hour later. When it is lost, which is told after all that has still come over it, the link is thrown away with what it has not sent
 * yet, and nothing of that reaches the engine by the next one.
 *
 * Why there is none libzmq does not say. Where somebody waits for it, a look is taken at the port, now and then.
 *
 * To an engine without keys on this machine the way past libzmq is tried first. Where nobody is there, ZeroMQ waits for the engine, and
 * once that is found to be there it is tried again: an engine of before, or one behind a tunnel, has no other.
 */

import {
  clientLingerMs,
  drainMessagesMax,
  localAnswerMs,
  probeAfterMs,
  probeEveryMs,
  reconnectMs,
  reconnectMsMax,
} from "../limits.ts";
import type { Frame } from "../protocol/frame.ts";
import { isLoopback } from "../security/exposure.ts";
import { ShmClient } from "../transport/shm/client.ts";
import { type ClientConnection, saysLost } from "../transport/transport.ts";
import type { SocketOptions } from "../transport/zmq/options.ts";
import { probe } from "../transport/zmq/probe.ts";
import { addressIn } from "./endpoint.ts";
import { libzmq } from "./libzmq.ts";
import { socketOptions } from "./socket-options.ts";
import { type Trouble, troubleOf } from "./trouble.ts";

export interface EngineConnectionOptions {
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
  /** Whether anything waits for the connection. */
  readonly isAwaited: () => boolean;
  /** There never was a connection, and this is why. It may be told again. */
  readonly onTrouble: (trouble: Trouble) => void;
}

export class EngineConnection {
  readonly #options: EngineConnectionOptions;
  /** The address of this machine that a way past libzmq may lead to; null for any other. */
  readonly #local: { readonly host: string; readonly port: number } | null;
  /** The last one was lost before it stood, so it does not count. */
  #isLocalRefused = false;
  /** null while it is lost, and once it is closed */
  #link: ClientConnection | null = null;
  /** It goes past libzmq. */
  #isLocal = false;
  #stands = false;
  #hasStood = false;
  #closed = false;
  #reopening: Timer | undefined;
  /** Why libzmq cannot be used; null where it can. */
  #fault: string | null = null;
  /** Why there is no connection, as a look at the port has found last; null where that has found nothing wrong. */
  #trouble: Trouble | null = null;
  #look: Timer | undefined;
  #isLooking = false;

  constructor(options: EngineConnectionOptions) {
    this.#options = options;
    this.#local = localAddressOf(options);
    this.#open();
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Why there is no connection, as far as that is known; else null. */
  get trouble(): string | null {
    if (this.#fault !== null) return this.#fault;
    return this.#trouble?.why ?? (this.#isLooking ? nothingComes : null);
  }

  /** Something waits for the connection: where it does not come, it is found out why. */
  await(): void {
    if (!this.#stands && !this.#isLooking) this.#lookIn(probeAfterMs);
  }

  /** Whether there is a connection by which something new can be asked for. */
  get isClear(): boolean {
    return this.#stands && this.#link?.isClear === true;
  }

  /** Hands over a message. False: there is no connection, or it takes nothing more at present. */
  send(frames: readonly string[]): boolean {
    return this.#stands && this.#link?.trySend(frames) === "sent";
  }

  /** What has been handed over still goes out, if that takes no longer than `clientLingerMs`. */
  close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#reopening);
    clearTimeout(this.#look);
    return this.#drop(this.#stands ? clientLingerMs : 0);
  }

  #open(): void {
    if (!this.#useLocal()) void this.#useZmq();
  }

  #useLocal(): boolean {
    if (this.#local === null || this.#isLocalRefused) return false;
    const link = ShmClient.to(this.#local.host, this.#local.port);
    if (link === null) return false;
    this.#use(link, true);
    // Who listens there and says nothing must not keep us from who serves at the port.
    this.#reopening = setTimeout(() => {
      if (!this.#stands) this.#lose();
    }, localAnswerMs);
    return true;
  }

  async #useZmq(): Promise<void> {
    try {
      const { ZmqClient } = await libzmq();
      if (this.#closed) return;
      this.#use(new ZmqClient(this.#options.endpoint, { ...this.#options.keys, ...socketOptions }), false);
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

  async #drop(lingerMs: number): Promise<void> {
    this.#stands = false;
    const link = this.#link;
    this.#link = null;
    if (lingerMs > 0) await link?.linger(lingerMs);
    link?.close();
  }

  #receive(link: ClientConnection): void {
    this.#drain(link);
    if (this.#stands) this.#options.onRead();
  }

  #drain(link: ClientConnection): void {
    for (let count = 0; count < drainMessagesMax; count++) {
      // Whoever was told of the last one may have closed us.
      if (link.closed) return;
      const message = link.tryReceive();
      if (message === null) return;
      if (saysLost(message)) return this.#lose();
      if (this.#stands) this.#options.onMessage(message);
      else if (!this.#stand(link)) return;
    }
  }

  /** The first message answers the ping, whatever it says. False where another link is tried instead. */
  #stand(link: ClientConnection): boolean {
    clearTimeout(this.#reopening);
    this.#trouble = null;
    this.#hasStood = true;
    this.#stands = this.#isLocal || !this.#useLocal();
    if (!this.#stands) link.close();
    return this.#stands;
  }

  #lose(): void {
    this.#isLocalRefused = this.#isLocal && !this.#stands;
    void this.#drop(0);
    // Not at once: an engine that takes connections and drops them would else be met by a storm of them.
    this.#openLater(reconnectMs);
    this.#options.onLost();
  }

  #lookIn(ms: number): void {
    this.#look ??= setTimeout(() => {
      this.#look = undefined;
      void this.#lookAtPort();
    }, ms);
  }

  async #lookAtPort(): Promise<void> {
    const isWanted = (): boolean => !this.#closed && !this.#stands && this.#options.isAwaited();
    if (!isWanted()) return;
    const { endpoint, keys } = this.#options;
    const { host, port } = addressIn(endpoint);
    this.#isLooking = true;
    const finding = await probe(host, port, isWanted);
    this.#isLooking = false;
    if (finding === null || this.#stands) return;
    this.#trouble = troubleOf(finding, host, Object.keys(keys).length > 0);
    this.#tell(this.#trouble);
    if (isWanted()) this.#lookIn(probeEveryMs);
  }

  #tell(trouble: Trouble | null): void {
    if (trouble !== null && !this.#hasStood) this.#options.onTrouble(trouble);
  }

  #openLater(ms: number): void {
    clearTimeout(this.#reopening);
    this.#reopening = setTimeout(() => this.#open(), ms);
  }
}

const nothingComes =
  "nothing comes back from there; check the address, that the machine is on, and that no firewall drops what is sent";

const localAddressOf = ({ endpoint, keys }: EngineConnectionOptions): { host: string; port: number } | null => {
  const { host: name, port } = addressIn(endpoint);
  const host = name === "localhost" ? "127.0.0.1" : name;
  return Object.keys(keys).length === 0 && isLoopback(host) ? { host, port } : null;
};
