/** Values of topics as they come, from all data workers of an engine. */
import type { DataWorker } from "../data/publications.ts";
import type { StreamDialer } from "../data/stream-link.ts";
import { TopicCounts } from "../data/topic-counts.ts";
import type { TopicValue } from "../data/topic-value.ts";
import { publisherTopicsMax, reconnectMs, reconnectMsMax } from "../limits.ts";
import type { TaskEngineError } from "../protocol/errors.ts";
import type { StreamReply } from "../protocol/stream.ts";
import type { SocketOptions } from "../transport/zmq/options.ts";
import { OldFeed } from "./old-feed.ts";
import { type FeedOptions, StreamFeed } from "./stream-feed.ts";

export interface SubscribeOptions {
  /** The topics are whole names, and not beginnings of names. */
  readonly exact?: boolean | undefined;
  /**
   * `all`, the default: every value in order; what a program does not read waits in the data
   * worker. `latest`: of each topic only the newest value, also after a pause of the program.
   */
  readonly mode?: "all" | "latest" | undefined;
  /** Values a second of each topic at most, above 0 and up to 100000. */
  readonly maxHz?: number | undefined;
  /**
   * Begins with the values of the last so many ms, 0 to 3600000. Default 0: with the newest value
   * of each topic. null: with none.
   */
  readonly lastMs?: number | null | undefined;
  /**
   * Gets each value, in place of reading the subscription, which is quicker. Nothing catches what
   * it throws. If the subscription fails, `onEvent` is told, or else the process is warned.
   */
  readonly onValue?: ((value: TopicValue) => void) | undefined;
  /** Gets what happens to the topics beside values. */
  readonly onEvent?: ((event: SubscriptionEvent) => void) | undefined;
}

export type SubscriptionEvent =
  /** `count` values of the topic were lost on the way. */
  | { readonly type: "dropped"; readonly topic: string; readonly count: number }
  /** The topic begins anew: its data worker was restarted, or it was removed before. */
  | { readonly type: "restarted"; readonly topic: string }
  /** No value has come for the time that the topic's source promises. */
  | { readonly type: "stale"; readonly topic: string; readonly ageMs: number }
  | { readonly type: "removed"; readonly topic: string }
  /** Topics have other data workers now; the subscription follows them by itself. */
  | { readonly type: "moved" }
  /** The connection to a data worker is lost; it comes back by itself. */
  | { readonly type: "lost" }
  /**
   * Nothing comes any more, for this reason. With `onValue`; else the next read rejects with it.
   */
  | { readonly type: "failed"; readonly error: Error };

interface SubscriptionSources {
  readonly dialer: StreamDialer;
  /** Asks the engine, and rejects with TaskEngineError if it does not answer, or has none. */
  readonly find: () => Promise<readonly DataWorker[]>;
  /** The address at which this program reaches a port of the engine. */
  readonly reach: (endpoint: string) => string;
  readonly keys: SocketOptions;
}

type Feed = StreamFeed | OldFeed;
type Read = PromiseWithResolvers<IteratorResult<TopicValue, undefined>>;

/**
 * `for await (const { topic, data, pack } of client.subscribe("pose"))`. Leaving the loop ends it.
 * A program that is too slow loses the oldest values, which are counted, and always gets the
 * newest.
 */
export class Subscription implements AsyncIterableIterator<TopicValue> {
  /** Feeds by the endpoint of the stream port; `old` for those that have none. */
  readonly #feeds = new Map<string, Feed>();
  #list: readonly Feed[] = [];
  #hasEnded = false;
  #failure: Error | null = null;
  /** Reads that wait for a value. */
  readonly #reads: Read[] = [];
  readonly #dropped = new TopicCounts(publisherTopicsMax);
  #malformed = 0;
  #refresh: Timer | undefined;

  /** @param onEnd is called once, when nothing comes any more */
  constructor(
    private readonly feedOptions: FeedOptions,
    private readonly options: Pick<SubscribeOptions, "onValue" | "onEvent">,
    private readonly sources: SubscriptionSources,
    private readonly onEnd: (subscription: Subscription) => void,
  ) {
    sources.find().then(
      (workers) => this.#follow(workers),
      (error) => this.#end(error),
    );
  }

  /** Values that were lost on the way; not those that `latest` and `maxHz` have left out. */
  get dropped(): number {
    return this.#dropped.total;
  }

  /** The same by topic. */
  get droppedByTopic(): Readonly<Record<string, number>> {
    return this.#dropped.byTopic;
  }

  /** Messages that the protocol does not allow. */
  get malformed(): number {
    return this.#malformed;
  }

  /** It is not `async`, so that a value that is there costs one promise and no more. */
  next(): Promise<IteratorResult<TopicValue, undefined>> {
    const value = this.#take();
    if (value !== undefined) return Promise.resolve({ done: false, value });
    const failure = this.#failure;
    this.#failure = null;
    if (failure !== null) return Promise.reject(failure);
    if (this.#hasEnded) return Promise.resolve({ done: true, value: undefined });
    const read: Read = Promise.withResolvers();
    this.#reads.push(read);
    return read.promise;
  }

  /** Ends the subscription and drops unread values. A read that waits gets `done`. */
  return(): Promise<IteratorResult<TopicValue, undefined>> {
    this.#end(null);
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  #take(): TopicValue | undefined {
    for (const feed of this.#list) {
      const value = feed.take();
      if (value === undefined) continue;
      // The others have their turn next.
      if (this.#list.length > 1) this.#list = [...this.#list.filter((other) => other !== feed), feed];
      return value;
    }
    return undefined;
  }

  #onValues(feed: Feed): void {
    const { onValue } = this.options;
    if (onValue !== undefined) {
      for (let value = feed.take(); value !== undefined; value = feed.take()) onValue(value);
      return;
    }
    while (this.#reads.length > 0) {
      const value = feed.take();
      if (value === undefined) return;
      this.#reads.shift()?.resolve({ done: false, value });
    }
  }

  #end(failure: Error | null): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    clearTimeout(this.#refresh);
    for (const feed of this.#list) feed.close();
    this.#list = [];
    if (failure !== null && this.options.onValue !== undefined) this.#tellFailure(failure);
    const [first, ...others] = this.#reads.splice(0);
    if (failure !== null && first !== undefined) first.reject(failure);
    else {
      this.#failure = failure;
      first?.resolve({ done: true, value: undefined });
    }
    for (const read of others) read.resolve({ done: true, value: undefined });
    this.onEnd(this);
  }

  /** A program that reads nothing would never learn of it. */
  #tellFailure(error: Error): void {
    if (this.options.onEvent !== undefined) this.options.onEvent({ type: "failed", error });
    else process.emitWarning(`a subscription has ended: ${error.message}`, "TaskEngineWarning");
  }

  /* ── Data workers ── */

  #follow(workers: readonly DataWorker[]): void {
    if (this.#hasEnded) return;
    const streams = new Set(workers.flatMap(({ stream }) => (stream === null ? [] : [stream])));
    const old = workers.filter(({ stream }) => stream === null).map(({ publications }) => publications);
    for (const [key, feed] of this.#feeds) {
      if (key === oldKey || streams.has(key)) continue;
      this.#feeds.delete(key);
      feed.close();
    }
    for (const endpoint of streams) if (!this.#feeds.has(endpoint)) this.#feeds.set(endpoint, this.#open(endpoint));
    if (old.length > 0 && !this.#feeds.has(oldKey)) this.#feeds.set(oldKey, this.#openOld(old));
    this.#list = [...this.#feeds.values()];
  }

  #open(endpoint: string): StreamFeed {
    return new StreamFeed(endpoint, this.sources.dialer, this.feedOptions, {
      onValues: (feed) => this.#onValues(feed),
      onRefused: (error) => this.#end(error),
      onDropped: (topic, count) => this.#countDropped(topic, count),
      onRestart: (topic) => this.options.onEvent?.({ type: "restarted", topic }),
      onNotice: (reply) => this.#notice(reply),
      onLost: () => {
        this.options.onEvent?.({ type: "lost" });
        this.#followSoon(reconnectMs);
      },
      onMalformed: () => void this.#malformed++,
    });
  }

  #openOld(publications: readonly string[]): OldFeed {
    const { keys, reach } = this.sources;
    const { topics, prefixes } = this.feedOptions;
    return new OldFeed([...topics, ...prefixes], publications.map(reach), keys, {
      onValues: (feed) => this.#onValues(feed),
      onRefused: (error) => this.#end(error),
      onDropped: (topic, count) => this.#countDropped(topic, count),
      onMalformed: () => void this.#malformed++,
    });
  }

  #countDropped(topic: string, count: number): void {
    this.#dropped.count(topic, count);
    this.options.onEvent?.({ type: "dropped", topic, count });
  }

  #notice({ type, data }: StreamReply): void {
    const { topic, ageMs } = (typeof data === "object" && data !== null ? data : {}) as Record<string, unknown>;
    if (type === "MOVED") {
      this.options.onEvent?.({ type: "moved" });
      this.#followSoon(0);
    } else if (typeof topic !== "string") return;
    else if (type === "STALE") this.options.onEvent?.({ type: "stale", topic, ageMs: Number(ageMs) });
    else if (type === "REMOVED") this.options.onEvent?.({ type: "removed", topic });
  }

  /** Asks the engine for its data workers again: one may have come or gone. */
  #followSoon(ms: number): void {
    if (this.#hasEnded || this.#refresh !== undefined) return;
    this.#refresh = setTimeout(async () => {
      const isFound = await this.sources.find().then(
        (workers) => this.#follow(workers),
        (error: TaskEngineError) => error,
      );
      this.#refresh = undefined;
      if (isFound instanceof Error) this.#followSoon(reconnectMsMax);
    }, ms);
  }
}

const oldKey = "old";
