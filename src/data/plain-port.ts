/**
 * The port of publishers that are a plain PUB socket: a SUB socket that binds. They get no answer,
 * so a value that is refused is counted, and the first of a kind is logged.
 */
import { drainMessagesMax, logLinesOfRefusalsMax, streamQueueMessagesMax, valueOverheadBytes } from "../limits.ts";
import { type ErrorBody, ProtocolError } from "../protocol/errors.ts";
import { badFrame } from "../protocol/schema.ts";
import { decodePublication, mistakeInPayload } from "../protocol/values.ts";
import type { Gate } from "../security/gate.ts";
import { encodedBytesMax, encodeInto } from "../transport/shm/framing.ts";
import { Subscriber } from "../transport/zmq/socket.ts";
import { KnownTopics } from "./known-topics.ts";
import type { Topic } from "./topic.ts";
import type { StorePeer, TopicStore } from "./topic-store.ts";

export class PlainPort implements StorePeer {
  readonly #store: TopicStore;
  readonly #gate: Gate;
  readonly #socket: Subscriber;
  readonly #onValue: () => void;
  /** By user. */
  readonly #known = new Map<string | null, KnownTopics>();
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

  follow(): void {
    // It sends nothing.
  }

  forget(): void {
    this.#known.clear();
  }

  ownersChanged(): void {
    this.forget();
  }

  accessChanged(): void {
    this.forget();
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
      const refusal = this.#receive(user, message);
      if (refusal !== null) this.#refuse(user, refusal);
    }
    this.#onValue();
  }

  /** Returns why it is not taken; null if it is. */
  #receive(user: string | null, message: readonly Buffer[]): ErrorBody | null {
    const [name, meta, payload] = message;
    if (name === undefined || meta === undefined || payload === undefined || message.length > 3) {
      return badFrame("message", "not a topic, META and a payload");
    }
    const known = this.#topicsOf(user).find(name, 0, name.length);
    let topic: Topic | null = null;
    if (known?.meta.fits(meta, 0, meta.length, payload.length) === true) {
      const mistake = known.isJson ? mistakeInPayload({}, payload) : null;
      if (mistake !== null) return mistake;
      topic = known.topic;
    } else {
      const checked = this.#check(user, name, meta, payload);
      if (checked === null || "code" in checked) return checked;
      topic = checked;
    }
    const frames = [name, meta, payload];
    const bytes = Buffer.allocUnsafeSlow(encodedBytesMax(frames));
    const end = encodeInto(bytes, 0, frames);
    const metaAt = end - payload.length - 4 - meta.length;
    if (this.#store.append(topic, bytes, metaAt, meta.length, end)) return null;
    return { code: "STORE_FULL", message: this.#store.fullMessage };
  }

  /** Returns the topic, why it is refused, or null for a topic of another data worker. */
  #check(user: string | null, name: Buffer, meta: Buffer, payload: Buffer): Topic | ErrorBody | null {
    const publication = decodePublication(meta, payload.length);
    if (publication instanceof ProtocolError) return publication;
    const refusal = this.#store.refusalOf(user, name.toString(), payload.length);
    const mistake = refusal ?? mistakeInPayload(publication, payload);
    if (mistake !== null) return mistake;
    // A PUB socket sends its values to all data workers.
    if (!this.#store.owners.owns(name.toString())) return null;
    const topic = this.#store.topicFor(name.toString());
    topic.publisher = user;
    const known = this.#topicsOf(user).add(topic, name, 0, name.length);
    known.isJson = publication.contentType === undefined;
    if (publication.serial === undefined) {
      known.meta.learn(meta, 0, meta.length, publication.dtype === undefined ? null : payload.length);
    }
    return topic;
  }

  #topicsOf(user: string | null): KnownTopics {
    const known = this.#known.get(user) ?? new KnownTopics();
    this.#known.set(user, known);
    return known;
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
