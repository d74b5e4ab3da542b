/** All topics of a data worker, within one bound of memory for all of their values. */
import { historyExpiryMs, historyExpiryMsMin, rateWindowMs, topicBytesMin, topicsListedMax } from "../limits.ts";
import { isEngineTopic } from "../protocol/engine-topics.ts";
import { ProtocolError } from "../protocol/errors.ts";
import type { SubscribeRequest } from "../protocol/stream.ts";
import { decodeValueMeta } from "../protocol/values.ts";
import { partsOf } from "./framed.ts";
import { ageOf, type Topic, wrappedMs } from "./topic.ts";

/** A chunk holds at most so many parts of the history, so that values leave about in time. */
const chunksOfHistory = 8;
/** One so-manieth of all memory is freed at once. */
const freedAtOnce = 32;

interface TopicsOptions {
  /** bytes of the values of all topics. */
  readonly bytesMax: number;
  /** ms that values are kept; the newest one is kept for ever. */
  readonly historyMs: number;
}

export class Topics {
  readonly #options: TopicsOptions;
  readonly #byName = new Map<string, Topic>();
  #bytes = 0;
  #expiry: Timer | undefined;

  constructor(options: TopicsOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#byName.size;
  }

  /** bytes of all values. */
  get bytes(): number {
    return this.#bytes;
  }

  get(name: string): Topic | undefined {
    return this.#byName.get(name);
  }

  [Symbol.iterator](): IterableIterator<Topic> {
    return this.#byName.values();
  }

  /** As `topics` lists them: PROTOCOL.md has the keys. @param now wrapped ms */
  list(prefix: string, now: number, stalenessOf: (topic: string) => object | null): object[] {
    const list: object[] = [];
    for (const topic of this) {
      if (!topic.name.startsWith(prefix) || (prefix === "" && isEngineTopic(topic.name))) continue;
      if (list.length >= topicsListedMax) break;
      list.push({ ...describe(topic, now), ...(stalenessOf(topic.name) ?? { staleMs: null, stale: false }) });
    }
    return list;
  }

  /** Those that a subscription names. */
  *matching({ topics, prefixes }: Pick<SubscribeRequest, "topics" | "prefixes">): Generator<Topic, void, undefined> {
    for (const name of topics) {
      const topic = this.#byName.get(name);
      if (topic !== undefined) yield topic;
    }
    if (prefixes.length === 0) return;
    for (const topic of this) {
      if (!topics.includes(topic.name) && prefixes.some((prefix) => topic.name.startsWith(prefix))) yield topic;
    }
  }

  /**
   * Makes room for a record in the topic's last chunk. Older values of the topics that have most
   * make place for it, and at last the topic's own newest one. Returns false if all memory is taken
   * by newest values.
   */
  reserve(topic: Topic, recordBytes: number): boolean {
    if (topic.hasRoom(recordBytes)) return true;
    const isNew = !this.#byName.has(topic.name);
    const own = isNew ? topicBytesMin : 0;
    let bytes = topic.nextChunkBytes(recordBytes, this.#options.historyMs / chunksOfHistory);
    if (!this.#makeRoom(bytes + own)) {
      bytes = recordBytes;
      if (!this.#makeRoom(bytes + own)) {
        if (this.#bytes - topic.bytes + bytes + own > this.#options.bytesMax) return false;
        this.#bytes -= topic.clear();
      }
    }
    topic.addChunk(bytes);
    this.#bytes += bytes + own;
    if (isNew) this.#byName.set(topic.name, topic);
    this.#expireLater();
    return true;
  }

  /** Forgets a topic and its values. */
  remove(topic: Topic): void {
    if (!this.#byName.delete(topic.name)) return;
    this.#bytes -= topic.clear() + topicBytesMin;
  }

  close(): void {
    clearTimeout(this.#expiry);
  }

  /** The topics with most history give of it first. */
  #makeRoom(bytes: number): boolean {
    const { bytesMax } = this.#options;
    if (this.#bytes + bytes <= bytesMax) return true;
    // Some more at once: each look at all topics takes its time.
    const wanted = bytesMax - bytes - bytesMax / freedAtOnce;
    for (;;) {
      let most = 0;
      for (const topic of this.#byName.values()) most = Math.max(most, topic.shrinkableBytes);
      if (most === 0) break;
      for (const topic of this.#byName.values()) {
        if (2 * topic.shrinkableBytes < most) continue;
        this.#bytes -= topic.shrink();
        if (this.#bytes <= wanted) return true;
      }
    }
    return this.#bytes + bytes <= bytesMax;
  }

  /** No timer while there is nothing to expire: an idle robot sleeps. */
  #expireLater(): void {
    this.#expiry ??= setTimeout(
      () => {
        this.#expiry = undefined;
        if (this.#expire(wrappedMs(performance.now()))) this.#expireLater();
      },
      Math.max(historyExpiryMsMin, Math.min(historyExpiryMs, this.#options.historyMs)),
    ).unref();
  }

  /** Returns true if there is still history that will expire. */
  #expire(now: number): boolean {
    let isAnyLeft = false;
    for (const topic of this.#byName.values()) {
      while (topic.first !== null && ageOf(topic.first.lastAt, now) > this.#options.historyMs) {
        const freed = topic.shrink();
        if (freed === 0) break;
        this.#bytes -= freed;
      }
      if (topic.shrinkableBytes > 0) isAnyLeft = true;
    }
    return isAnyLeft;
  }
}

const describe = (topic: Topic, now: number): object => {
  const place = topic.newestPlace;
  const parts = place === null ? null : partsOf(place);
  const meta = parts === null ? null : decodeValueMeta(parts.meta);
  return {
    topic: topic.name,
    contentType: (meta instanceof ProtocolError ? null : meta?.contentType) ?? "application/json",
    bytes: parts?.payload.length ?? 0,
    hz: Math.round(topic.rate(rateWindowMs, now) * 100) / 100,
    ageMs: topic.last === null ? null : ageOf(topic.last.lastAt, now),
    values: topic.seq,
    dropped: topic.dropped,
    publisher: topic.publisher,
  };
};
