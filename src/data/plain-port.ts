/**
 * The port of publishers that are a plain PUB socket: a SUB socket that binds. They get no answer,
 * so a value that is refused is counted, and the first of a kind is logged.
 */
import { drainMessagesMax, logLinesOfRefusalsMax, streamQueueMessagesMax, valueOverheadBytes } from "../limits.ts";
import type { ErrorBody } from "../protocol/errors.ts";
import { badFrame } from "../protocol/schema.ts";
import type { Gate } from "../security/gate.ts";
import { encodedBytesMax, encodeInto, sizeBytes } from "../transport/shm/framing.ts";
import { Subscriber } from "../transport/zmq/socket.ts";
import { Incoming } from "./incoming.ts";
import type { StorePeer, TopicStore } from "./topic-store.ts";

export class PlainPort implements StorePeer {
  readonly #store: TopicStore;
  readonly #gate: Gate;
  readonly #socket: Subscriber;
  readonly #onValue: () => void;
  readonly #byUser = new Map<string | null, Incoming>();
  /** Kinds of refusals that are in the log. */
  readonly #logged = new Set<string>();

  /**
   * @param valueBytesMax bytes of one value
   * @param onValue values have been taken
   */
  constructor(store: TopicStore, gate: Gate, valueBytesMax: number, onValue: () => void) {
    this.#store = store;
    this.#gate = gate;
    this.#onValue = onValue;
    this.#socket = new Subscriber({
      ...gate.serverOptions,
      maxMessageSize: valueBytesMax + valueOverheadBytes,
      receiveHighWaterMark: streamQueueMessagesMax,
    });
    store.join(this);
  }

  /** Throws ZmqError if the port cannot be had. */
  bind(endpoint: string): void {
    this.#socket.subscribe("");
    this.#socket.bind(endpoint);
    this.#gate.guard(this.#socket, 0);
    this.#socket.onReadable(() => this.#read());
  }

  /** The bound address, with its real port. */
  get endpoint(): string {
    return this.#socket.lastEndpoint;
  }

  forget(): void {
    this.#byUser.clear();
  }

  close(): void {
    this.#socket.close();
  }

  #read(): void {
    this.#store.tick();
    for (let count = 0; count < drainMessagesMax; count++) {
      const message = this.#socket.tryReceive(4);
      if (message === null) break;
      const user = this.#gate.userOf(this.#socket);
      if (message.length === 3) {
        const bytes = Buffer.allocUnsafeSlow(encodedBytesMax(message));
        this.#incomingOf(user).receive(bytes, sizeBytes, encodeInto(bytes, 0, message));
      } else this.#refuse(user, badFrame("message", "not a topic, META and a payload"));
    }
    this.#onValue();
  }

  #incomingOf(user: string | null): Incoming {
    let incoming = this.#byUser.get(user);
    if (incoming === undefined) {
      incoming = new Incoming(this.#store, {
        user,
        isChecked: true,
        confirm: () => undefined,
        refuse: (_topic, _serial, error) => this.#refuse(user, error),
        // A PUB socket sends its values to all data workers.
        moved: () => undefined,
      });
      this.#byUser.set(user, incoming);
    }
    return incoming;
  }

  #refuse(user: string | null, { code, message }: ErrorBody): void {
    this.#store.drop("plainValueRefused");
    const kind = `${code} ${user}`;
    if (this.#logged.has(kind) || this.#logged.size >= logLinesOfRefusalsMax) return;
    this.#logged.add(kind);
    const who = user === null ? "" : ` of ${user}`;
    this.#gate.warn(`Refused a value${who} at ${this.endpoint}: ${code}: ${message}; the same again is only counted`);
  }
}
