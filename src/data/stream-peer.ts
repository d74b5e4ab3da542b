/**
 * One connection to the stream port: what it publishes, its subscriptions and its requests. Frames
 * of values are not decoded, but for META that differs from the last one by more than its time.
 */
import { errorRepeatMs, historyReplyBytesMax, nameLengthMax, peerErrorsMax, peerSubscriptionsMax } from "../limits.ts";
import type { ErrorCode } from "../protocol/errors.ts";
import { ProtocolError } from "../protocol/errors.ts";
import type { Frame } from "../protocol/frame.ts";
import {
  decodeStreamRequest,
  encodeStreamError,
  encodeStreamReply,
  type StreamCommand,
  type StreamRequest,
} from "../protocol/stream.ts";
import { decodePublication } from "../protocol/values.ts";
import { sizeBytes } from "../transport/shm/framing.ts";
import { MetaTemplate } from "./meta-template.ts";
import { type StreamSink, StreamSubscription } from "./stream-subscription.ts";
import type { Topic } from "./topic.ts";
import type { StorePeer, TopicStore } from "./topic-store.ts";

/** The transport's part of a connection. */
export interface PeerTransport {
  readonly user: string | null;
  /** Sends a reply. */
  send(frames: readonly Frame[]): void;
  /** Takes a framed message, or returns false and calls `onRoom` once there is room. */
  sendValue(bytes: Buffer, start: number, end: number): boolean;
}

export class StreamPeer implements StreamSink, StorePeer {
  readonly #store: TopicStore;
  readonly #transport: PeerTransport;
  readonly #subscriptions = new Map<string, StreamSubscription>();
  /** The topic of the last value, since a peer publishes the same one several times in a row. */
  #lastTopic: Topic | null = null;
  readonly #lastName: Uint8Array = new Uint8Array(4 * nameLengthMax);
  #lastNameLength = -1;
  readonly #meta = new MetaTemplate();
  /** Refusals by topic and code: when one was sent last, and how many were not sent since. */
  readonly #refusals = new Map<string, { at: number; count: number }>();

  constructor(store: TopicStore, transport: PeerTransport) {
    this.#store = store;
    this.#transport = transport;
  }

  get user(): string | null {
    return this.#transport.user;
  }

  /* ── Publishing ── */

  /** Takes a framed message, without its length: `bytes` from `start` to `end`. */
  receive(bytes: Buffer, start: number, end: number): void {
    const nameBytes = end - start >= sizeBytes ? bytes.readUInt32LE(start) : 0;
    if (nameBytes === 0) return this.#request(framesIn(bytes, start, end));
    const nameAt = start + sizeBytes;
    const metaSizeAt = nameAt + nameBytes;
    const metaAt = metaSizeAt + sizeBytes;
    const metaBytes = metaAt <= end ? bytes.readUInt32LE(metaSizeAt) : 0;
    const payloadSizeAt = metaAt + metaBytes;
    const payloadAt = payloadSizeAt + sizeBytes;
    if (payloadAt > end || payloadAt + bytes.readUInt32LE(payloadSizeAt) !== end) {
      return this.#refuse("", undefined, "BAD_FRAME", "a value is a topic, META and a payload");
    }
    const topic = this.#topicOf(bytes, nameAt, metaSizeAt);
    if (topic !== null && this.#meta.fits(bytes, metaAt, payloadSizeAt, end - payloadAt)) {
      if (this.#store.append(topic, bytes, metaAt, metaBytes, end)) return;
    }
    this.#receiveSlowly(bytes, nameAt, metaSizeAt, metaAt, payloadSizeAt, end);
  }

  /** As `receive`, for a value that needs checks, a new topic, an acknowledgement or a refusal. */
  #receiveSlowly(bytes: Buffer, nameAt: number, nameEnd: number, metaAt: number, metaEnd: number, end: number): void {
    const name = bytes.toString("utf8", nameAt, nameEnd);
    const payloadBytes = end - metaEnd - sizeBytes;
    const publication = decodePublication(bytes.subarray(metaAt, metaEnd), payloadBytes);
    if (publication instanceof ProtocolError) {
      return this.#refuse(name, undefined, publication.code, publication.message);
    }
    const { serial } = publication;
    const refusal =
      bytes[metaAt] === openBrace
        ? this.#store.refusalOf(this.user, name, payloadBytes)
        : { code: "BAD_FRAME" as const, message: "META: does not begin with {" };
    if (refusal !== null) return this.#refuse(name, serial, refusal.code, refusal.message);
    const topic = this.#store.topicFor(name);
    if (!this.#store.append(topic, bytes, metaAt, metaEnd - metaAt, end)) {
      return this.#refuse(name, serial, "STORE_FULL", this.#store.fullMessage);
    }
    this.#lastTopic = topic;
    this.#lastNameLength = bytes.copy(this.#lastName, 0, nameAt, nameEnd);
    if (serial === undefined) {
      return this.#meta.learn(bytes, metaAt, metaEnd, publication.dtype === undefined ? null : payloadBytes);
    }
    this.#transport.send(encodeStreamReply("ACK", serial, { seq: topic.seq, epoch: topic.epoch }));
  }

  /** The topic of the last value, if this one names it again and may write it; else null. */
  #topicOf(bytes: Buffer, start: number, end: number): Topic | null {
    const length = end - start;
    if (length !== this.#lastNameLength) return null;
    for (let index = 0; index < length; index++) if (bytes[start + index] !== this.#lastName[index]) return null;
    return this.#lastTopic;
  }

  /** Says why a value was not taken: at once where it was to be confirmed, else once a second. */
  #refuse(topic: string, serial: string | undefined, code: ErrorCode, message: string): void {
    if (serial !== undefined) return this.#transport.send(encodeStreamError(serial, code, message, { topic }));
    const key = `${code} ${topic}`;
    const now = performance.now();
    const refusal = this.#refusals.get(key) ?? { at: Number.NEGATIVE_INFINITY, count: 0 };
    refusal.count++;
    if (now - refusal.at >= errorRepeatMs) {
      this.#transport.send(encodeStreamError(undefined, code, message, { topic, count: refusal.count }));
      refusal.at = now;
      refusal.count = 0;
    }
    if (this.#refusals.size >= peerErrorsMax && !this.#refusals.has(key)) this.#refusals.clear();
    this.#refusals.set(key, refusal);
  }

  /* ── Requests ── */

  #request(frames: readonly Frame[] | null): void {
    const request =
      frames === null
        ? { serial: undefined, error: new ProtocolError("BAD_FRAME", "the frames do not fit into the message") }
        : decodeStreamRequest(frames.slice(1));
    if ("error" in request) {
      const { code, message } = request.error;
      return this.#transport.send(encodeStreamError(request.serial, code, message));
    }
    switch (request.type) {
      case "SUBSCRIBE":
        return this.#subscribe(request);
      case "UNSUBSCRIBE":
        return this.#unsubscribe(request.serial);
      case "CREDIT":
        return this.#credit(request);
      default:
        return this.#command(request.serial, request.data);
    }
  }

  #subscribe({ serial, data }: Extract<StreamRequest, { type: "SUBSCRIBE" }>): void {
    const refusal =
      this.#subscriptions.size >= peerSubscriptionsMax && !this.#subscriptions.has(serial)
        ? { code: "QUEUE_FULL" as const, message: `this connection has ${peerSubscriptionsMax} subscriptions already` }
        : this.#store.refusalOfReading(this.user, [...data.topics, ...data.prefixes]);
    if (refusal !== null) return this.#transport.send(encodeStreamError(serial, refusal.code, refusal.message));
    this.#unsubscribe(serial);
    const subscription = new StreamSubscription(serial, data, this);
    this.#subscriptions.set(serial, subscription);
    this.#transport.send(encodeStreamReply("ACK", serial, null));
    for (const topic of this.#store.topicsFor(data)) this.follow(topic);
    subscription.pump();
  }

  /** Gives a topic to the subscription that names it best, if any: the last one of equals. */
  follow(topic: Topic): void {
    let best: StreamSubscription | null = null;
    let rank = -1;
    for (const subscription of this.#subscriptions.values()) {
      const its = subscription.rankOf(topic.name);
      if (its < 0 || its < rank) continue;
      best = subscription;
      rank = its;
    }
    for (const subscription of this.#subscriptions.values()) {
      if (subscription !== best) subscription.drop(topic);
      else if (!subscription.has(topic)) subscription.add(topic);
    }
  }

  #unsubscribe(serial: string): void {
    const subscription = this.#subscriptions.get(serial);
    if (subscription === undefined) return;
    this.#subscriptions.delete(serial);
    const topics = [...this.#store.topicsFor(subscription.options)];
    subscription.close();
    for (const topic of topics) this.follow(topic);
  }

  #credit({ serial, data }: Extract<StreamRequest, { type: "CREDIT" }>): void {
    this.#subscriptions.get(serial)?.addCredit(data.credit);
    if (data.sync === true) this.#transport.send(encodeStreamReply("ACK", serial, null));
  }

  #command(serial: string, command: StreamCommand): void {
    const answer = this.#store.command(this.user, command);
    if ("code" in answer) return this.#transport.send(encodeStreamError(serial, answer.code, answer.message));
    let bytes = 0;
    let left = 0;
    for (const place of answer.values ?? []) {
      bytes += place.end - place.start;
      if (bytes > historyReplyBytesMax || !this.#transport.sendValue(place.bytes, place.start, place.end)) left++;
    }
    this.#transport.send(
      encodeStreamReply("ACK", serial, left === 0 ? answer.data : { ...answer.data, dropped: left }),
    );
  }

  /* ── Values to it ── */

  sendValue(bytes: Buffer, start: number, end: number): boolean {
    return this.#transport.sendValue(bytes, start, end);
  }

  sendDropped(serial: string, topics: Readonly<Record<string, number>>): void {
    this.#transport.send(encodeStreamReply("DROPPED", serial, { topics }));
  }

  /** The transport has room again. */
  onRoom(): void {
    for (const subscription of this.#subscriptions.values()) subscription.pump();
  }

  /** Rights have changed. */
  forgetRights(): void {
    this.#lastTopic = null;
    this.#lastNameLength = -1;
  }

  close(): void {
    for (const subscription of this.#subscriptions.values()) subscription.close();
    this.#subscriptions.clear();
  }
}

const openBrace = 0x7b;

/** The frames of a framed message, copied; null if their lengths do not fit. */
const framesIn = (bytes: Buffer, start: number, end: number): Buffer[] | null => {
  const frames: Buffer[] = [];
  for (let at = start; at < end; ) {
    const from = at + sizeBytes;
    at = from <= end ? from + bytes.readUInt32LE(at) : end + 1;
    if (at > end) return null;
    frames.push(Buffer.from(bytes.subarray(from, at)));
  }
  return frames;
};
