/**
 * Keeps the last value of each topic, and publishes by one XPUB socket that sends `[topic, META,
 * DATA]`. A subscription to the whole name of a topic gets its last value at once, and no other
 * subscriber gets it again; a subscription to the beginning of names gets the values from then on.
 * `$topics` answers with the names. The engine's own topics keep no value, but for `$engine/stop`.
 */
import {
  connectionLookMs,
  drainMessagesMax,
  lingerMs,
  subscriberArrivalsMax,
  subscriberBatchBytes,
  subscriberFrameBytesMax,
  subscriberQueueMessagesMax,
  topicBytesMax,
  topicsMax,
} from "../limits.ts";
import type { EngineTopic } from "../protocol/engine-topics.ts";
import type { ErrorBody } from "../protocol/errors.ts";
import { type Frame, sizeOf, textOf } from "../protocol/frame.ts";
import { type Data, encodeData, encodeError, encodeMeta, packNow } from "../protocol/frames.ts";
import type { Gate } from "../security/gate.ts";
import { cutConnection } from "../transport/zmq/connections.ts";
import { noPeer } from "../transport/zmq/peer.ts";
import { XPublisher } from "../transport/zmq/socket.ts";
import { coversEngineTopics, type EngineTopics } from "./engine-topics.ts";
import { Subscribers } from "./subscribers.ts";

interface LastValue {
  readonly meta: string;
  readonly data: Frame;
}

/** Its value is the list of topics that have a value. Nobody can put it. */
const topicsTopic = "$topics";

/** First byte of what XPUB passes up. Any other comes from a peer that is no subscriber. */
const subscribed = 1;
const unsubscribed = 0;

/** Ends the topic of a refusal; no other topic has it in its name. */
const refusalMark = "\0";

export class Publisher {
  readonly #values = new Map<string, LastValue>();
  /** Bytes of all last values. */
  #bytes = 0;
  /** META's `serial` of the last message. */
  #sequence = 0;
  readonly #subscribers = new Subscribers((descriptor) => this.#engineTopics.gone(connectionName(descriptor)));
  readonly #engineTopics: EngineTopics;
  /** The last value of `$engine/stop`, which may be old if nobody has followed it since. */
  #stop: LastValue | null = null;
  #lookForTheGone: Timer | undefined;
  /**
   * Set while libzmq may name the wrong connection for a subscription. A message that is none puts
   * its bookkeeping out of step, until it has passed up all that it has.
   */
  #isOutOfStep = false;
  readonly #gate: Gate;
  readonly #socket: XPublisher;

  constructor(gate: Gate, engineTopics: EngineTopics) {
    this.#gate = gate;
    this.#engineTopics = engineTopics;
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
    if (topic.startsWith("$") || topic.includes(refusalMark)) {
      return {
        code: "BAD_FRAME",
        message: `topic ${JSON.stringify(topic)}: names that begin with $ or contain NUL are the engine's own`,
      };
    }
    const before = this.#values.get(topic);
    if (before === undefined && this.#values.size >= topicsMax) {
      return { code: "QUEUE_FULL", message: `there are ${topicsMax} topics already` };
    }
    const bytes = this.#bytes - (before === undefined ? 0 : sizeOf(before.data)) + sizeOf(data);
    if (bytes > topicBytesMax) {
      return { code: "QUEUE_FULL", message: `the last values of all topics would exceed ${topicBytesMax} bytes` };
    }
    this.#bytes = bytes;
    const meta = this.#meta(topic);
    this.#values.set(topic, { meta, data });
    // XPUB drops for a subscriber whose queue is full, for it alone, and never waits.
    this.#socket.trySend([topic, meta, data]);
    return null;
  }

  /**
   * Publishes a DATA frame on one of the engine's own topics.
   * @param lost number of events of the topic that were lost right before it
   */
  event(topic: string, data: Frame, lost: number): void {
    this.#sequence += lost;
    const meta = this.#meta(topic);
    if (topic === stopTopic) this.#stop = { meta, data };
    this.#socket.trySend([topic, meta, data]);
  }

  get(topic: string): Data | undefined {
    const last = this.#values.get(topic);
    return last === undefined ? undefined : JSON.parse(textOf(last.data));
  }

  close(): void {
    clearTimeout(this.#lookForTheGone);
    this.#socket.close();
  }

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
      this.#endWatch(descriptor, topic.toString());
      for (const prefix of matchesOf(topic)) this.#socket.set({ unsubscribe: prefix });
      // In case it was refused.
      this.#socket.set({ unsubscribe: Buffer.concat([topic, Buffer.from(refusalMark)]) });
    } else if (this.#subscribers.begin(descriptor, user, topic)) this.#subscribe(user, topic);
    else cutConnection(descriptor);
  }

  #subscribe(user: string | null, topic: Uint8Array): void {
    const name = Buffer.from(topic).toString();
    const refusal = this.#refusal(user, name);
    if (refusal !== null) return this.#refuse(name, refusal);
    for (const prefix of matchesOf(topic)) this.#socket.set({ subscribe: prefix });
    if (!this.#engineTopics.watched.includes(stopTopic)) this.#stop = null;
    this.#engineTopics.begin(connectionName(this.#socket.lastPeer.descriptor), name);
    const value =
      name === topicsTopic ? this.#topicsFor(user) : name === stopTopic ? this.#stop : this.#values.get(name);
    if (value !== undefined && value !== null) this.#sendToNewest(name, value);
  }

  /** libzmq names no connection where one has ended, and closes its descriptor a moment later. */
  #endWatch(descriptor: number, name: string): void {
    if (descriptor !== noPeer.descriptor) this.#engineTopics.end(connectionName(descriptor), name);
    else if (coversEngineTopics(name)) {
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
    this.#sendToNewest(topic, refused(name, why));
  }

  /** Sends to the peer whose subscription was read last, and to no other. */
  #sendToNewest(topic: string, { meta, data }: LastValue): void {
    this.#socket.set({ manualLastValue: true });
    this.#socket.trySend([topic, meta, data]);
    this.#socket.set({ manualLastValue: false, manual: true });
  }

  #refusal(user: string | null, prefix: string): string | null {
    const { access } = this.#gate;
    if (prefix !== topicsTopic) return access.refusal(user, "read", prefix);
    return access.hasSome(user, "read") ? null : access.refusal(user, "read");
  }

  #topicsFor(user: string | null): LastValue {
    const topics = [...this.#values.keys()].filter((topic) => this.#gate.access.missing(user, "read", topic) === null);
    return { meta: this.#meta(topicsTopic), data: encodeData(topics) };
  }

  #meta(topic: string): string {
    const serial = String(++this.#sequence);
    return encodeMeta({ id: topic, role: "publisher", version: 0.2, type: "DATA", pack: packNow(), serial });
  }
}

const noBytes = Buffer.alloc(0);

const stopTopic: EngineTopic = "$engine/stop";

/** Of a connection to this socket, for `EngineTopics`. */
const connectionName = (descriptor: number): string => `publications ${descriptor}`;

/** All bytes but `$`, with which the engine's own topics begin: each is a name's beginning. */
const foreignPrefixes = Array.from({ length: 256 }, (_, byte) => Buffer.of(byte)).filter(([byte]) => byte !== 0x24);

/** The empty prefix means all topics but the engine's own, which libzmq cannot leave out. */
const matchesOf = (prefix: Uint8Array): readonly Uint8Array[] => (prefix.length === 0 ? foreignPrefixes : [prefix]);

const refused = (topic: string, message: string): LastValue => ({
  meta: encodeMeta({ id: topic, role: "publisher", version: 0.2, type: "ERR", pack: packNow() }),
  data: encodeError("UNAUTHORIZED", message),
});
