/**
 * Values of topics for all viewers: one subscription for each name, however many look at it, and
 * none while nobody does. So a thousand phones cost the robot as much as one.
 */
import type { Client } from "../client/client.ts";
import type { Subscription, SubscriptionEvent } from "../client/subscription.ts";
import { gatewayEventBytesMax, gatewayFeedsMax, gatewayNewestBytesMax, gatewayViewerHz } from "../limits.ts";
import type { JsonObject } from "../protocol/json.ts";
import { HttpError } from "./errors.ts";

type TopicValue = Awaited<ReturnType<Client["get"]>>;

/** A value as all viewers get it. */
interface FeedValue {
  readonly value: TopicValue;
  /** `{topic, data, pack, seq}` as JSON: made once for all viewers. */
  readonly text: string;
  /** Each value counts, and not only the newest: the engine's own topics. */
  readonly isEvent: boolean;
}

interface FeedViewer {
  /** @param feed by which name it comes: a viewer may follow several that fit a topic */
  readonly onValue: (value: FeedValue, feed: Feed) => void;
  readonly onEvent: (type: "stale" | "removed" | "dropped" | "failed", data: JsonObject) => void;
}

/** A topic by its whole name, or a beginning of names. */
export interface FeedName {
  readonly name: string;
  readonly isPrefix: boolean;
  /** Pictures are handed over as bytes, and have no text. */
  readonly isRaw?: boolean;
}

class Feed {
  readonly viewers = new Set<FeedViewer>();
  /** The newest of each topic, for viewers to come. */
  readonly #newest = new Map<string, FeedValue>();
  #newestLength = 0;
  readonly #subscription: Subscription;
  readonly #isEvent: boolean;

  constructor(
    client: Client,
    readonly name: FeedName,
    private readonly onEnd: (feed: Feed) => void,
  ) {
    this.#isEvent = name.name.startsWith("$");
    this.#subscription = client.subscribe([name.name], {
      exact: !name.isPrefix,
      ...(this.#isEvent ? { mode: "all" } : { mode: "latest", maxHz: gatewayViewerHz }),
      onValue: (value) => this.#take(value),
      onEvent: (event) => this.#hear(event),
    });
  }

  /** Gives a viewer the newest values that are known already. */
  add(viewer: FeedViewer): void {
    this.viewers.add(viewer);
    for (const value of this.#newest.values()) viewer.onValue(value, this);
  }

  remove(viewer: FeedViewer): void {
    this.viewers.delete(viewer);
    if (this.viewers.size > 0) return;
    this.onEnd(this);
    void this.#subscription.return();
  }

  #take(value: TopicValue): void {
    const taken: FeedValue = {
      value,
      text: this.name.isRaw === true ? "" : textOf(value),
      isEvent: this.#isEvent,
    };
    this.#keep(value.topic, taken);
    for (const viewer of this.viewers) viewer.onValue(taken, this);
  }

  /** Keeps the newest value. `$engine/stop` alone of the engine's topics has one that holds on. */
  #keep(topic: string, value: FeedValue): void {
    if (this.#isEvent && topic !== "$engine/stop") return;
    this.#newestLength += value.text.length - (this.#newest.get(topic)?.text.length ?? 0);
    this.#newest.set(topic, value);
    for (const [oldest, { text }] of this.#newest) {
      if (this.#newestLength <= gatewayNewestBytesMax) break;
      this.#newest.delete(oldest);
      this.#newestLength -= text.length;
    }
  }

  #hear(event: SubscriptionEvent): void {
    switch (event.type) {
      case "dropped":
        return this.#tell("dropped", { topic: event.topic, count: event.count });
      case "stale":
        return this.#tell("stale", { topic: event.topic, ageMs: event.ageMs });
      case "removed":
        this.#newest.delete(event.topic);
        return this.#tell("removed", { topic: event.topic });
      case "failed": {
        const { code = "UNAVAILABLE", message } = event.error as { readonly code?: string; readonly message: string };
        this.onEnd(this);
        return this.#tell("failed", { code, message });
      }
      default:
    }
  }

  #tell(type: Parameters<FeedViewer["onEvent"]>[0], data: JsonObject): void {
    for (const viewer of [...this.viewers]) viewer.onEvent(type, data);
  }
}

export type { Feed };

export class Feeds {
  readonly #feeds = new Map<string, Feed>();

  constructor(private readonly client: Client) {}

  get size(): number {
    return this.#feeds.size;
  }

  /** Follows the names. Returns the end of it. Throws HttpError, QUEUE_FULL. */
  follow(names: readonly FeedName[], viewer: FeedViewer): () => void {
    const added: Feed[] = [];
    const end = (): void => {
      for (const feed of added) feed.remove(viewer);
    };
    for (const name of names) {
      try {
        const feed = this.#feedOf(name);
        added.push(feed);
        feed.add(viewer);
      } catch (error) {
        end();
        throw error;
      }
    }
    return end;
  }

  #feedOf(name: FeedName): Feed {
    const key = keyOf(name);
    const known = this.#feeds.get(key);
    if (known !== undefined) return known;
    if (this.#feeds.size >= gatewayFeedsMax) {
      throw new HttpError("QUEUE_FULL", `all viewers together follow ${gatewayFeedsMax} topics already`);
    }
    const feed = new Feed(this.client, name, (ended) => {
      if (this.#feeds.get(key) === ended) this.#feeds.delete(key);
    });
    this.#feeds.set(key, feed);
    return feed;
  }
}

const keyOf = ({ name, isPrefix, isRaw }: FeedName): string =>
  `${isRaw === true ? "raw" : isPrefix ? "prefix" : "topic"} ${name}`;

/** Bytes are told, and not sent: pictures have a stream of their own. */
const textOf = (value: TopicValue): string => {
  const { topic, seq, pack, contentType, dtype, shape } = value;
  if (contentType !== undefined) {
    return JSON.stringify({ topic, contentType, bytes: value.bytes.length, dtype, shape, pack, seq });
  }
  const text = JSON.stringify({ topic, data: dataOf(value), pack, seq });
  if (text.length <= gatewayEventBytesMax) return text;
  return JSON.stringify({ topic, contentType: "application/json", bytes: value.bytes.length, pack, seq });
};

/** A publisher at the plain port may have sent what is no JSON. */
const dataOf = (value: TopicValue): unknown => {
  try {
    return value.data;
  } catch {
    return null;
  }
};
