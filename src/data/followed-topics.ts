/**
 * The port of 0.2 as a subscriber of the store: of all topics while it has subscribers. Which topics
 * those want is looked up once for each change of their subscriptions.
 */
import type { Subscribers } from "./subscribers.ts";
import type { Follower, Topic } from "./topic.ts";

/** The port as a subscriber of one topic. */
export class TopicFollower implements Follower {
  /** When the last ERR went out, on the clock of performance.now(). */
  refusedAt = Number.NEGATIVE_INFINITY;
  /** Of the subscriptions that `isWanted` was found by. */
  #version = -1;
  #isWanted = false;

  constructor(
    readonly topic: Topic,
    private readonly topics: FollowedTopics,
  ) {}

  offer(): void {
    const { subscribers } = this.topics;
    if (this.#version !== subscribers.version) {
      this.#version = subscribers.version;
      this.#isWanted = subscribers.covers(this.topic.name);
    }
    if (this.#isWanted) this.topics.onValue(this);
  }

  drop(): void {
    this.topics.remove(this.topic);
  }

  leave(): void {
    this.drop();
  }
}

export class FollowedTopics {
  readonly #followers = new Map<Topic, TopicFollower>();

  /** @param onValue there is a new value of a topic that a subscriber may want */
  constructor(
    readonly subscribers: Subscribers,
    readonly onValue: (follower: TopicFollower) => void,
  ) {}

  get isEmpty(): boolean {
    return this.#followers.size === 0;
  }

  add(topic: Topic): void {
    if (this.#followers.has(topic)) return;
    const follower = new TopicFollower(topic, this);
    this.#followers.set(topic, follower);
    topic.followers.push(follower);
  }

  remove(topic: Topic): void {
    const follower = this.#followers.get(topic);
    if (follower === undefined) return;
    this.#followers.delete(topic);
    const index = topic.followers.indexOf(follower);
    if (index >= 0) topic.followers.splice(index, 1);
  }

  /** Follows none once there are no subscribers. */
  endIfIdle(): void {
    if (this.subscribers.isEmpty) this.end();
  }

  end(): void {
    for (const topic of [...this.#followers.keys()]) this.remove(topic);
  }
}
