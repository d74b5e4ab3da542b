/**
 * The port of subscribers of 0.2: an XPUB socket that sends `[topic, META, DATA]`. A subscription
 * to the whole name of a topic gets its newest value at once, and no other subscriber gets it
 * again; a subscription to the beginning of names gets the values from then on. `$topics` answers
 * with the names.
 */
import {
  connectionLookMs,
  drainMessagesMax,
  errorRepeatMs,
  lingerMs,
  subscriberArrivalsMax,
  subscriberBatchBytes,
  subscriberFrameBytesMax,
  subscriberQueueMessagesMax,
} from "../limits.ts";
import { isEngineTopic } from "../protocol/engine-topics.ts";
import type { ErrorBody } from "../protocol/errors.ts";
import type { Frame } from "../protocol/frame.ts";
import { type Data, encodeData, encodeError, encodeMeta, packNow, packText } from "../protocol/frames.ts";
import { quoted } from "../protocol/json-encode.ts";
import type { Gate } from "../security/gate.ts";
import { cutConnection } from "../transport/zmq/connections.ts";
import { noPeer } from "../transport/zmq/peer.ts";
import { XPublisher } from "../transport/zmq/socket.ts";
import { dataFrameOf } from "./data-frame.ts";
import { Subscribers } from "./subscribers.ts";
import type { Topic } from "./topic.ts";
import type { StorePeer, TopicStore } from "./topic-store.ts";

/** META and DATA. */
interface OutgoingPublication {
  readonly meta: string;
  readonly data: Frame;
}

/** Whether some subscriber wants a topic. */
interface Wanted {
  /** The version of the subscriptions by which that was found. */
  version: number;
  isWanted: boolean;
  /** When the last ERR went out, on the clock of performance.now(). */
  refusedAt: number;
}

/** Its value is the list of topics that have a value. Nobody can put it. */
const namesTopic = "$topics";

/** First byte of what XPUB passes up. Any other comes from a peer that is no subscriber. */
const subscribed = 1;
const unsubscribed = 0;

/** Ends the topic of a refusal; no other topic has it in its name. */
const refusalMark = "\0";

export class Publisher implements StorePeer {
  readonly #store: TopicStore;
  /** META's `serial` of the last message. */
  #sequence = 0;
  readonly #subscribers = new Subscribers((descriptor) => {
    this.#store.engineTopics.gone(connectionName(descriptor));
    this.#listenIfNeeded();
  });
  readonly #wanted = new WeakMap<Topic, Wanted>();
  /** The DATA frame of the value that is being put, which goes on as it came. */
  #frame: Frame | null = null;
  #lookForTheGone: Timer | undefined;
  /**
   * Set while libzmq may name the wrong connection for a subscription. A message that is none puts
   * its bookkeeping out of step, until it has passed up all that it has.
   */
  #isOutOfStep = false;
  readonly #gate: Gate;
  readonly #socket: XPublisher;

  constructor(gate: Gate, store: TopicStore) {
    this.#gate = gate;
    this.#store = store;
    store.join(this);
    this.#socket = new XPublisher({
      ...gate.serverOptions,
      // XPUB_MANUAL: each subscription is confirmed here, so its last value goes to it alone.
      manual: true,
      linger: lingerMs,
      maxMessageSize: subscriberFrameBytesMax,
      sendHighWaterMark: subscriberQueueMessagesMax,
      receiveHighWaterMark: subscriberArrivalsMax,
      arrivalBatchBytes: subscriberBatchBytes,
    });
  }

  /** Throws ZmqError if the port cannot be had. */
  bind(endpoint: string): void {
    this.#socket.bind(endpoint);
    // No connection is kept for a last answer: subscribers get none.
    this.#gate.guard(this.#socket, 0);
    this.#socket.onReadable(() => this.#drain());
  }

  /** The bound address, with its real port. */
  get endpoint(): string {
    return this.#socket.lastEndpoint;
  }

  /** Keeps and publishes a DATA frame. Returns null, or why not. */
  put(topic: string, data: Frame): ErrorBody | null {
    this.#frame = data;
    const refusal = this.#store.put(topic, data);
    this.#frame = null;
    return refusal;
  }

  /**
   * Publishes a DATA frame on one of the engine's own topics.
   * @param lost number of events of the topic that were lost right before it
   */
  event(topic: string, data: Frame, lost: number): void {
    this.#sequence += lost;
    this.#frame = data;
    this.#store.event(topic, data, lost);
    this.#frame = null;
  }

  /** The newest value of a topic, or why there is none for 0.2. */
  get(name: string): Data | ErrorBody {
    const topic = this.#store.topics.get(name);
    const place = topic?.newestPlace ?? null;
    if (place === null || isEngineTopic(name)) {
      return { code: "UNKNOWN_TOPIC", message: `topic ${JSON.stringify(name)} has no value yet` };
    }
    const frame = dataFrameOf(name, place);
    return typeof frame === "string" ? (JSON.parse(frame) as Data) : frame;
  }

  close(): void {
    clearTimeout(this.#lookForTheGone);
    this.#store.listeners.delete(this.#offer);
    this.#socket.close();
  }

  /* ── Values of the store ── */

  /**
   * There is a new value. Whether a topic is wanted is looked up once for each change of the
   * subscriptions.
   */
  readonly #offer = (topic: Topic): void => {
    const { version } = this.#subscribers;
    const wanted = this.#wanted.get(topic) ?? { version: -1, isWanted: false, refusedAt: Number.NEGATIVE_INFINITY };
    if (wanted.version !== version) {
      wanted.version = version;
      wanted.isWanted = this.#subscribers.covers(topic.name);
      this.#wanted.set(topic, wanted);
    }
    const publication = wanted.isWanted ? this.#publicationOf(topic) : null;
    if (publication === null) return;
    if (publication.isRefusal) {
      const now = performance.now();
      if (now - wanted.refusedAt < errorRepeatMs) return;
      wanted.refusedAt = now;
    }
    // XPUB drops for a subscriber whose queue is full, for it alone, and never waits.
    this.#socket.trySend([topic.name, publication.meta, publication.data]);
  };

  /** Without subscribers a value costs nothing here. */
  #listenIfNeeded(): void {
    if (this.#subscribers.isEmpty) this.#store.listeners.delete(this.#offer);
    else this.#store.listeners.add(this.#offer);
  }

  /** The newest value, or an ERR in its place; null if there is none. */
  #publicationOf(topic: Topic): (OutgoingPublication & { readonly isRefusal: boolean }) | null {
    const place = topic.newestPlace;
    if (place === null) return null;
    const data = this.#frame ?? dataFrameOf(topic.name, place);
    if (typeof data === "object" && "code" in data) return { ...refused(topic.name, data), isRefusal: true };
    return { meta: this.#meta(topic.name, topic), data, isRefusal: false };
  }

  /* ── Subscriptions ── */

  /** Reads a bounded number of subscriptions, so that publishing gets its turn in between. */
  #drain(): void {
    for (let count = 0; count < drainMessagesMax; count++) {
      const message = this.#socket.tryReceive(2);
      if (message === null) {
        this.#isOutOfStep = false;
        return;
      }
      this.#receive(message);
    }
  }

  #receive([bytes = noBytes, more]: readonly Buffer[]): void {
    const user = this.#gate.userOf(this.#socket);
    const { descriptor } = this.#socket.lastPeer;
    const [type] = bytes;
    const topic = bytes.subarray(1);
    if (more !== undefined || (type !== subscribed && type !== unsubscribed)) this.#isOutOfStep = true;
    // A subscriber whose connection is cut connects again, and subscribes anew.
    if (this.#isOutOfStep) cutConnection(descriptor);
    else if (type === unsubscribed) {
      this.#subscribers.end(descriptor, topic);
      this.#listenIfNeeded();
      this.#endWatch(descriptor, topic.toString());
      for (const prefix of matchesOf(topic)) this.#socket.set({ unsubscribe: prefix });
      // In case it was refused.
      this.#socket.set({ unsubscribe: Buffer.concat([topic, Buffer.from(refusalMark)]) });
    } else if (this.#subscribers.begin(descriptor, user, topic)) {
      this.#listenIfNeeded();
      this.#subscribe(user, topic);
    } else cutConnection(descriptor);
  }

  #subscribe(user: string | null, topic: Uint8Array): void {
    const name = Buffer.from(topic).toString();
    const refusal = this.#refusal(user, name);
    if (refusal !== null) return this.#refuse(name, refusal);
    for (const prefix of matchesOf(topic)) this.#socket.set({ subscribe: prefix });
    this.#store.engineTopics.begin(connectionName(this.#socket.lastPeer.descriptor), name);
    if (name === namesTopic) return this.#sendToNewest(name, this.#topicsFor(user));
    const known = this.#store.topics.get(name);
    const value = known === undefined || known.isOfEvents ? null : this.#publicationOf(known);
    if (value !== null) this.#sendToNewest(name, value);
  }

  /** libzmq names no connection where one has ended, and closes its descriptor a moment later. */
  #endWatch(descriptor: number, name: string): void {
    if (descriptor !== noPeer.descriptor) this.#store.engineTopics.end(connectionName(descriptor), name);
    else {
      this.#lookForTheGone ??= setTimeout(() => {
        this.#lookForTheGone = undefined;
        this.#subscribers.forgetTheGone();
      }, connectionLookMs).unref();
    }
  }

  /**
   * Sends an ERR in place of values. libzmq sends only to subscribers, and the subscription cannot
   * be taken back later, so it becomes one to a name that no topic can have.
   */
  #refuse(name: string, why: string): void {
    const topic = name + refusalMark;
    this.#socket.set({ subscribe: topic });
    this.#sendToNewest(topic, refused(name, { code: "UNAUTHORIZED", message: why }));
  }

  /** Sends to the peer whose subscription was read last, and to no other. */
  #sendToNewest(topic: string, { meta, data }: OutgoingPublication): void {
    this.#socket.set({ manualLastValue: true });
    this.#socket.trySend([topic, meta, data]);
    this.#socket.set({ manualLastValue: false, manual: true });
  }

  #refusal(user: string | null, prefix: string): string | null {
    const { access } = this.#gate;
    if (prefix !== namesTopic) return access.refusal(user, "read", prefix);
    return access.hasSome(user, "read") ? null : access.refusal(user, "read");
  }

  #topicsFor(user: string | null): OutgoingPublication {
    const { access } = this.#gate;
    const names = [...this.#store.topics].map(({ name }) => name);
    const topics = names.filter((name) => !isEngineTopic(name) && access.missing(user, "read", name) === null);
    return { meta: this.#meta(namesTopic), data: encodeData(topics) };
  }

  #meta(id: string, topic: Topic | null = null): string {
    const place = topic === null ? "" : `,"seq":${topic.seq},"epoch":"${topic.epoch}"`;
    const start = `{"id":${quoted(id)},"role":"publisher","version":0.2,"type":"DATA","pack":${packText()}`;
    return `${start},"serial":"${++this.#sequence}"${place}}`;
  }
}

const noBytes = Buffer.alloc(0);

/** Names a connection to this socket for `EngineTopics`. */
const connectionName = (descriptor: number): string => `publications ${descriptor}`;

/** All bytes but `$`, with which the engine's own topics begin: each is a name's beginning. */
const foreignPrefixes = Array.from({ length: 256 }, (_, byte) => Buffer.of(byte)).filter(([byte]) => byte !== 0x24);

/** The empty prefix means all topics but the engine's own, which libzmq cannot leave out. */
const matchesOf = (prefix: Uint8Array): readonly Uint8Array[] => (prefix.length === 0 ? foreignPrefixes : [prefix]);

const refused = (topic: string, { code, message }: ErrorBody): OutgoingPublication => ({
  meta: encodeMeta({ id: topic, role: "publisher", version: 0.2, type: "ERR", pack: packNow() }),
  data: encodeError(code, message),
});
