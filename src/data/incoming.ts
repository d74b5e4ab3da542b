/**
 * The values that a connection publishes, on their way into the store. Which topics it may write
 * was checked, and META that differs from the last one of its topic by its time alone needs no
 * decoding.
 */
import { nameLengthMax, peerTopicsMax } from "../limits.ts";
import { type ErrorBody, ProtocolError } from "../protocol/errors.ts";
import { decodePublication, mistakeInPayload, serialOf } from "../protocol/values.ts";
import { sizeBytes } from "../transport/shm/framing.ts";
import { placesIn, type ValuePlaces } from "./framed.ts";
import { MetaTemplate } from "./meta-template.ts";
import type { Topic } from "./topic.ts";
import type { TopicStore } from "./topic-store.ts";

/** The publisher. */
export interface IncomingSource {
  /** Whose key it came with; null in an engine without keys. */
  readonly user: string | null;
  /** The payload of each JSON value is checked; else only of those that are to be confirmed. */
  readonly isChecked: boolean;
  /** A value that is to be confirmed was taken. */
  confirm(serial: string, topic: Topic): void;
  /** A value was not taken. */
  refuse(topic: string, serial: string | undefined, error: ErrorBody): void;
  /** The topic of a value belongs to another data worker. */
  moved(topic: string, serial: string | undefined): void;
}

interface KnownTopic {
  readonly topic: Topic;
  readonly meta: MetaTemplate;
  /** True if `meta` says that the payload is JSON. */
  isJson: boolean;
}

export class Incoming {
  /** Topics by the bytes of their names, each byte as a character. */
  readonly #known = new Map<string, KnownTopic>();
  /** A connection publishes the same topic several times in a row, or a few in turn. */
  #last: KnownTopic | null = null;
  readonly #lastName: Uint8Array = new Uint8Array(4 * nameLengthMax);
  #lastLength = -1;

  constructor(
    private readonly store: TopicStore,
    private readonly source: IncomingSource,
  ) {}

  /** Takes a value: a framed message without its length, `bytes` from `start` to `end`. */
  receive(bytes: Buffer, start: number, end: number): void {
    const places = placesIn(bytes, start, end);
    if (places === null) {
      const error: ErrorBody = { code: "BAD_FRAME", message: "a value is a topic, META and a payload" };
      return this.source.refuse("", undefined, error);
    }
    const { nameAt, nameEnd, metaAt, metaEnd } = places;
    const payloadAt = metaEnd + sizeBytes;
    const known = this.#find(bytes, nameAt, nameEnd);
    if (known?.meta.fits(bytes, metaAt, metaEnd, end - payloadAt) === true) {
      const isChecked = this.source.isChecked && known.isJson;
      const mistake = isChecked ? mistakeInPayload({}, bytes.subarray(payloadAt, end)) : null;
      if (mistake !== null) return this.source.refuse(known.topic.name, undefined, mistake);
      if (this.store.append(known.topic, bytes, metaAt, metaEnd - metaAt, end)) return;
    }
    this.#receiveSlowly(bytes, places, end);
  }

  /** A topic is gone, has another data worker, or rights are others. */
  forget(): void {
    this.#known.clear();
    this.#last = null;
    this.#lastLength = -1;
  }

  /** As `receive`, for a value that needs checks, a new topic, an acknowledgement or a refusal. */
  #receiveSlowly(bytes: Buffer, { nameAt, nameEnd, metaAt, metaEnd }: ValuePlaces, end: number): void {
    const { store, source } = this;
    const name = bytes.toString("utf8", nameAt, nameEnd);
    const meta = bytes.subarray(metaAt, metaEnd);
    const payload = bytes.subarray(metaEnd + sizeBytes, end);
    const publication = decodePublication(meta, payload.length);
    if (publication instanceof ProtocolError) return source.refuse(name, serialOf(meta), publication);
    const { serial, contentType, dtype } = publication;
    const isChecked = source.isChecked || serial !== undefined;
    const refusal =
      store.refusalOf(source.user, name, payload.length) ?? (isChecked ? mistakeInPayload(publication, payload) : null);
    if (refusal !== null) return source.refuse(name, serial, refusal);
    if (!store.owners.owns(name)) return source.moved(name, serial);
    const topic = store.topicFor(name);
    if (!store.append(topic, bytes, metaAt, meta.length, end)) return source.refuse(name, serial, store.full);
    topic.publisher = source.user;
    const known = this.#add(topic, bytes, nameAt, nameEnd);
    known.isJson = contentType === undefined;
    if (serial !== undefined) source.confirm(serial, topic);
    else known.meta.learn(bytes, metaAt, metaEnd, dtype === undefined ? null : payload.length);
  }

  /**
   * The topic whose name is in `bytes` from `start` to `end`; null for one that must be checked.
   */
  #find(bytes: Buffer, start: number, end: number): KnownTopic | null {
    if (this.#isLast(bytes, start, end)) return this.#last;
    const known = this.#known.get(bytes.toString("latin1", start, end));
    if (known === undefined) return null;
    this.#keep(known, bytes, start, end);
    return known;
  }

  /** A value of the topic was checked and taken. */
  #add(topic: Topic, bytes: Buffer, start: number, end: number): KnownTopic {
    const name = bytes.toString("latin1", start, end);
    const known = this.#known.get(name) ?? { topic, meta: new MetaTemplate(), isJson: true };
    if (this.#known.size >= peerTopicsMax) this.#known.clear();
    this.#known.set(name, known);
    this.#keep(known, bytes, start, end);
    return known;
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
