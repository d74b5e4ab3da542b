/**
 * Values of topics as they come, over one SUB socket to all data workers of an engine.
 *
 * A data worker sends the last value of a topic only to a new subscriber of its whole name. So a
 * subscription also follows `$topics`, the list of all names, subscribes to each topic that it
 * wants, and skips a value that it had already.
 */
import {
  drainMessagesMax,
  subscriptionAwaitedMax,
  subscriptionBytesMax,
  subscriptionValuesMax,
  topicsMax,
} from "../limits.ts";
import { ProtocolError } from "../protocol/errors.ts";
import { bytesOf, type Frame } from "../protocol/frame.ts";
import { type Data, dataSchema, decodeMeta, type PackSeconds } from "../protocol/frames.ts";
import type { Json } from "../protocol/json.ts";
import { decodeReply } from "../protocol/replies.ts";
import { checkFrame, decodeObject } from "../protocol/schema.ts";
import type { SocketOptions } from "../transport/zmq/options.ts";
import type { Subscriber } from "../transport/zmq/socket.ts";
import { TaskEngineError } from "./errors.ts";
import { libzmq } from "./libzmq.ts";

/** A value of a topic, and its time in seconds since 1970. */
export interface TopicValue {
  readonly topic: string;
  readonly data: Json;
  readonly pack: PackSeconds;
}

/** The engine's own topic with the names of all topics. */
const topicsTopic = "$topics";
const publicationFrames = 3;

/** Values that were not read yet. Beyond the limits the oldest are dropped. */
class ValueBuffer {
  readonly #values: { readonly value: TopicValue; readonly bytes: number }[] = [];
  #bytes = 0;
  dropped = 0;

  get size(): number {
    return this.#values.length;
  }

  push(value: TopicValue, bytes: number): void {
    this.#values.push({ value, bytes });
    this.#bytes += bytes;
    while (this.#values.length > subscriptionValuesMax || this.#bytes > subscriptionBytesMax) {
      this.shift();
      this.dropped++;
    }
  }

  shift(): TopicValue | undefined {
    const first = this.#values.shift();
    this.#bytes -= first?.bytes ?? 0;
    return first?.value;
  }

  clear(): void {
    this.#values.length = 0;
    this.#bytes = 0;
  }
}

/**
 * The topics whose last values are requested by their names, a few at a time: all would overflow
 * the queues on the way.
 */
class LastValues {
  /** Whole names that are subscribed to. */
  readonly #named: Set<string>;
  readonly #toName = new Set<string>();
  /** Names whose last value has not come yet. */
  readonly #awaited = new Set<string>();

  constructor(private readonly prefixes: readonly string[]) {
    this.#named = new Set(prefixes);
  }

  /**
   * @param topics the list of all topics. A data worker that sends it again was restarted, and has
   * forgotten the requests.
   */
  want(topics: readonly Json[]): void {
    this.#awaited.clear();
    for (const topic of topics.slice(0, topicsMax)) {
      if (typeof topic !== "string" || this.#named.has(topic)) continue;
      if (this.prefixes.some((prefix) => topic.startsWith(prefix))) this.#toName.add(topic);
    }
  }

  arrived(topic: string): void {
    this.#awaited.delete(topic);
  }

  get hasMore(): boolean {
    return this.#toName.size > 0;
  }

  /** The names to subscribe to now, while `unread` values wait. */
  *next(unread: number): Generator<string> {
    for (const topic of this.#toName) {
      const expected = this.#awaited.size + unread;
      if (this.#awaited.size >= subscriptionAwaitedMax || expected >= subscriptionValuesMax / 2) return;
      this.#toName.delete(topic);
      if (this.#named.size >= topicsMax + this.prefixes.length) continue;
      this.#named.add(topic);
      this.#awaited.add(topic);
      yield topic;
    }
  }
}

/**
 * `for await (const { topic, data, pack } of client.subscribe("pose"))`. Leaving the loop ends it.
 * A reader that is too slow loses the oldest values, which are counted in `dropped`, and always
 * gets the newest.
 */
export class Subscription implements AsyncIterableIterator<TopicValue> {
  /** null until the address is known */
  #socket: Subscriber | null = null;
  #hasEnded = false;
  #failure: Error | null = null;
  /** A read that waits for a value. */
  #read: PromiseWithResolvers<void> | null = null;
  readonly #buffer = new ValueBuffer();
  readonly #lastValues: LastValues;
  /**
   * The version of each topic's last value. It holds the time: a data worker that was restarted
   * counts from 1 again.
   */
  readonly #versions = new Map<string, string>();
  #malformed = 0;

  /**
   * @param prefixes beginnings of topics; the empty one is every topic
   * @param endpoints addresses of the data workers; the next read rejects with its error
   * @param keys options of the socket for an engine with keys
   */
  constructor(
    private readonly prefixes: readonly string[],
    endpoints: Promise<readonly string[]>,
    keys: SocketOptions,
    private readonly onEnd: (subscription: Subscription) => void,
  ) {
    this.#lastValues = new LastValues(prefixes);
    this.#start(endpoints, keys).catch((error) => this.#end(error));
  }

  /** values that were dropped because they were not read in time */
  get dropped(): number {
    return this.#buffer.dropped;
  }

  /** messages that the protocol does not allow */
  get malformed(): number {
    return this.#malformed;
  }

  async next(): Promise<IteratorResult<TopicValue, undefined>> {
    for (;;) {
      const value = this.#buffer.shift();
      if (value !== undefined) {
        this.#requestLastValues();
        return { done: false, value };
      }
      const failure = this.#failure;
      this.#failure = null;
      if (failure !== null) throw failure;
      if (this.#hasEnded) return { done: true, value: undefined };
      this.#read ??= Promise.withResolvers();
      await this.#read.promise;
    }
  }

  /** Ends the subscription and drops unread values. A read that waits gets `done`. */
  async return(): Promise<IteratorResult<TopicValue, undefined>> {
    this.#buffer.clear();
    this.#end(null);
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  async #start(endpoints: Promise<readonly string[]>, keys: SocketOptions): Promise<void> {
    const [list, { openSubscriber }] = await Promise.all([endpoints, libzmq()]);
    if (this.#hasEnded) return;
    const socket = openSubscriber(keys);
    this.#socket = socket;
    socket.onReadable(() => this.#receive(socket));
    socket.subscribe(...this.prefixes, topicsTopic);
    for (const endpoint of list) socket.connect(endpoint);
  }

  #end(failure: Error | null): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#failure = failure;
    this.#socket?.close();
    this.#wakeRead();
    this.onEnd(this);
  }

  #wakeRead(): void {
    this.#read?.resolve();
    this.#read = null;
  }

  #receive(socket: Subscriber): void {
    for (let count = 0; count < drainMessagesMax; count++) {
      const message = socket.tryReceive(publicationFrames + 1);
      if (message === null) return;
      const publication = decodePublication(message);
      if (publication instanceof TaskEngineError) return this.#end(publication);
      if (publication instanceof ProtocolError) this.#malformed++;
      else if (publication.topic === topicsTopic) this.#takeTopics(publication.data.data);
      else this.#take(publication);
    }
  }

  #takeTopics(topics: Json): void {
    if (!Array.isArray(topics)) {
      this.#malformed++;
      return;
    }
    this.#lastValues.want(topics);
    this.#requestLastValues();
  }

  #take({ topic, version, data: { data, pack }, bytes }: ReceivedValue): void {
    this.#lastValues.arrived(topic);
    if (this.#versions.get(topic) !== version) {
      this.#versions.set(topic, version);
      if (this.#versions.size > topicsMax) this.#versions.delete(this.#versions.keys().next().value ?? "");
      this.#buffer.push({ topic, data, pack }, bytes);
      this.#wakeRead();
    }
    this.#requestLastValues();
  }

  #requestLastValues(): void {
    if (!this.#lastValues.hasMore) return;
    for (const topic of this.#lastValues.next(this.#buffer.size)) this.#socket?.subscribe(topic);
  }
}

interface ReceivedValue {
  readonly topic: string;
  /** It differs from that of every other value of the topic. */
  readonly version: string;
  readonly data: Data;
  readonly bytes: number;
}

/** A TaskEngineError is the data worker's refusal of the subscription. */
const decodePublication = (message: readonly Frame[]): ReceivedValue | ProtocolError | TaskEngineError => {
  const [topic, metaBytes, dataBytes] = message;
  if (topic === undefined || metaBytes === undefined || dataBytes === undefined || message.length > publicationFrames) {
    return new ProtocolError("BAD_FRAME", "a publication has a topic, META and DATA");
  }
  const meta = decodeMeta(metaBytes);
  if (meta instanceof ProtocolError) return meta;
  if (meta.type === "ERR") return decodeRefusal([metaBytes, dataBytes]);
  const body = decodeObject(dataBytes, "DATA");
  if (body instanceof ProtocolError) return body;
  const data = checkFrame(dataSchema, body, "DATA");
  if (data instanceof ProtocolError) return data;
  const version = `${meta.serial} ${meta.pack}`;
  return { topic: Buffer.from(topic).toString(), version, data: data as Data, bytes: bytesOf(message) };
};

const decodeRefusal = (frames: readonly Frame[]): ProtocolError | TaskEngineError => {
  const reply = decodeReply(frames);
  if (reply instanceof ProtocolError) return reply;
  if (reply.kind === "error") return new TaskEngineError(reply.error.code, reply.error.message);
  return new ProtocolError("BAD_FRAME", "a refusal has a code and a message");
};
