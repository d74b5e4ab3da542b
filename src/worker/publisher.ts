/**
 * Topics: the last value of each, and everybody who has subscribed. To subscribers it is one XPUB socket that sends
 * `[topic, META, DATA]`. Who subscribes to a topic by its whole name gets its last value at once, and nobody else gets it
 * again; who subscribes to the beginning of names gets what comes from then on. `$topics` answers with the names.
 */
import { lingerMs, subscriberFrameBytesMax, subscriberQueueMessagesMax, topicBytesMax, topicsMax } from "../limits.ts";
import type { ErrorBody } from "../wire/errors.ts";
import { type Data, encodeData, encodeError, encodeMeta, packNow } from "../wire/frames.ts";
import type { Gate } from "../zmq/gate.ts";
import { XPublisher } from "../zmq/socket.ts";

interface LastValue {
  readonly meta: Uint8Array;
  readonly data: Uint8Array;
}

/** Answers its subscriber with the topics that have a value. Nobody can put it. */
export const topicsTopic = "$topics";

/** First byte of what XPUB passes up. What a peer sends otherwise means nothing here. */
const subscribed = 1;
const unsubscribed = 0;

export class Publisher {
  readonly #values = new Map<string, LastValue>();
  #bytes = 0;
  #sequence = 0;
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
    });
  }

  /** Throws ZmqError where the port cannot be had. */
  bind(endpoint: string): void {
    this.#socket.bind(endpoint);
    this.#gate.guard(this.#socket);
    this.#socket.onReadable(() => {
      for (let message = this.#socket.tryReceive(); message !== null; message = this.#socket.tryReceive()) {
        const user = this.#gate.userOf(this.#socket);
        const [bytes] = message;
        if (bytes?.[0] === subscribed) this.#subscribe(user, bytes.subarray(1));
        else if (bytes?.[0] === unsubscribed) this.#socket.set({ unsubscribe: bytes.subarray(1) });
      }
    });
  }

  /** Keeps and publishes a DATA frame; null, or why not. */
  put(topic: string, data: Uint8Array): ErrorBody | null {
    if (topic.startsWith("$")) {
      return {
        code: "BAD_FRAME",
        message: `topic ${JSON.stringify(topic)}: names that begin with $ are the engine's own`,
      };
    }
    const before = this.#values.get(topic);
    if (before === undefined && this.#values.size >= topicsMax) {
      return { code: "QUEUE_FULL", message: `there are ${topicsMax} topics already` };
    }
    const bytes = this.#bytes - (before?.data.length ?? 0) + data.length;
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
    return last === undefined ? undefined : JSON.parse(Buffer.from(last.data).toString());
  }

  close(): void {
    this.#socket.close();
  }

  #subscribe(user: string | null, topic: Uint8Array): void {
    const name = Buffer.from(topic).toString();
    const refusal = this.#refusal(user, name);
    this.#socket.set({ subscribe: topic });
    const answer =
      refusal !== null
        ? refused(name, refusal)
        : name === topicsTopic
          ? this.#describeTopics(user)
          : this.#values.get(name);
    if (answer !== undefined) this.#sendPrivately(name, answer);
    // It was let in for as long as it takes to tell it why not.
    if (refusal !== null) this.#socket.set({ unsubscribe: topic });
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
    return { meta: this.#meta(topicsTopic), data: encodeData({ data: topics, pack: packNow() }) };
  }

  #meta(topic: string): Buffer {
    const serial = String(++this.#sequence);
    return encodeMeta({ id: topic, role: "publisher", version: 0.2, type: "DATA", pack: packNow(), serial });
  }
}

/** What a subscriber is told instead of values. */
const refused = (topic: string, message: string): LastValue => ({
  meta: encodeMeta({ id: topic, role: "publisher", version: 0.2, type: "ERR", pack: packNow() }),
  data: encodeError("UNAUTHORIZED", message),
});
