/**
 * The topics that a connection publishes: which of them it may write was checked, and META that
 * differs from the last one by its time alone needs no decoding. A connection publishes the same
 * one several times in a row, or a few in turn.
 */
import { nameLengthMax, peerTopicsMax } from "../limits.ts";
import { MetaTemplate } from "./meta-template.ts";
import type { Topic } from "./topic.ts";

export interface KnownTopic {
  readonly topic: Topic;
  readonly meta: MetaTemplate;
  /** By `meta` the payload is JSON. */
  isJson: boolean;
}

export class KnownTopics {
  /** By the bytes of the name, each as a character. */
  readonly #byName = new Map<string, KnownTopic>();
  #last: KnownTopic | null = null;
  readonly #lastName: Uint8Array = new Uint8Array(4 * nameLengthMax);
  #lastLength = -1;

  /** The topic whose name is in `bytes` from `start` to `end`; null for one that must be checked. */
  find(bytes: Buffer, start: number, end: number): KnownTopic | null {
    if (this.#isLast(bytes, start, end)) return this.#last;
    const known = this.#byName.get(bytes.toString("latin1", start, end));
    if (known === undefined) return null;
    this.#keep(known, bytes, start, end);
    return known;
  }

  /** A value of the topic was checked and taken. */
  add(topic: Topic, bytes: Buffer, start: number, end: number): KnownTopic {
    const name = bytes.toString("latin1", start, end);
    const known = this.#byName.get(name) ?? { topic, meta: new MetaTemplate(), isJson: true };
    if (this.#byName.size >= peerTopicsMax) this.#byName.clear();
    this.#byName.set(name, known);
    this.#keep(known, bytes, start, end);
    return known;
  }

  clear(): void {
    this.#byName.clear();
    this.#last = null;
    this.#lastLength = -1;
  }

  #isLast(bytes: Buffer, start: number, end: number): boolean {
    const length = end - start;
    if (length !== this.#lastLength) return false;
    for (let index = 0; index < length; index++) if (bytes[start + index] !== this.#lastName[index]) return false;
    return true;
  }

  #keep(known: KnownTopic, bytes: Buffer, start: number, end: number): void {
    this.#last = known;
    this.#lastLength = bytes.copy(this.#lastName, 0, start, end);
  }
}
