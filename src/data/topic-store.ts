/**
 * The topics of a data worker and all who use them: what publishes appends here, and each new value
 * goes to the cursors of its subscribers and to the observers (the port of 0.2).
 */
import { dataBytesMax, historyBytesMax, historyMs, nameLengthMax, topicsListedMax } from "../limits.ts";
import type { ErrorBody } from "../protocol/errors.ts";
import type { StreamCommand, SubscribeOptions } from "../protocol/stream.ts";
import { encodePublicationMeta, type PayloadType } from "../protocol/values.ts";
import type { Access } from "../security/access.ts";
import { encodedBytesMax, encodeInto } from "../transport/shm/framing.ts";
import { framedStart, type Place, type Topic, wrappedMs } from "./topic.ts";
import { Topics } from "./topics.ts";

/** Gets each new value, after the subscribers. */
export type ValueObserver = (topic: Topic) => void;

/** A connection of the stream port. */
export interface StorePeer {
  /** There is a new topic, which it may want. */
  follow(topic: Topic): void;
  forgetRights(): void;
  close(): void;
}

interface CommandAnswer {
  readonly data: object | null;
  /** Values that go out before the answer. */
  readonly values?: Iterable<Place>;
}

export class TopicStore {
  readonly #topics = new Topics({ bytesMax: historyBytesMax, historyMs });
  readonly #peers = new Set<StorePeer>();
  readonly #observers: ValueObserver[] = [];
  /** Wrapped ms of the turn: the clock is read once for all values of it. */
  #now = 0;
  #access: () => Access;

  constructor(access: () => Access) {
    this.#access = access;
  }

  get topics(): Topics {
    return this.#topics;
  }

  readonly fullMessage = `the newest values of all topics take the ${historyBytesMax} bytes that there are for them`;

  observe(observer: ValueObserver): void {
    this.#observers.push(observer);
  }

  join(peer: StorePeer): void {
    this.#peers.add(peer);
  }

  leave(peer: StorePeer): void {
    this.#peers.delete(peer);
    peer.close();
  }

  accessChanged(): void {
    for (const peer of this.#peers) peer.forgetRights();
  }

  /** To be called before the values of a turn. */
  tick(): void {
    this.#now = wrappedMs(performance.now());
  }

  /* ── Publishing ── */

  /** Why a user may not publish a payload of this length on a topic; null if it may. */
  refusalOf(user: string | null, topic: string, payloadBytes: number): ErrorBody | null {
    if (topic.startsWith("$") || topic.includes("\0") || topic.length > nameLengthMax) {
      const rule = `a topic has 1 to ${nameLengthMax} characters, no NUL, and does not begin with $`;
      return { code: "BAD_FRAME", message: `topic ${JSON.stringify(topic.slice(0, nameLengthMax))}: ${rule}` };
    }
    if (payloadBytes > dataBytesMax) {
      return { code: "TOO_LARGE", message: `topic ${topic}: ${payloadBytes} bytes, the limit is ${dataBytesMax}` };
    }
    const refusal = this.#access().refusal(user, "write", topic);
    return refusal === null ? null : { code: "UNAUTHORIZED", message: refusal };
  }

  topicFor(name: string): Topic {
    return this.#topics.get(name) ?? this.#topics.make(name);
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
    for (const observer of this.#observers) observer(topic);
    return true;
  }

  /** Publishes a value of this process, or of the router. */
  publish(name: string, payload: Uint8Array | string, type: PayloadType | null): ErrorBody | null {
    this.tick();
    const frames = [name, encodePublicationMeta(type), payload];
    const source = Buffer.allocUnsafeSlow(encodedBytesMax(frames));
    const end = encodeInto(source, 0, frames);
    const metaSizeAt = 8 + source.readUInt32LE(4);
    const topic = this.topicFor(name);
    if (this.append(topic, source, metaSizeAt + 4, source.readUInt32LE(metaSizeAt), end)) return null;
    return { code: "STORE_FULL", message: this.fullMessage };
  }

  #reserve(topic: Topic, recordBytes: number): boolean {
    const isNew = topic.seq === 0;
    if (!this.#topics.reserve(topic, recordBytes)) return false;
    if (isNew) for (const peer of this.#peers) peer.follow(topic);
    return true;
  }

  /* ── Reading ── */

  refusalOfReading(user: string | null, names: readonly string[]): ErrorBody | null {
    for (const name of names) {
      const refusal = this.#access().refusal(user, "read", name);
      if (refusal !== null) return { code: "UNAUTHORIZED", message: refusal };
    }
    return null;
  }

  *topicsFor({ topics, prefixes }: Pick<SubscribeOptions, "topics" | "prefixes">): Generator<Topic, void, undefined> {
    for (const name of topics) {
      const topic = this.#topics.get(name);
      if (topic !== undefined) yield topic;
    }
    if (prefixes.length === 0) return;
    for (const topic of this.#topics) {
      if (!topics.includes(topic.name) && prefixes.some((prefix) => topic.name.startsWith(prefix))) yield topic;
    }
  }

  command(user: string | null, command: StreamCommand): CommandAnswer | ErrorBody {
    this.tick();
    const name = command.command === "topics" ? command.prefix : command.topic;
    const right = command.command === "remove" ? "write" : "read";
    const refusal = this.#access().refusal(user, right, name);
    if (refusal !== null) return { code: "UNAUTHORIZED", message: refusal };
    if (command.command === "topics") return { data: { topics: this.#list(name) } };
    const topic = this.#topics.get(name);
    if (topic === undefined) {
      return { code: "UNKNOWN_TOPIC", message: `topic ${JSON.stringify(name)} has no value yet` };
    }
    if (command.command === "remove") {
      this.remove(topic);
      return { data: null };
    }
    const newest = topic.newestPlace;
    if (command.command === "get") return { data: null, values: newest === null ? [] : [newest] };
    const places = [...topic.since(command.lastMs, this.#now)].slice(-command.limit);
    return { data: { count: places.length }, values: places };
  }

  remove(topic: Topic): void {
    this.#topics.remove(topic);
    for (const follower of [...topic.followers]) follower.drop();
    for (const peer of this.#peers) peer.forgetRights();
  }

  #list(prefix: string): object[] {
    const list: object[] = [];
    for (const topic of this.#topics) {
      if (!topic.name.startsWith(prefix)) continue;
      if (list.length >= topicsListedMax) break;
      list.push({ topic: topic.name, values: topic.seq, dropped: topic.dropped, bytes: topic.bytes });
    }
    return list;
  }

  close(): void {
    for (const peer of [...this.#peers]) this.leave(peer);
    this.#topics.close();
  }
}
