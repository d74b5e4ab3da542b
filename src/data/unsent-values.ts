/**
 * Values and requests that wait in a program while no way is open for them: the data worker or the
 * router is behind or not there. When there is no more room, the oldest values are dropped for
 * newer ones of their topics.
 */
import { unsentValuesBytesMax } from "../limits.ts";
import type { Frame } from "../protocol/frame.ts";

interface Unsent {
  readonly topic: string;
  readonly bytes: number;
  /** Somebody waits for its answer, so that it is not dropped. */
  readonly isAwaited: boolean;
}

/** A message that waits for a data worker. */
export interface UnsentMessage extends Unsent {
  readonly frames: readonly Frame[];
}

export class UnsentValues<Message extends Unsent> {
  readonly #messages = new Set<Message>();
  readonly #byTopic = new Map<string, Set<Message>>();
  #bytes = 0;

  get isEmpty(): boolean {
    return this.#messages.size === 0;
  }

  /** The oldest first. */
  [Symbol.iterator](): Iterator<Message> {
    return this.#messages.values();
  }

  /** True if a request of that size finds room without values being dropped for it. */
  hasRoom(bytes: number): boolean {
    return this.isEmpty || this.#bytes + bytes <= unsentValuesBytesMax;
  }

  /** Returns the values that are dropped for it, perhaps itself. */
  add(message: Message): readonly Message[] {
    const { topic } = message;
    this.#messages.add(message);
    this.#bytes += message.bytes;
    if (message.isAwaited) return [];
    const ofTopic = this.#byTopic.get(topic) ?? new Set();
    this.#byTopic.set(topic, ofTopic.add(message));
    const dropped: Message[] = [];
    while (this.#bytes > unsentValuesBytesMax && this.#messages.size > 1) {
      // The topic's own oldest one, if it has another one, or else the oldest of all.
      const oldest = ofTopic.size > 1 ? first(ofTopic) : this.#oldestValue();
      if (oldest === null) break;
      this.delete(oldest);
      dropped.push(oldest);
    }
    return dropped;
  }

  delete(message: Message): void {
    if (!this.#messages.delete(message)) return;
    this.#bytes -= message.bytes;
    const ofTopic = this.#byTopic.get(message.topic);
    ofTopic?.delete(message);
    if (ofTopic?.size === 0) this.#byTopic.delete(message.topic);
  }

  #oldestValue(): Message | null {
    for (const message of this.#messages) if (!message.isAwaited) return message;
    return null;
  }
}

const first = <Item>(items: Iterable<Item>): Item | null => {
  for (const item of items) return item;
  return null;
};
