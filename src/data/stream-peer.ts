/**
 * One connection to the stream port: what it publishes, its subscriptions and its requests. Frames
 * of values are not decoded, but for META that differs from the last one by more than its time.
 */
import { peerSubscriptionsMax } from "../limits.ts";
import { type ErrorBody, type ErrorCode, ProtocolError } from "../protocol/errors.ts";
import type { Frame } from "../protocol/frame.ts";
import {
  decodeStreamRequest,
  encodeStreamError,
  encodeStreamReply,
  isHandover,
  type StreamCommand,
  type StreamRequest,
} from "../protocol/stream.ts";
import { decodePublication, mistakeInPayload, serialOf } from "../protocol/values.ts";
import { sizeBytes } from "../transport/shm/framing.ts";
import { Answers } from "./answers.ts";
import { framesIn, placesIn, type ValuePlaces } from "./framed.ts";
import { KnownTopics } from "./known-topics.ts";
import { Refusals } from "./refusals.ts";
import { type StreamSink, StreamSubscription } from "./stream-subscription.ts";
import type { Topic } from "./topic.ts";
import type { StorePeer, TopicStore } from "./topic-store.ts";

/** The transport's part of a connection. */
export interface PeerTransport {
  /** The user whose key it came with, now; null in an engine without keys. */
  readonly user: string | null;
  /** Sends a reply, or returns false if there is no room for it. */
  send(frames: readonly Frame[]): boolean;
  /** Takes a framed message, or returns false and calls `onRoom` once there is room. */
  sendValue(bytes: Buffer, start: number, end: number): boolean;
  /** Shows what it has taken. */
  flush(): void;
}

/** Since the start of the process. */
let peers = 0;

export class StreamPeer implements StreamSink, StorePeer {
  readonly #store: TopicStore;
  readonly #transport: PeerTransport;
  readonly #subscriptions = new Map<string, StreamSubscription>();
  readonly #known = new KnownTopics();
  /** For `EngineTopics`. */
  readonly #id = `stream ${++peers}`;
  readonly #answers: Answers;
  readonly #refusals = new Refusals();

  constructor(store: TopicStore, transport: PeerTransport) {
    this.#store = store;
    this.#transport = transport;
    this.#answers = new Answers(transport, () => store.drop("answerNotRead"));
    store.join(this);
  }

  get user(): string | null {
    return this.#transport.user;
  }

  /* ── Publishing ── */

  /** Takes a framed message, without its length: `bytes` from `start` to `end`. */
  receive(bytes: Buffer, start: number, end: number): void {
    const nameBytes = end - start >= sizeBytes ? bytes.readUInt32LE(start) : 0;
    if (nameBytes === 0) return this.#request(framesIn(bytes, start, end));
    const places = placesIn(bytes, start, end);
    if (places === null) return this.#refuse("", undefined, "BAD_FRAME", "a value is a topic, META and a payload");
    const { nameAt, nameEnd, metaAt, metaEnd } = places;
    const known = this.#known.find(bytes, nameAt, nameEnd);
    if (known?.meta.fits(bytes, metaAt, metaEnd, end - metaEnd - sizeBytes) === true) {
      if (this.#store.append(known.topic, bytes, metaAt, metaEnd - metaAt, end)) return;
    }
    this.#receiveSlowly(bytes, places, end);
  }

  /** As `receive`, for a value that needs checks, a new topic, an acknowledgement or a refusal. */
  #receiveSlowly(bytes: Buffer, { nameAt, nameEnd, metaAt, metaEnd }: ValuePlaces, end: number): void {
    const name = bytes.toString("utf8", nameAt, nameEnd);
    const meta = bytes.subarray(metaAt, metaEnd);
    const payload = bytes.subarray(metaEnd + sizeBytes, end);
    const publication = decodePublication(meta, payload.length);
    if (publication instanceof ProtocolError) {
      return this.#refuse(name, serialOf(meta), publication.code, publication.message);
    }
    const { serial } = publication;
    const refusal =
      this.#store.refusalOf(this.user, name, payload.length) ??
      (serial === undefined ? null : mistakeInPayload(publication, payload));
    if (refusal !== null) return this.#refuse(name, serial, refusal.code, refusal.message);
    if (!this.#store.owners.owns(name)) return this.#moved(name, serial);
    const topic = this.#store.topicFor(name);
    if (!this.#store.append(topic, bytes, metaAt, meta.length, end)) {
      return this.#refuse(name, serial, "STORE_FULL", this.#store.fullMessage);
    }
    topic.publisher = this.user;
    const known = this.#known.add(topic, bytes, nameAt, nameEnd);
    if (serial !== undefined) {
      const data = { seq: topic.seq, epoch: topic.epoch };
      this.#answers.add(() => encodeStreamReply("ACK", serial, data));
    } else known.meta.learn(bytes, metaAt, metaEnd, publication.dtype === undefined ? null : payload.length);
  }

  /** Says why a value was not taken: at once where it was to be confirmed, else once a second. */
  #refuse(topic: string, serial: string | undefined, code: ErrorCode, message: string): void {
    if (serial !== undefined) return this.#refuseRequest(serial, { code, message }, { topic });
    this.#refusals.add(topic, code, (count) =>
      this.#transport.send(encodeStreamError(undefined, code, message, { topic, count })),
    );
  }

  /** Says that the topic of a value belongs to another data worker. */
  #moved(topic: string, serial: string | undefined): void {
    const reply = (): string[] =>
      encodeStreamReply("MOVED", serial, { topic, dataWorkers: this.#store.owners.dataWorkers });
    if (serial !== undefined) this.#answers.add(reply);
    else this.#refusals.add("", "UNAVAILABLE", () => this.#transport.send(reply()));
  }

  /* ── Requests ── */

  #request(frames: readonly Frame[] | null): void {
    if (frames !== null && isHandover(frames.slice(1))) {
      const refusal = this.#store.takeOver(this.user, frames.slice(2));
      if (refusal !== null) return this.#refuseRequest(undefined, refusal);
      return this.#answers.add(() => encodeStreamReply("ACK", undefined, null));
    }
    const request =
      frames === null
        ? { serial: undefined, error: new ProtocolError("BAD_FRAME", "the frames do not fit into the message") }
        : decodeStreamRequest(frames.slice(1));
    if ("error" in request) return this.#refuseRequest(request.serial, request.error);
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
    if (refusal !== null) return this.#refuseRequest(serial, refusal);
    this.#unsubscribe(serial);
    const subscription = new StreamSubscription(serial, data, this);
    this.#subscriptions.set(serial, subscription);
    this.#watch();
    this.#answers.add(() => encodeStreamReply("ACK", serial, null));
    for (const topic of this.#store.topicsFor(data)) this.#choose(topic, true);
    this.onRoom();
  }

  /** There is a new topic. */
  follow(topic: Topic): void {
    if (this.#subscriptions.size > 0) this.#choose(topic, false);
  }

  /** Gives a topic to the subscription that names it best, if any: the last one of equals. */
  #choose(topic: Topic, isNew: boolean): void {
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
      else if (!subscription.has(topic)) subscription.add(topic, isNew);
    }
  }

  /** Its topics go to other subscriptions that want them. */
  #unsubscribe(serial: string): void {
    const subscription = this.#subscriptions.get(serial);
    if (subscription === undefined) return;
    this.#subscriptions.delete(serial);
    const topics = [...this.#store.topicsFor(subscription.options)];
    subscription.close();
    for (const topic of topics) this.#choose(topic, false);
    this.#watch();
  }

  #watch(): void {
    this.#store.engineTopics.replace(
      this.#id,
      [...this.#subscriptions.values()].flatMap(({ names }) => names),
    );
  }

  #credit({ serial, data }: Extract<StreamRequest, { type: "CREDIT" }>): void {
    this.#subscriptions.get(serial)?.addCredit(data.credit);
    if (data.sync === true) this.#answers.add(() => encodeStreamReply("ACK", serial, null));
  }

  #command(serial: string, command: StreamCommand): void {
    const answer = this.#store.command(this.user, command);
    if ("code" in answer) return this.#refuseRequest(serial, answer);
    const { data, reading = null } = answer;
    const counts = () =>
      command.command === "history" ? { count: reading?.count ?? 0, dropped: reading?.dropped ?? 0 } : data;
    this.#answers.add(() => encodeStreamReply("ACK", serial, counts()), reading);
  }

  #refuseRequest(serial: string | undefined, { code, message }: ErrorBody, more: object = {}): void {
    this.#answers.add(() => encodeStreamError(serial, code, message, more));
  }

  /* ── Values to it ── */

  sendValue(bytes: Buffer, start: number, end: number): boolean {
    // The values of an answer stay together, and none of a subscription comes before its ACK.
    return this.#answers.isEmpty && this.#transport.sendValue(bytes, start, end);
  }

  sendDropped(serial: string, topics: Readonly<Record<string, number>>): boolean {
    return this.#transport.send(encodeStreamReply("DROPPED", serial, { topics }));
  }

  sendRemoved(serial: string, topic: string): void {
    this.#answers.add(() => encodeStreamReply("REMOVED", serial, { topic }));
  }

  sendStale(serial: string, topic: string, ageMs: number): void {
    this.#answers.add(() => encodeStreamReply("STALE", serial, { topic, ageMs }));
  }

  flush(): void {
    this.#transport.flush();
  }

  /** The transport has room again. */
  onRoom(): void {
    this.#answers.pump();
    for (const subscription of this.#subscriptions.values()) subscription.pump();
  }

  /** A topic is gone, or rights are others. */
  forget(): void {
    this.#known.clear();
  }

  /** Topics have other data workers. */
  ownersChanged(): void {
    this.forget();
    const data = { dataWorkers: this.#store.owners.dataWorkers };
    for (const serial of this.#subscriptions.keys()) {
      this.#answers.add(() => encodeStreamReply("MOVED", serial, data));
    }
    this.flush();
  }

  /** Ends the subscriptions whose right is gone. */
  accessChanged(): void {
    this.forget();
    for (const { serial, names } of [...this.#subscriptions.values()]) {
      const refusal = this.#store.refusalOfReading(this.user, names);
      if (refusal === null) continue;
      this.#unsubscribe(serial);
      this.#refuseRequest(serial, refusal);
    }
    this.flush();
  }

  close(): void {
    for (const subscription of this.#subscriptions.values()) subscription.close();
    this.#subscriptions.clear();
    this.#answers.clear();
    this.#store.engineTopics.gone(this.#id);
  }
}
