/**
 * The topics of a data worker, and their users: publishers append here, and each new value
 * goes to the cursors of its subscribers, and to the port of 0.2.
 */
import { dataBytesMax, historyBytesMax, historyMs, nameLengthMax } from "../limits.ts";
import { type EngineTopic, isEngineTopic, stopTopic, topicsTopic } from "../protocol/engine-topics.ts";
import { type ErrorBody, ProtocolError } from "../protocol/errors.ts";
import { type Frame, sizeOf, textOf } from "../protocol/frame.ts";
import { encodeData, packNow } from "../protocol/frames.ts";
import type { DataWorkerPorts } from "../protocol/ready.ts";
import type { StoreReport } from "../protocol/reports.ts";
import type { StreamCommand } from "../protocol/stream.ts";
import { decodePublication, encodePublicationMeta } from "../protocol/values.ts";
import type { Access } from "../security/access.ts";
import { encodedBytesMax, encodeInto } from "../transport/shm/framing.ts";
import { HistoryReading } from "./cursor.ts";
import { payloadIn } from "./data-frame.ts";
import { EngineTopics } from "./engine-topics.ts";
import { Owners } from "./owners.ts";
import { Staleness } from "./staleness.ts";
import { framedStart, Topic, wrappedMs } from "./topic.ts";
import { Topics } from "./topics.ts";

/** A connection of the stream port, or another part of the data worker. */
export interface StorePeer {
  /** There is a new topic, which it may want. */
  follow?(topic: Topic): void;
  /** A topic is gone, rights are others, or topics belong to other data workers. */
  forget?(): void;
  /** After `forget`. */
  accessChanged?(): void;
  /** After `forget`. */
  ownersChanged?(): void;
  close(): void;
}

interface CommandAnswer {
  readonly data: object | null;
  /** Values that go out before the answer. */
  readonly reading?: HistoryReading;
}

interface TopicStoreOptions {
  readonly access: () => Access;
  /** Is told the engine's own topics that have subscribers, whenever these are others. */
  readonly onWatched: (topics: readonly EngineTopic[]) => void;
  /** Something was said that no peer has asked for: what waits for a flush must be flushed. */
  readonly onTimer?: () => void;
  /** bytes of all values. */
  readonly bytesMax?: number;
  /** ms that values are kept. */
  readonly historyMs?: number;
  /** bytes of one value. */
  readonly valueBytesMax?: number;
}

export class TopicStore {
  readonly #options: Required<TopicStoreOptions>;
  readonly topics: Topics;
  readonly #peers = new Set<StorePeer>();
  /** Are told of each new value, the newest one of its topic. */
  readonly listeners = new Set<(topic: Topic) => void>();
  readonly engineTopics: EngineTopics;
  readonly #drops = new Map<string, number>();
  readonly owners = new Owners();
  readonly staleness: Staleness;
  /** bytes of one value */
  readonly valueBytesMax: number;
  /** Wrapped ms of the turn: the clock is read once for all values of it. */
  #now = wrappedMs(performance.now());

  constructor(options: TopicStoreOptions) {
    const defaults = { bytesMax: historyBytesMax, historyMs, valueBytesMax: dataBytesMax, onTimer: () => undefined };
    this.#options = { ...defaults, ...options };
    this.valueBytesMax = this.#options.valueBytesMax;
    this.topics = new Topics(this.#options);
    this.engineTopics = new EngineTopics((watched) => {
      // Nobody tells of the stops of a time in which nobody follows them.
      const stop = this.topics.get(stopTopic);
      if (stop !== undefined && !watched.includes(stopTopic)) this.#remove(stop);
      options.onWatched(watched);
    });
    this.staleness = new Staleness(this.topics, this.owners, (topic, isStale, ageMs) => {
      this.#tell(isStale ? "stale" : "fresh", topic);
      if (isStale) for (const follower of this.topics.get(topic)?.followers ?? []) follower.stale?.(ageMs ?? 0);
      this.#options.onTimer();
    });
    this.join(this.staleness);
  }

  /** Why `append` has not taken a value. */
  get full(): ErrorBody {
    const message = `the newest values of all topics take the ${this.#options.bytesMax} bytes that there are for them`;
    return { code: "STORE_FULL", message };
  }

  /** Counts of kept and lost values, for `status`. */
  get report(): StoreReport {
    let missed = 0;
    for (const topic of this.topics) missed += topic.dropped;
    return { topics: this.topics.size, bytes: this.topics.bytes, missed, dropped: this.drops };
  }

  /** Counts of values that were lost on the way, by kind. */
  get drops(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#drops);
  }

  drop(kind: string): void {
    this.#drops.set(kind, (this.#drops.get(kind) ?? 0) + 1);
  }

  join(peer: StorePeer): void {
    this.#peers.add(peer);
  }

  leave(peer: StorePeer): void {
    this.#peers.delete(peer);
    peer.close();
  }

  accessChanged(): void {
    this.#forget();
    for (const peer of [...this.#peers]) peer.accessChanged?.();
  }

  /* ── Several data workers ── */

  /** These share the topics from now on: see `Owners.set`. Those of others must be handed over. */
  share(dataWorkers: readonly DataWorkerPorts[], own: string): void {
    this.owners.set(dataWorkers, own);
    this.#forget();
    for (const peer of [...this.#peers]) peer.ownersChanged?.();
  }

  /**
   * Takes a topic that another data worker had, unless there are newer values of it already.
   * @param frames its name, and META and payload of each value, the oldest first
   */
  takeOver(user: string | null, [nameFrame = "", ...values]: readonly Frame[]): ErrorBody | null {
    const name = textOf(nameFrame);
    const refusal = this.refusalOf(user, name, 0);
    if (refusal !== null || this.topics.get(name) !== undefined) return refusal;
    const topic = new Topic(name);
    for (let index = 0; index + 1 < values.length; index += 2) {
      const [meta = "", payload = ""] = values.slice(index, index + 2);
      const checked = decodePublication(meta, sizeOf(payload));
      const mistake = checked instanceof ProtocolError ? checked : this.#publish(topic, meta, payload);
      if (mistake !== null) return { code: mistake.code, message: mistake.message };
    }
    return null;
  }

  /** A topic was handed over. */
  handedOver(topic: Topic): void {
    this.topics.remove(topic);
    for (const follower of [...topic.followers]) follower.gone(false);
  }

  /** To be called before the values of a turn. */
  tick(): void {
    this.#now = wrappedMs(performance.now());
  }

  /* ── Publishing ── */

  /** Why a user may not publish a payload of this length on a topic; null if it may. */
  refusalOf(user: string | null, topic: string, payloadBytes: number): ErrorBody | null {
    if (topic === "" || isEngineTopic(topic) || topic.includes("\0") || topic.length > nameLengthMax) {
      const rule = `a topic has 1 to ${nameLengthMax} characters, no NUL, and does not begin with $`;
      return { code: "BAD_FRAME", message: `topic ${JSON.stringify(topic.slice(0, nameLengthMax))}: ${rule}` };
    }
    const { valueBytesMax } = this;
    if (payloadBytes > valueBytesMax) {
      return { code: "TOO_LARGE", message: `topic ${topic}: ${payloadBytes} bytes, the limit is ${valueBytesMax}` };
    }
    const refusal = this.#options.access().refusal(user, "write", topic);
    return refusal === null ? null : { code: "UNAUTHORIZED", message: refusal };
  }

  topicFor(name: string): Topic {
    return this.topics.get(name) ?? new Topic(name);
  }

  /** Takes a value; see `Topic.append`. Returns false if there is no memory for it. */
  append(topic: Topic, source: Buffer, metaStart: number, metaBytes: number, end: number): boolean {
    // META and the payload without the payload's length, which `recordBytes` adds again.
    const recordBytes = topic.recordBytes(metaBytes, end - metaStart - metaBytes - 4);
    if (!topic.hasRoom(recordBytes) && !this.#reserve(topic, recordBytes)) return false;
    topic.append(source, metaStart, metaBytes, end, this.#now);
    const { last, newest, followers } = topic;
    if (last !== null && followers.length > 0) {
      const start = framedStart(newest);
      for (const follower of followers) follower.offer(last.bytes, start, last.end);
    }
    if (this.listeners.size > 0) for (const listener of this.listeners) listener(topic);
    return true;
  }

  /** Takes the DATA frame of a request of 0.2, of a worker or of the router. */
  put(name: string, data: Frame): ErrorBody | null {
    const payload = payloadIn(data);
    if (payload instanceof ProtocolError) return { code: payload.code, message: payload.message };
    const meta = encodePublicationMeta(null, undefined, payload.pack);
    return this.refusalOf(null, name, payload.text.length) ?? this.#publish(this.topicFor(name), meta, payload.text);
  }

  /**
   * Takes the DATA frame of an event of the engine.
   * @param lost number of events of the topic that were lost right before it
   */
  event(name: string, data: Frame, lost: number): void {
    const payload = payloadIn(data);
    if (payload instanceof ProtocolError) return this.drop("eventMalformed");
    const topic = this.topicFor(name);
    topic.skip(lost);
    const meta = encodePublicationMeta(null, undefined, payload.pack);
    if (this.#publish(topic, meta, payload.text) !== null) this.drop("eventWithoutRoom");
  }

  #publish(topic: Topic, meta: Frame, payload: Frame): ErrorBody | null {
    this.tick();
    const frames = [topic.name, meta, payload];
    const source = Buffer.allocUnsafeSlow(encodedBytesMax(frames));
    const end = encodeInto(source, 0, frames);
    const metaSizeAt = 8 + source.readUInt32LE(4);
    return this.append(topic, source, metaSizeAt + 4, source.readUInt32LE(metaSizeAt), end) ? null : this.full;
  }

  #reserve(topic: Topic, recordBytes: number): boolean {
    const isNew = this.topics.get(topic.name) !== topic;
    if (!this.topics.reserve(topic, recordBytes)) return false;
    if (isNew) for (const peer of this.#peers) peer.follow?.(topic);
    return true;
  }

  /* ── Reading ── */

  refusalOfReading(user: string | null, names: readonly string[]): ErrorBody | null {
    for (const name of names) {
      const refusal = this.#options.access().refusal(user, "read", name);
      if (refusal !== null) return { code: "UNAUTHORIZED", message: refusal };
    }
    return null;
  }

  command(user: string | null, command: StreamCommand): CommandAnswer | ErrorBody {
    this.tick();
    const name = command.command === "topics" ? command.prefix : command.topic;
    const refusal = command.command === "remove" ? this.refusalOf(user, name, 0) : this.refusalOfReading(user, [name]);
    if (refusal !== null) return refusal;
    if (command.command === "topics") {
      return { data: { topics: this.topics.list(name, this.#now, (topic) => this.staleness.of(topic)) } };
    }
    const topic = this.topics.get(name);
    if (topic === undefined || topic.isOfEvents) {
      return { code: "UNKNOWN_TOPIC", message: `topic ${JSON.stringify(name)} has no value yet` };
    }
    if (command.command === "remove") {
      this.#remove(topic);
      this.#tell("removed", name);
      return { data: null };
    }
    const { lastMs, limit } = command.command === "get" ? { lastMs: null, limit: 1 } : command;
    return { data: null, reading: new HistoryReading(topic, lastMs, limit, this.#now) };
  }

  #remove(topic: Topic): void {
    this.topics.remove(topic);
    for (const follower of [...topic.followers]) follower.gone(true);
    this.#forget();
  }

  #forget(): void {
    for (const peer of this.#peers) peer.forget?.();
  }

  /** An event of `$engine/topics`. */
  #tell(event: "stale" | "fresh" | "removed", topic: string): void {
    if (!this.engineTopics.watched.includes(topicsTopic)) return;
    this.event(topicsTopic, encodeData({ event, at: packNow(), topic }), 0);
  }

  close(): void {
    for (const peer of [...this.#peers]) this.leave(peer);
    this.topics.close();
  }
}
