/** All topics of a data worker, within one bound of memory for all of their values. */
import { historyExpiryMs, topicBytesMin } from "../limits.ts";
import { ageOf, Topic, wrappedMs } from "./topic.ts";

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

  /** Makes a topic, which has no value and no place here until `reserve` has found room. */
  make(name: string): Topic {
    return new Topic(name);
  }

  /**
   * Makes room for a record in the topic's last chunk. Older values of the topic that has most make
   * place for it. Returns false if all memory is taken by newest values.
   */
  reserve(topic: Topic, recordBytes: number): boolean {
    if (topic.hasRoom(recordBytes)) return true;
    const isNew = topic.last === null;
    const own = isNew ? topicBytesMin : 0;
    let bytes = topic.nextChunkBytes(recordBytes);
    if (!this.#makeRoom(bytes + own)) {
      bytes = recordBytes;
      if (!this.#makeRoom(bytes + own)) return false;
    }
    const before = topic.bytes;
    topic.addChunk(bytes);
    this.#bytes += topic.bytes - before + own;
    if (isNew) this.#byName.set(topic.name, topic);
    this.#expireLater();
    return true;
  }

  /** Forgets a topic and its values. */
  remove(topic: Topic): void {
    if (!this.#byName.delete(topic.name)) return;
    this.#bytes -= topic.bytes + topicBytesMin;
    for (let chunk = topic.first; chunk !== null; chunk = chunk.next) chunk.isDropped = true;
  }

  close(): void {
    clearTimeout(this.#expiry);
  }

  #makeRoom(bytes: number): boolean {
    while (this.#bytes + bytes > this.#options.bytesMax) {
      let largest: Topic | null = null;
      let most = 0;
      for (const topic of this.#byName.values()) {
        const { shrinkableBytes } = topic;
        if (shrinkableBytes <= most) continue;
        largest = topic;
        most = shrinkableBytes;
      }
      const freed = largest?.shrink() ?? 0;
      if (freed === 0) return false;
      this.#bytes -= freed;
    }
    return true;
  }

  /** No timer while there is nothing to expire: an idle robot sleeps. */
  #expireLater(): void {
    this.#expiry ??= setTimeout(
      () => {
        this.#expiry = undefined;
        if (this.#expire(wrappedMs(performance.now()))) this.#expireLater();
      },
      Math.min(historyExpiryMs, this.#options.historyMs),
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
