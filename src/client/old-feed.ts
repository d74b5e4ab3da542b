/**
 * The values of an engine of an earlier version, by one SUB socket to all its data workers. They
 * have no place in their topic, so what is lost on the way is not seen.
 *
 * Such a data worker sends the last value of a topic only to a new subscriber of its whole name. So
 * this also follows `$topics`, the list of all names, and subscribes to each topic that it wants.
 */
import { TopicValue } from "../data/topic-value.ts";
import { drainMessagesMax, subscriptionBytesMax, subscriptionValuesMax, topicsMax } from "../limits.ts";
import { ProtocolError, TaskEngineError } from "../protocol/errors.ts";
import { bytesOf, type Frame } from "../protocol/frame.ts";
import { type Data, dataSchema, decodeMeta } from "../protocol/frames.ts";
import type { Json } from "../protocol/json.ts";
import { decodeReply } from "../protocol/replies.ts";
import { checkFrame, decodeObject } from "../protocol/schema.ts";
import type { SocketOptions } from "../transport/zmq/options.ts";
import type { Subscriber } from "../transport/zmq/socket.ts";
import { libzmq } from "./libzmq.ts";

interface OldFeedHooks {
  readonly onValues: (feed: OldFeed) => void;
  readonly onRefused: (error: TaskEngineError) => void;
  readonly onDropped: (topic: string, count: number) => void;
  readonly onMalformed: () => void;
}

const topicsTopic = "$topics";
const publicationFrames = 3;

export class OldFeed {
  #socket: Subscriber | null = null;
  #isClosed = false;
  readonly #values: { readonly value: TopicValue; readonly bytes: number }[] = [];
  #bytes = 0;
  readonly #named: Set<string>;
  /** The version of each topic's last value, which comes once by each of its subscriptions. */
  readonly #versions = new Map<string, string>();

  /** @param keys options of the socket for an engine with keys */
  constructor(
    private readonly prefixes: readonly string[],
    endpoints: readonly string[],
    keys: SocketOptions,
    private readonly hooks: OldFeedHooks,
  ) {
    this.#named = new Set(prefixes);
    this.#start(endpoints, keys).catch((error) => hooks.onRefused(error));
  }

  take(): TopicValue | undefined {
    const first = this.#values.shift();
    this.#bytes -= first?.bytes ?? 0;
    return first?.value;
  }

  close(): void {
    this.#isClosed = true;
    this.#values.length = 0;
    this.#socket?.close();
  }

  async #start(endpoints: readonly string[], keys: SocketOptions): Promise<void> {
    const { openSubscriber } = await libzmq();
    if (this.#isClosed) return;
    const socket = openSubscriber(keys);
    this.#socket = socket;
    socket.onReadable(() => this.#receive(socket));
    socket.subscribe(...this.prefixes, topicsTopic);
    for (const endpoint of endpoints) socket.connect(endpoint);
  }

  #receive(socket: Subscriber): void {
    for (let count = 0; count < drainMessagesMax && !this.#isClosed; count++) {
      const message = socket.tryReceive(publicationFrames + 1);
      if (message === null) break;
      const publication = decodeOldValue(message);
      if (publication instanceof TaskEngineError) return this.hooks.onRefused(publication);
      if (publication instanceof ProtocolError) this.hooks.onMalformed();
      else if (publication.topic === topicsTopic) this.#takeTopics(publication.data.data);
      else this.#take(publication);
    }
    if (this.#values.length > 0) this.hooks.onValues(this);
  }

  #takeTopics(topics: Json): void {
    if (!Array.isArray(topics)) return this.hooks.onMalformed();
    for (const topic of topics.slice(0, topicsMax)) {
      if (typeof topic !== "string" || this.#named.has(topic) || this.#named.size > 2 * topicsMax) continue;
      if (!this.prefixes.some((prefix) => topic.startsWith(prefix))) continue;
      this.#named.add(topic);
      this.#socket?.subscribe(topic);
    }
  }

  #take({ topic, version, data: { data, pack }, bytes }: OldPublication): void {
    if (this.#versions.get(topic) === version) return;
    this.#versions.set(topic, version);
    if (this.#versions.size > topicsMax) this.#versions.delete(this.#versions.keys().next().value ?? "");
    this.#values.push({ value: TopicValue.of(topic, data, pack), bytes });
    this.#bytes += bytes;
    while (this.#values.length > subscriptionValuesMax || this.#bytes > subscriptionBytesMax) {
      this.hooks.onDropped(this.take()?.topic ?? topic, 1);
    }
  }
}

interface OldPublication {
  readonly topic: string;
  /** It differs from that of every other value of the topic, also after a restart. */
  readonly version: string;
  readonly data: Data;
  readonly bytes: number;
}

/** A TaskEngineError is the data worker's refusal of the subscription. */
const decodeOldValue = (message: readonly Frame[]): OldPublication | ProtocolError | TaskEngineError => {
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
  return {
    topic: Buffer.from(topic).toString(),
    version: `${meta.serial} ${meta.pack}`,
    data: data as Data,
    bytes: bytesOf(message),
  };
};

const decodeRefusal = (frames: readonly Frame[]): ProtocolError | TaskEngineError => {
  const reply = decodeReply(frames);
  if (reply instanceof ProtocolError) return reply;
  if (reply.kind === "error") return new TaskEngineError(reply.error.code, reply.error.message);
  return new ProtocolError("BAD_FRAME", "a refusal has a code and a message");
};
