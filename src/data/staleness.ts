/**
 * Topics that must have a value each `staleMs`, as sources say it. Without such topics there are no
 * timers, and values of other topics cost nothing more.
 */
import type { StalenessHeader } from "../process/backend-link.ts";
import type { Owners } from "./owners.ts";
import { ageOf, type Follower, type Topic, wrappedMs } from "./topic.ts";
import type { Topics } from "./topics.ts";

/** @param ageMs of the newest value; null where there has been none */
type OnChange = (topic: string, isStale: boolean, ageMs: number | null) => void;

/** One topic. */
class Watched implements Follower {
  isStale = false;
  topic: Topic | null = null;
  timer: Timer | undefined;

  constructor(
    readonly name: string,
    readonly staleMs: number,
    private readonly onValue: (watched: Watched) => void,
  ) {}

  offer(): void {
    if (this.isStale) this.onValue(this);
  }

  gone(): void {
    this.topic?.unfollow(this);
    this.topic = null;
  }

  follow(topic: Topic): void {
    this.gone();
    this.topic = topic;
    topic.followers.push(this);
  }
}

/** A peer of the store, which tells it of new topics. */
export class Staleness {
  readonly #watched = new Map<string, Watched>();

  constructor(
    private readonly topics: Topics,
    private readonly owners: Owners,
    private readonly onChange: OnChange,
  ) {}

  /** These topics are watched from now on, and no others. */
  set(topics: StalenessHeader["topics"]): void {
    const before = new Map(this.#watched);
    this.#watched.clear();
    for (const { topic, staleMs } of topics) {
      const known = before.get(topic);
      if (known?.staleMs === staleMs) {
        before.delete(topic);
        this.#watched.set(topic, known);
        continue;
      }
      const watched = new Watched(topic, staleMs, (it) => this.#change(it, false, 0));
      this.#watched.set(topic, watched);
      const existing = this.topics.get(topic);
      if (existing !== undefined) watched.follow(existing);
      this.#lookAfter(watched, staleMs);
    }
    for (const watched of before.values()) end(watched);
  }

  /** null for a topic that is not watched. */
  of(topic: string): { readonly staleMs: number; readonly stale: boolean } | null {
    const watched = this.#watched.get(topic);
    return watched === undefined ? null : { staleMs: watched.staleMs, stale: watched.isStale };
  }

  follow(topic: Topic): void {
    this.#watched.get(topic.name)?.follow(topic);
  }

  close(): void {
    for (const watched of this.#watched.values()) end(watched);
    this.#watched.clear();
  }

  #lookAfter(watched: Watched, ms: number): void {
    watched.timer = setTimeout(() => this.#look(watched), ms).unref();
  }

  #look(watched: Watched): void {
    const { name, staleMs, topic } = watched;
    const ageMs = topic?.last == null ? null : ageOf(topic.last.lastAt, wrappedMs(performance.now()));
    if (ageMs !== null && ageMs < staleMs) return this.#lookAfter(watched, staleMs - ageMs);
    // From now on a value wakes it.
    if (this.owners.owns(name)) this.#change(watched, true, ageMs);
    else this.#lookAfter(watched, staleMs);
  }

  #change(watched: Watched, isStale: boolean, ageMs: number | null): void {
    watched.isStale = isStale;
    if (!isStale) this.#lookAfter(watched, watched.staleMs);
    this.onChange(watched.name, isStale, ageMs);
  }
}

const end = (watched: Watched): void => {
  clearTimeout(watched.timer);
  watched.gone();
};
