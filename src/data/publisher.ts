/**
 * Topics: the last value of each, and everybody who has subscribed. To subscribers it is one XPUB socket that sends
 * `[topic, META, DATA]`. Who subscribes to a topic by its whole name gets its last value at once, and nobody else gets it
 * again; who subscribes to the beginning of names gets what comes from then on. `$topics` answers with the names.
 */
import {
  drainMessagesMax,
  lingerMs,
  subscriberArrivalsMax,
  subscriberBatchBytes,
  subscriberFrameBytesMax,
  subscriberQueueMessagesMax,
  topicBytesMax,
  topicsMax,
} from "../limits.ts";
import type { ErrorBody } from "../protocol/errors.ts";
import { type Frame, sizeOf, textOf } from "../protocol/frame.ts";
import { type Data, encodeData, encodeError, encodeMeta, packNow } from "../protocol/frames.ts";
import type { Gate } from "../security/gate.ts";
import { cutConnection } from "../transport/zmq/connections.ts";
import { XPublisher } from "../transport/zmq/socket.ts";
import { Subscribers } from "./subscribers.ts";

interface LastValue {
  readonly meta: string;
  readonly data: Frame;
}

/** Answers its subscriber with the topics that have a value. Nobody can put it. */
export const topicsTopic = "$topics";

/** First byte of what XPUB passes up. What a peer sends otherwise is no subscriber's doing. */
const subscribed = 1;
const unsubscribed = 0;

/** Ends the name under which a refusal goes out; no topic has it in its name. */
const refusalMark = "\0";

export class Publisher {
  readonly #values = new Map<string, LastValue>();
  #bytes = 0;
  #sequence = 0;
  /**
   * Set while libzmq may take a subscription for another connection's: it counts a message that is none as one when it passes
   * up whose turn it is, until it has passed up all that it has.
   */
  #isOutOfStep = false;
  readonly #subscribers = new Subscribers();
  readonly #gate: Gate;
  readonly #socket: XPublisher;

  constructor(gate: Gate) {
    this.#gate = gate;
    this.#socket = new XPublisher({
      ...gate.serverOptions,
      // Subscriptions pass through our hands, so that a last value can go to the new subscriber alone.
      manual: true,
      linger: lingerMs,
      maxMessageSize: subscriberFrameBytesMax,
      sendHighWaterMark: subscriberQueueMessagesMax,
      receiveHighWaterMark: subscriberArrivalsMax,
      arrivalBatchBytes: subscriberBatchBytes,
    });
  }

  /** Throws ZmqError where the port cannot be had. */
  bind(endpoint: string): void {
    this.#socket.bind(endpoint);
    // Nobody waits for an answer there.
    this.#gate.guard(this.#socket, 0);
    this.#socket.onReadable(() => this.#drain());
  }

  /** Where it is bound, with its real port. */
  get endpoint(): string {
    return this.#socket.lastEndpoint;
  }

  /** Keeps and publishes a DATA frame; null, or why not. */
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

  get(topic: string): Data | undefined {
    const last = this.#values.get(topic);
    return last === undefined ? undefined : JSON.parse(textOf(last.data));
  }

  close(): void {
    this.#socket.close();
  }

  /** Not all that there may be: values that are to be published have their turn in between. */
  #drain(): void {
    for (let count = 0; count < drainMessagesMax; count++) {
      const message = this.#socket.tryReceive(2);
      if (message === null) {
        this.#isOutOfStep = false;
        return;
      }
      this.#hear(message);
    }
  }

  #hear([bytes = noBytes, more]: readonly Uint8Array[]): void {
    const user = this.#gate.userOf(this.#socket);
    const { descriptor } = this.#socket.lastPeer;
    const [type] = bytes;
    const topic = bytes.subarray(1);
    if (more !== undefined || (type !== subscribed && type !== unsubscribed)) this.#isOutOfStep = true;
    // Whoever is cut comes back, if it is a subscriber, and subscribes anew.
    if (this.#isOutOfStep) cutConnection(descriptor);
    else if (type === unsubscribed) {
      this.#subscribers.end(descriptor, topic);
      this.#socket.set({ unsubscribe: topic });
      // What its refusal has left, if it was refused.
      this.#socket.set({ unsubscribe: Buffer.concat([topic, Buffer.from(refusalMark)]) });
    } else if (this.#subscribers.begin(descriptor, user, topic)) this.#subscribe(user, topic);
    else cutConnection(descriptor);
  }

  #subscribe(user: string | null, topic: Uint8Array): void {
    const name = Buffer.from(topic).toString();
    const refusal = this.#refusal(user, name);
    if (refusal !== null) return this.#refuse(name, refusal);
    this.#socket.set({ subscribe: topic });
    const answer = name === topicsTopic ? this.#describeTopics(user) : this.#values.get(name);
    if (answer !== undefined) this.#sendPrivately(name, answer);
  }

  /**
   * Says why not. libzmq sends to nobody who has not subscribed to it, and forgets whom it has sent to, so the subscription
   * cannot be taken back: it is one to a name that no topic can have.
   */
  #refuse(name: string, why: string): void {
    const topic = name + refusalMark;
    this.#socket.set({ subscribe: topic });
    this.#sendPrivately(topic, refused(name, why));
  }

  /** To the peer whose subscription was read last, and to no other. */
  #sendPrivately(topic: string, { meta, data }: LastValue): void {
    this.#socket.set({ manualLastValue: true });
    this.#socket.trySend([topic, meta, data]);
    this.#socket.set({ manualLastValue: false, manual: true });
  }

  #refusal(user: string | null, prefix: string): string | null {
    const { access } = this.#gate;
    if (prefix !== topicsTopic) return access.refusal(user, "read", prefix);
    return access.hasSome(user, "read") ? null : access.refusal(user, "read");
  }

  #describeTopics(user: string | null): LastValue {
    const topics = [...this.#values.keys()].filter((topic) => this.#gate.access.missing(user, "read", topic) === null);
    return { meta: this.#meta(topicsTopic), data: encodeData(topics) };
  }

  #meta(topic: string): string {
    const serial = String(++this.#sequence);
    return encodeMeta({ id: topic, role: "publisher", version: 0.2, type: "DATA", pack: packNow(), serial });
  }
}

const noBytes = new Uint8Array(0);

/** What a subscriber is told instead of values. */
const refused = (topic: string, message: string): LastValue => ({
  meta: encodeMeta({ id: topic, role: "publisher", version: 0.2, type: "ERR", pack: packNow() }),
  data: encodeError("UNAUTHORIZED", message),
});
