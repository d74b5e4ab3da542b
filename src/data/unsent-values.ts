/**
 * What waits for a data worker that is behind or not there: requests, and values, of which the
 * oldest are dropped for newer ones of their topics when there is no more room.
 */
import { unsentValuesBytesMax } from "../limits.ts";
import type { Frame } from "../protocol/frame.ts";

export interface UnsentMessage {
  readonly topic: string;
  readonly frames: readonly Frame[];
  readonly bytes: number;
  /** Of a request or a value to be confirmed, which somebody waits for; null for a value. */
  readonly serial: string | null;
}

export class UnsentValues {
  readonly #messages = new Set<UnsentMessage>();
  readonly #byTopic = new Map<string, Set<UnsentMessage>>();
  #bytes = 0;

  get isEmpty(): boolean {
    return this.#messages.size === 0;
  }

  /** The oldest first. */
  [Symbol.iterator](): Iterator<UnsentMessage> {
    return this.#messages.values();
  }

  /** True if a request of that size finds room without values being dropped for it. */
  hasRoom(bytes: number): boolean {
    return this.isEmpty || this.#bytes + bytes <= unsentValuesBytesMax;
  }

  add(message: UnsentMessage): void {
    this.#messages.add(message);
    this.#bytes += message.bytes;
    if (message.serial !== null) return;
    const ofTopic = this.#byTopic.get(message.topic);
    if (ofTopic === undefined) this.#byTopic.set(message.topic, new Set([message]));
    else ofTopic.add(message);
  }

  /**
   * Drops a value if there are too many: the oldest of the topic, if it has another one, or else the
   * oldest of all. Returns it; null if there is room.
   */
  dropFor(topic: string): UnsentMessage | null {
    if (this.#bytes <= unsentValuesBytesMax || this.#messages.size === 1) return null;
    const ofTopic = this.#byTopic.get(topic);
    const dropped = ofTopic !== undefined && ofTopic.size > 1 ? first(ofTopic) : this.#oldestValue();
    if (dropped === null) return null;
    this.delete(dropped);
    return dropped;
  }

  delete(message: UnsentMessage): void {
    if (!this.#messages.delete(message)) return;
    this.#bytes -= message.bytes;
    const ofTopic = this.#byTopic.get(message.topic);
    ofTopic?.delete(message);
    if (ofTopic?.size === 0) this.#byTopic.delete(message.topic);
  }

  #oldestValue(): UnsentMessage | null {
    for (const message of this.#messages) if (message.serial === null) return message;
    return null;
  }
}

const first = <Item>(items: Iterable<Item>): Item | null => {
  for (const item of items) return item;
  return null;
};
