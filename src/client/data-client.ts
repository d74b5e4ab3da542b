/** The methods of a client for topics. */
import type { Publications } from "../data/publications.ts";
import type { TopicValue } from "../data/topic-value.ts";
import { historyMs, historyValuesMax } from "../limits.ts";
import type { DataPlane, Published, PublishOptions, TopicListing } from "./data-plane.ts";
import type { SubscribeOptions, Subscription } from "./subscription.ts";

export abstract class DataClient {
  protected abstract readonly data: DataPlane;

  /**
   * Gives a value to a topic: plain JSON, or bytes or an array. Returns at once: true if the data
   * worker gets it now; false if it is behind or not there. Then some values wait, of which newer
   * ones replace older ones of their topics; `await drained()` before the next one loses none. What
   * is lost is counted in `publications`, and a value that the engine refuses goes to
   * `onPublishError`. Throws TaskEngineError for a topic or a value that cannot be published.
   *
   * With `confirm`, resolves once the data worker has it, and rejects with the reason why not.
   */
  publish(topic: string, value: unknown, options: PublishOptions & { readonly confirm: true }): Promise<Published>;
  publish(topic: string, value: unknown, options?: PublishOptions): boolean;
  publish(topic: string, value: unknown, options?: PublishOptions): boolean | Promise<Published> {
    if (options?.confirm === true) return this.data.confirm(topic, value, options);
    return this.data.publish(topic, value, options);
  }

  /** Resolves once no value waits in this program any more. */
  drained(): Promise<void> {
    return this.data.publications.drained();
  }

  /**
   * Values that were not published, in all and by topic: `dropped` for newer ones before they were
   * sent, `refused` by the data worker.
   */
  get publications(): Pick<Publications, "dropped" | "refused"> {
    const { dropped, refused } = this.data.publications;
    return { dropped, refused };
  }

  /** The last value of a topic; rejects with UNKNOWN_TOPIC if there is none. */
  get(topic: string): Promise<TopicValue> {
    return this.data.get(topic);
  }

  /** The values of a topic of the last so many ms, oldest first, at most the newest `limit`. */
  history(topic: string, { lastMs = historyMs, limit = historyValuesMax } = {}): Promise<TopicValue[]> {
    return this.data.history(topic, lastMs, limit);
  }

  /** The topics that have values, by name. @param prefix the beginning of their names */
  topics(prefix = ""): Promise<TopicListing[]> {
    return this.data.topics(prefix);
  }

  /** Removes a topic and its history; rejects with UNKNOWN_TOPIC if there is none. */
  remove(topic: string): Promise<void> {
    return this.data.remove(topic);
  }

  /**
   * Follows topics: the last known value of each, then every later one. If the engine cannot be
   * reached, the first read rejects with NO_ANSWER; a connection that is lost later comes back by
   * itself.
   * @param topics beginnings of names: `arm` is `arm`, `arm.left` and `army`; none is every topic
   * but the engine's own
   */
  subscribe(...topics: string[]): Subscription;
  /** Throws TaskEngineError, BAD_ARGS, for options that cannot be. */
  subscribe(topics: string | readonly string[], options?: SubscribeOptions): Subscription;
  subscribe(first?: string | readonly string[], second?: string | SubscribeOptions, ...rest: string[]): Subscription {
    if (typeof second === "object") return this.data.subscribe([first ?? []].flat(), second);
    return this.data.subscribe([first ?? [], second ?? [], rest].flat(), {});
  }
}
