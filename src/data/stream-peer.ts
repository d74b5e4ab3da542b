/**
 * One connection to the stream port: what it publishes, its subscriptions and its requests.
 * Requests are answered in their order, and the answers wait while the peer does not read.
 */
import { errorRepeatMs, peerAnswersMax, peerErrorsMax, peerSubscriptionsMax } from "../limits.ts";
import { type ErrorBody, ProtocolError } from "../protocol/errors.ts";
import type { Frame } from "../protocol/frame.ts";
import {
  decodeStreamRequest,
  encodeStreamError,
  encodeStreamReply,
  isHandover,
  type StreamCommand,
  type StreamRequest,
} from "../protocol/stream.ts";
import { sizeBytes } from "../transport/shm/framing.ts";
import type { HistoryReading } from "./cursor.ts";
import { framesIn } from "./framed.ts";
import { Incoming, type IncomingSource } from "./incoming.ts";
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

interface WaitingAnswer {
  readonly encode: () => readonly Frame[];
  /** Values that go out before it. */
  readonly reading: HistoryReading | null;
}

/** Since the start of the process. */
let peers = 0;

export class StreamPeer implements StreamSink, StorePeer, IncomingSource {
  readonly isChecked = false;
  readonly #store: TopicStore;
  readonly #transport: PeerTransport;
  readonly #subscriptions = new Map<string, StreamSubscription>();
  readonly #incoming: Incoming;
  /** For `EngineTopics`. */
  readonly #id = `stream ${++peers}`;
  #answers: WaitingAnswer[] = [];
  /**
   * Refusals that nobody waits for, by code and topic: when one was said last, and how many there
   * were since.
   */
  readonly #refusals = new Map<string, { at: number; count: number }>();

  constructor(store: TopicStore, transport: PeerTransport) {
    this.#store = store;
    this.#transport = transport;
    this.#incoming = new Incoming(store, this);
    store.join(this);
  }

  get user(): string | null {
    return this.#transport.user;
  }

  /** Takes a framed message, without its length: `bytes` from `start` to `end`. */
  receive(bytes: Buffer, start: number, end: number): void {
    const isRequest = end - start < sizeBytes || bytes.readUInt32LE(start) === 0;
    if (isRequest) this.#request(framesIn(bytes, start, end));
    else this.#incoming.receive(bytes, start, end);
  }

  /* ── Publishing ── */

  confirm(serial: string, { seq, epoch }: Topic): void {
    this.#answer(() => encodeStreamReply("ACK", serial, { seq, epoch }));
  }

  /**
   * Says at once why a value was not taken that was to be confirmed, and of others once a second.
   */
  refuse(topic: string, serial: string | undefined, error: ErrorBody): void {
    if (serial !== undefined) return this.#refuseRequest(serial, error, { topic });
    const { code, message } = error;
    this.#sayAtTimes(`${code} ${topic}`, (count) => encodeStreamError(undefined, code, message, { topic, count }));
  }

  moved(topic: string, serial: string | undefined): void {
    const reply = (): string[] =>
      encodeStreamReply("MOVED", serial, { topic, dataWorkers: this.#store.owners.dataWorkers });
    if (serial !== undefined) this.#answer(reply);
    else this.#sayAtTimes("MOVED", reply);
  }

  /** @param encode takes the number of times since it was said last */
  #sayAtTimes(kind: string, encode: (count: number) => readonly Frame[]): void {
    const refusal = this.#refusals.get(kind) ?? { at: Number.NEGATIVE_INFINITY, count: 0 };
    refusal.count++;
    if (this.#refusals.size >= peerErrorsMax && !this.#refusals.has(kind)) this.#refusals.clear();
    this.#refusals.set(kind, refusal);
    const now = performance.now();
    if (now - refusal.at < errorRepeatMs) return;
    refusal.at = now;
    if (this.#transport.send(encode(refusal.count))) refusal.count = 0;
  }

  /* ── Requests ── */

  #request(frames: readonly Frame[] | null): void {
    if (frames !== null && isHandover(frames.slice(1))) {
      const refusal = this.#store.takeOver(this.user, frames.slice(2));
      if (refusal !== null) return this.#refuseRequest(undefined, refusal);
      return this.#answer(() => encodeStreamReply("ACK", undefined, null));
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
    this.#answer(() => encodeStreamReply("ACK", serial, null));
    for (const topic of this.#store.topics.matching(data)) this.#choose(topic, true);
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
    const topics = [...this.#store.topics.matching(subscription.options)];
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
    if (data.sync === true) {
      const { valueBytesMax } = this.#store;
      this.#answer(() => encodeStreamReply("ACK", serial, { valueBytesMax }));
    }
  }

  #command(serial: string, command: StreamCommand): void {
    const answer = this.#store.command(this.user, command);
    if ("code" in answer) return this.#refuseRequest(serial, answer);
    const { data, reading = null } = answer;
    const counts = () =>
      command.command === "history" ? { count: reading?.count ?? 0, dropped: reading?.dropped ?? 0 } : data;
    this.#answer(() => encodeStreamReply("ACK", serial, counts()), reading);
  }

  #refuseRequest(serial: string | undefined, { code, message }: ErrorBody, more: object = {}): void {
    this.#answer(() => encodeStreamError(serial, code, message, more));
  }

  /** Answers, at once unless the peer does not read. */
  #answer(encode: () => readonly Frame[], reading: HistoryReading | null = null): void {
    if (this.#answers.length >= peerAnswersMax) return this.#store.drop("answerNotRead");
    this.#answers.push({ encode, reading });
    this.#sendAnswers();
  }

  #sendAnswers(): void {
    const send = (bytes: Buffer, start: number, end: number): boolean => this.#transport.sendValue(bytes, start, end);
    for (let answer = this.#answers[0]; answer !== undefined; answer = this.#answers[0]) {
      if (answer.reading?.pump(send) === false || !this.#transport.send(answer.encode())) return;
      this.#answers.shift();
    }
  }

  /* ── Values to it ── */

  sendValue(bytes: Buffer, start: number, end: number): boolean {
    // The values of an answer stay together, and none of a subscription comes before its ACK.
    return this.#answers.length === 0 && this.#transport.sendValue(bytes, start, end);
  }

  sendDropped(serial: string, topics: Readonly<Record<string, number>>): boolean {
    return this.#transport.send(encodeStreamReply("DROPPED", serial, { topics }));
  }

  sendRemoved(serial: string, topic: string): void {
    this.#answer(() => encodeStreamReply("REMOVED", serial, { topic }));
  }

  sendStale(serial: string, topic: string, ageMs: number): void {
    this.#answer(() => encodeStreamReply("STALE", serial, { topic, ageMs }));
  }

  flush(): void {
    this.#transport.flush();
  }

  /** The transport has room again. */
  onRoom(): void {
    this.#sendAnswers();
    for (const subscription of this.#subscriptions.values()) subscription.pump();
  }

  forget(): void {
    this.#incoming.forget();
  }

  /** Topics have other data workers. */
  ownersChanged(): void {
    const data = { dataWorkers: this.#store.owners.dataWorkers };
    for (const serial of this.#subscriptions.keys()) {
      this.#answer(() => encodeStreamReply("MOVED", serial, data));
    }
    this.flush();
  }

  /** Ends the subscriptions whose right is gone. */
  accessChanged(): void {
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
    this.#answers = [];
    this.#store.engineTopics.gone(this.#id);
  }
}
