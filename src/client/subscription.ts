/**
 * Values of topics as they come, over one SUB socket to all data workers of an engine.
 *
 * A new subscriber to the beginning of names gets later values only; the last values it gets by the topics' whole names. So
 * this asks for `$topics` as well, then for each topic by name, and leaves out what it has had already.
 */
import {
  drainMessagesMax,
  subscriptionAwaitedMax,
  subscriptionBytesMax,
  subscriptionValuesMax,
  topicsMax,
} from "../limits.ts";
import { ProtocolError } from "../protocol/errors.ts";
import { type Data, dataSchema, decodeMeta, type PackSeconds } from "../protocol/frames.ts";
import type { Json } from "../protocol/json.ts";
import { decodeReply } from "../protocol/replies.ts";
import { checkFrame, decodeObject } from "../protocol/schema.ts";
import type { SocketOptions } from "../transport/zmq/options.ts";
import type { Frame, Subscriber } from "../transport/zmq/socket.ts";
import { TaskEngineError } from "./errors.ts";
import { libzmq } from "./libzmq.ts";
import { socketOptions } from "./socket-options.ts";

/** A value of a topic, and when it was given, in seconds since 1970. */
export interface TopicValue {
  readonly topic: string;
  readonly data: Json;
  readonly pack: PackSeconds;
}

/** The topic that answers with the names of all topics. Names that begin with `$` are the engine's own. */
const topicsTopic = "$topics";
const ownPrefix = "$";
const publicationFrames = 3;

interface Buffered {
  readonly value: TopicValue;
  readonly bytes: number;
}

/**
 * `for await (const { topic, data, pack } of client.subscribe("pose"))`. Leaving the loop ends it. Who reads too slowly
 * loses the oldest values, which are counted in `dropped`; the newest are always kept.
 */
export class Subscription implements AsyncIterableIterator<TopicValue> {
  /** null until it is known where to connect to */
  #socket: Subscriber | null = null;
  #hasEnded = false;
  readonly #buffer: Buffered[] = [];
  #bufferBytes = 0;
  /** Topic → which value of it came last. A data worker that was started again counts from 1, so the time belongs to it. */
  readonly #lastSeen = new Map<string, string>();
  #arrival: PromiseWithResolvers<void> | null = null;
  /** Topics that are subscribed to by their whole name, those that should be, and those whose last value has not come yet. */
  readonly #named: Set<string>;
  readonly #toName = new Set<string>();
  readonly #awaited = new Set<string>();
  #failure: Error | null = null;
  #dropped = 0;
  #malformed = 0;

  /**
   * @param prefixes beginnings of topics; the empty one is every topic
   * @param endpoints where the data workers publish, as soon as it is known; what it rejects with, the next read does
   * @param keys options of the socket for an engine with keys
   */
  constructor(
    private readonly prefixes: readonly string[],
    endpoints: Promise<readonly string[]>,
    keys: SocketOptions,
    private readonly onEnd: (subscription: Subscription) => void,
  ) {
    this.#named = new Set(prefixes);
    this.#start(endpoints, keys).catch((error) => this.#end(error));
  }

  /** values that were lost because they were not read in time */
  get dropped(): number {
    return this.#dropped;
  }

  /** messages that were not what the protocol says */
  get malformed(): number {
    return this.#malformed;
  }

  async next(): Promise<IteratorResult<TopicValue, undefined>> {
    for (;;) {
      const first = this.#buffer.shift();
      if (first !== undefined) {
        this.#bufferBytes -= first.bytes;
        this.#askForMore();
        return { done: false, value: first.value };
      }
      const failure = this.#failure;
      this.#failure = null;
      if (failure !== null) throw failure;
      if (this.#hasEnded) return { done: true, value: undefined };
      this.#arrival ??= Promise.withResolvers();
      await this.#arrival.promise;
    }
  }

  /** Ends the subscription; what has not been read is gone. A read that waits gets `done`. */
  async return(): Promise<IteratorResult<TopicValue, undefined>> {
    this.#buffer.length = 0;
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
    const [list, { Subscriber }] = await Promise.all([endpoints, libzmq()]);
    if (this.#hasEnded) return;
    const socket = new Subscriber({ ...keys, ...socketOptions });
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
    this.#wake();
    this.onEnd(this);
  }

  #wake(): void {
    this.#arrival?.resolve();
    this.#arrival = null;
  }

  #receive(socket: Subscriber): void {
    for (let count = 0; count < drainMessagesMax; count++) {
      const message = socket.tryReceive(publicationFrames + 1);
      if (message === null) return;
      const publication = decodePublication(message);
      if (publication instanceof TaskEngineError) return this.#end(publication);
      if (publication instanceof ProtocolError) this.#malformed++;
      else if (publication.topic === topicsTopic) this.#askForLastValues(publication.data);
      else if (!publication.topic.startsWith(ownPrefix)) this.#take(publication, message);
    }
  }

  #askForLastValues({ data: topics }: Data): void {
    if (!Array.isArray(topics)) {
      this.#malformed++;
      return;
    }
    // From the start: a data worker that has come back has forgotten what it was asked.
    this.#awaited.clear();
    for (const topic of topics.slice(0, topicsMax)) {
      if (typeof topic !== "string" || this.#named.has(topic)) continue;
      if (this.prefixes.some((prefix) => topic.startsWith(prefix))) this.#toName.add(topic);
    }
    this.#askForMore();
  }

  /** Asks for a few last values at a time: all at once would overflow the data worker's queue for us, or our own. */
  #askForMore(): void {
    for (const topic of this.#toName) {
      const expected = this.#awaited.size + this.#buffer.length;
      if (this.#awaited.size >= subscriptionAwaitedMax || expected >= subscriptionValuesMax / 2) return;
      this.#toName.delete(topic);
      if (this.#named.size >= topicsMax + this.prefixes.length) continue;
      this.#named.add(topic);
      this.#awaited.add(topic);
      this.#socket?.subscribe(topic);
    }
  }

  #take({ topic, version, data }: Publication, message: readonly Frame[]): void {
    this.#awaited.delete(topic);
    if (this.#lastSeen.get(topic) !== version) {
      this.#lastSeen.set(topic, version);
      if (this.#lastSeen.size > topicsMax) this.#lastSeen.delete(this.#lastSeen.keys().next().value ?? "");
      this.#keep(
        { topic, data: data.data, pack: data.pack },
        message.reduce((sum, { length }) => sum + length, 0),
      );
    }
    this.#askForMore();
  }

  #keep(value: TopicValue, bytes: number): void {
    this.#buffer.push({ value, bytes });
    this.#bufferBytes += bytes;
    while (this.#buffer.length > subscriptionValuesMax || this.#bufferBytes > subscriptionBytesMax) {
      this.#bufferBytes -= this.#buffer.shift()?.bytes ?? 0;
      this.#dropped++;
    }
    this.#wake();
  }
}

interface Publication {
  readonly topic: string;
  /** tells this value of the topic from every other */
  readonly version: string;
  readonly data: Data;
}

/** A TaskEngineError is the data worker's own: it does not give us what we have subscribed to. */
const decodePublication = (message: readonly Frame[]): Publication | ProtocolError | TaskEngineError => {
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
  return { topic: Buffer.from(topic).toString(), version: `${meta.serial} ${meta.pack}`, data: data as Data };
};

const decodeRefusal = (frames: readonly Frame[]): ProtocolError | TaskEngineError => {
  const reply = decodeReply(frames);
  if (reply instanceof ProtocolError) return reply;
  if (reply.kind === "error") return new TaskEngineError(reply.error.code, reply.error.message);
  return new ProtocolError("BAD_FRAME", "a refusal has a code and a message");
};
