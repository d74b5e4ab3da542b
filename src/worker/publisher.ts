/**
 * Topics: the last value of each, and everybody who has subscribed. To subscribers it is one XPUB socket that sends
 * `[topic, META, DATA]`. Who subscribes to a topic by its whole name gets its last value at once, and nobody else gets it
 * again; who subscribes to the beginning of names gets what comes from then on. `$topics` answers with the names.
 */
import { frameBytesHardMax, lingerMs, subscriberQueueMessagesMax, topicBytesMax, topicsMax } from "../limits.ts";
import type { ErrorBody } from "../wire/errors.ts";
import { type Data, encodeData, encodeMeta, packNow } from "../wire/frames.ts";
import { XPublisher } from "../zmq/socket.ts";

interface LastValue {
  readonly meta: Uint8Array;
  readonly data: Uint8Array;
}

/** Answers its subscriber with the topics that have a value. Nobody can put it. */
export const topicsTopic = "$topics";

/** First byte of what XPUB passes up: 1 for a subscription, 0 for its end. */
const subscribed = 1;

export class Publisher {
  readonly #values = new Map<string, LastValue>();
  #bytes = 0;
  #sequence = 0;
  readonly #socket = new XPublisher({
    // Subscriptions pass through our hands, so that a last value can go to the new subscriber alone.
    manual: true,
    linger: lingerMs,
    maxMessageSize: frameBytesHardMax,
    sendHighWaterMark: subscriberQueueMessagesMax,
  });

  /** Throws ZmqError where the port cannot be had. */
  bind(endpoint: string): void {
    this.#socket.bind(endpoint);
    this.#socket.onReadable(() => {
      for (let message = this.#socket.tryReceive(); message !== null; message = this.#socket.tryReceive()) {
        const [bytes] = message;
        if (bytes !== undefined) this.#onSubscription(bytes[0] === subscribed, bytes.subarray(1));
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

  #onSubscription(begins: boolean, topic: Uint8Array): void {
    if (!begins) {
      this.#socket.set({ unsubscribe: topic });
      return;
    }
    this.#socket.set({ subscribe: topic });
    const name = Buffer.from(topic).toString();
    const last = name === topicsTopic ? this.#describeTopics() : this.#values.get(name);
    if (last === undefined) return;
    // In this mode the next message goes to the peer whose subscription was read last, and to no other.
    this.#socket.set({ manualLastValue: true });
    this.#socket.trySend([name, last.meta, last.data]);
    this.#socket.set({ manualLastValue: false, manual: true });
  }

  #describeTopics(): LastValue {
    return { meta: this.#meta(topicsTopic), data: encodeData({ data: [...this.#values.keys()], pack: packNow() }) };
  }

  #meta(topic: string): Buffer {
    const serial = String(++this.#sequence);
    return encodeMeta({ id: topic, role: "publisher", version: 0.2, type: "DATA", pack: packNow(), serial });
  }
}
