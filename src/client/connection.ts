/**
 * The client's connection to the engine: see transport/redial.ts.
 *
 * The connection stands once the engine has answered a ping, and the link gets nothing else before:
 * it would keep it for an engine that comes an hour later. A lost link is thrown away with its
 * unsent messages, so that the engine gets none of them by the next one.
 */
import { clientLingerMs, drainMessagesMax } from "../limits.ts";
import { addressIn } from "../protocol/address.ts";
import type { Frame } from "../protocol/frame.ts";
import { Redial } from "../transport/redial.ts";
import { type ClientConnection, saysLost } from "../transport/transport.ts";
import type { SocketOptions } from "../transport/zmq/options.ts";
import { libzmq } from "./libzmq.ts";
import type { LocalEngine } from "./local.ts";
import { PortCheck, type PortProblem } from "./port-check.ts";

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
  readonly onProblem: (problem: PortProblem) => void;
}

export class EngineConnection {
  readonly #options: EngineConnectionOptions;
  readonly #portCheck: PortCheck;
  readonly #redial: Redial<ClientConnection>;
  #hasStood = false;
  #closed = false;

  constructor(options: EngineConnectionOptions) {
    this.#options = options;
    const { endpoint, keys, local } = options;
    const { host, port } = addressIn(endpoint);
    const isWanted = (): boolean => !this.#closed && !this.#redial.stands && options.isAwaited();
    const onProblem = (problem: PortProblem): void => this.#reportProblem(problem);
    this.#portCheck = new PortCheck(host, port, Object.keys(keys).length > 0, isWanted, onProblem);
    this.#redial = new Redial({
      local: () => local.dialRouter(),
      zmq: async () => (await libzmq()).openZmqClient(endpoint, keys),
      use: (link) => {
        link.onReadable(() => this.#receive(link));
        link.trySend(options.ping());
      },
      onLost: options.onLost,
      onFault: () => this.#tell({ why: this.#redial.fault ?? "", isFinal: false }),
    });
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** The engine has answered, and the connection is not lost. */
  get stands(): boolean {
    return this.#redial.stands;
  }

  /** The reason why there is no connection, if it is known. */
  get problem(): string | null {
    return this.#redial.fault ?? this.#portCheck.why;
  }

  /** Says that a request waits for the connection: if it does not come, the port is checked. */
  await(): void {
    if (!this.#redial.stands) this.#portCheck.start();
  }

  /** True if a new request can be sent. */
  get isClear(): boolean {
    return this.#redial.stands && this.#redial.link?.isClear === true;
  }

  /** Returns false if there is no connection, or it takes no more at present. */
  send(frames: readonly string[]): boolean {
    return this.#redial.stands && this.#redial.link?.trySend(frames) === "sent";
  }

  /** Messages that were sent still go out, if that takes no longer than `clientLingerMs`. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#portCheck.stop();
    const { stands } = this.#redial;
    const link = this.#redial.close();
    if (stands) await link?.linger(clientLingerMs);
    link?.close();
  }

  #receive(link: ClientConnection): void {
    this.#drain(link);
    if (this.#redial.stands) this.#options.onRead();
  }

  #drain(link: ClientConnection): void {
    for (let count = 0; count < drainMessagesMax; count++) {
      // The handler of the last message may have closed the client.
      if (link.closed) return;
      const message = link.tryReceive();
      if (message === null) return;
      if (saysLost(message)) return this.#redial.lose();
      if (this.#redial.stands) this.#options.onMessage(message);
      else if (!this.#stand()) return;
    }
  }

  /** The first message answers the ping. Returns false if another link is tried instead. */
  #stand(): boolean {
    this.#portCheck.clear();
    this.#hasStood = true;
    return this.#redial.stand();
  }

  /**
   * Keys that do not fit the port's do not concern the owner of an engine that has started
   * meanwhile: that one has a local link, or will have.
   */
  #reportProblem(problem: PortProblem): void {
    if (!problem.isFinal) this.#tell(problem);
    else if (!this.#redial.tryLocal() && (this.#redial.isLocalRefused || !this.#options.local.mayCome)) {
      this.#tell(problem);
    }
  }

  #tell(problem: PortProblem): void {
    if (!this.#hasStood) this.#options.onProblem(problem);
  }
}
