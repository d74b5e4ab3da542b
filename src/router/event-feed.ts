/**
 * Events of the engine's own topics on their way to the data workers that publish them: several in
 * one message, and no more messages than a data worker confirms. Nobody waits for a data worker
 * that does not read: further events are lost, and the next one says how many.
 */
import type { Effect } from "../broker/events.ts";
import { eventMessagesMax, eventsLengthMax, eventsMax, messageEventsMax } from "../limits.ts";
import { encodeBackend } from "../protocol/backend.ts";
import type { Frame } from "../protocol/frame.ts";

type EngineEvent = Extract<Effect, { readonly to: "event" }>;

/** The events for one data worker. */
interface WorkerEvents {
  readonly waiting: EngineEvent[];
  /** Messages that it has not confirmed. */
  unconfirmed: number;
  /** Counts of events that were lost since the last one that waits, by topic. */
  readonly lost: Map<string, number>;
}

export class EventFeed {
  readonly #feeds = new Map<string, WorkerEvents>();
  /** Events that wait in all feeds. */
  #waiting = 0;
  #waitingLength = 0;

  /**
   * @param send takes a message for a data worker. Returns false if that is gone or does not read
   * @param drop is told the number of events that are lost
   */
  constructor(
    private readonly send: (key: string, frames: readonly Frame[]) => boolean,
    private readonly drop: (count: number) => void,
  ) {}

  /** Takes an event, to be sent by `flush`. */
  add(event: EngineEvent): void {
    const { key, topic, body, lost } = event;
    let feed = this.#feeds.get(key);
    if (feed === undefined) {
      feed = { waiting: [], unconfirmed: 0, lost: new Map() };
      this.#feeds.set(key, feed);
    }
    const before = lost + (feed.lost.get(topic) ?? 0);
    if (this.#waiting >= eventsMax || this.#waitingLength + body.length > eventsLengthMax) {
      feed.lost.set(topic, before + 1);
      this.drop(1);
      return;
    }
    feed.lost.delete(topic);
    feed.waiting.push(before === lost ? event : { ...event, lost: before });
    this.#waiting++;
    this.#waitingLength += body.length;
  }

  /** Sends what its data workers are ready for. */
  flush(): void {
    if (this.#waiting === 0) return;
    for (const [key, feed] of this.#feeds) this.#flush(key, feed);
  }

  /** A data worker has confirmed a message. */
  heard(key: string): void {
    const feed = this.#feeds.get(key);
    if (feed === undefined) return;
    if (feed.unconfirmed > 0) feed.unconfirmed--;
    this.#flush(key, feed);
  }

  /** A data worker is gone, or has nobody who subscribes. */
  forget(key: string): void {
    const feed = this.#feeds.get(key);
    if (feed === undefined) return;
    this.#feeds.delete(key);
    this.#take(feed, feed.waiting.length);
  }

  #flush(key: string, feed: WorkerEvents): void {
    while (feed.waiting.length > 0 && feed.unconfirmed < eventMessagesMax) {
      const events = this.#take(feed, messageEventsMax);
      feed.unconfirmed++;
      const lost = events.map((event) => event.lost);
      const header = {
        type: "EVENTS" as const,
        topics: events.map(({ topic }) => topic),
        ...(lost.some((count) => count > 0) && { lost }),
      };
      const bodies = events.map(({ body }) => body);
      if (this.send(key, encodeBackend(header, bodies))) continue;
      this.drop(events.length + feed.waiting.length);
      return this.forget(key);
    }
  }

  #take(feed: WorkerEvents, count: number): EngineEvent[] {
    const events = feed.waiting.splice(0, count);
    this.#waiting -= events.length;
    for (const { body } of events) this.#waitingLength -= body.length;
    return events;
  }
}
