/**
 * The client's part of the data plane: values go straight to the data workers, and come from them.
 */
import * as v from "valibot";
import { payloadTypeOf } from "../data/payload.ts";
import { type DataWorker, Publications } from "../data/publications.ts";
import type { StreamDialer } from "../data/stream-link.ts";
import type { TopicValue } from "../data/topic-value.ts";
import { clientLingerMs, historyMsMax, historyValuesMax, maxHzMax, nameLengthMax, streamNamesMax } from "../limits.ts";
import { reachableFrom } from "../protocol/address.ts";
import { ProtocolError, TaskEngineError } from "../protocol/errors.ts";
import type { Json } from "../protocol/json.ts";
import { checkFrame, lazily } from "../protocol/schema.ts";
import type { StreamCommand } from "../protocol/stream.ts";
import type { PayloadType } from "../protocol/values.ts";
import { encodingError } from "./errors.ts";
import type { ClientKeys } from "./keys.ts";
import { libzmq } from "./libzmq.ts";
import type { LocalEngine } from "./local.ts";
import { type SubscribeOptions, Subscription } from "./subscription.ts";

/**
 * How a value is published. Bytes and arrays without a `contentType` are
 * `application/octet-stream`.
 */
export interface PublishOptions extends PayloadType {
  /** Gives a promise that resolves once the data worker has the value. */
  readonly confirm?: boolean | undefined;
}

/**
 * The place of a value among all of its topic; `seq` is 0 where an older engine does not say it.
 */
export interface Published {
  readonly seq: number;
  readonly epoch: string;
}

/** Values that nobody asked to confirm, and that the data worker has not taken. */
export interface PublishRefusal {
  readonly topic: string;
  readonly error: TaskEngineError;
  readonly count: number;
}

const listingSchema = lazily(() => {
  const count = v.optional(v.nullable(v.number()), null);
  return v.object({
    topic: v.string(),
    /** `application/json` for JSON. */
    contentType: v.optional(v.nullable(v.string()), null),
    /** bytes of the newest value. */
    bytes: count,
    /** Values a second. */
    hz: count,
    /** ms since the newest value. */
    ageMs: count,
    /** Values in this epoch. */
    values: count,
    /** Values that subscribers have lost. */
    dropped: count,
    /** ms without a value after which the topic is stale; null for never. */
    staleMs: count,
    stale: v.optional(v.boolean(), false),
    /** The user or the source of its newest value, where that is known. */
    publisher: v.optional(v.nullable(v.string()), null),
  });
});

/** A topic that a data worker keeps; null for what an engine of an earlier version does not say. */
export type TopicListing = v.InferOutput<ReturnType<typeof listingSchema>>;

const listSchema = lazily(() => v.object({ topics: v.array(listingSchema()) }));
const publishedSchema = lazily(() => v.object({ seq: v.number(), epoch: v.string() }));

interface DataPlaneOptions {
  /** The router's endpoint. */
  readonly endpoint: string;
  readonly keys: ClientKeys;
  readonly local: LocalEngine;
  readonly waitMs: number;
  /** Rejects with TaskEngineError if the engine does not answer, or has no data worker. */
  readonly find: () => Promise<readonly DataWorker[]>;
  /** `[META, DATA]`, for an engine of an earlier version. */
  readonly put: (topic: string, data: Json) => Promise<void>;
  /** CONTROL `get`, for the same. */
  readonly get: (topic: string) => Promise<TopicValue>;
  readonly onPublishError: ((refusal: PublishRefusal) => void) | undefined;
}

export class DataPlane {
  readonly #options: DataPlaneOptions;
  readonly #dialer: StreamDialer;
  readonly #subscriptions = new Set<Subscription>();
  readonly publications: Publications;
  /** Refusals that were told on stderr. */
  readonly #told = new Set<string>();

  constructor(options: DataPlaneOptions) {
    this.#options = options;
    const { local, keys, find, put } = options;
    this.#dialer = {
      local: (endpoint) => local.dialData(endpoint),
      zmq: async (endpoint) => {
        if (local.keysNeeded !== null) throw new TaskEngineError("UNAUTHORIZED", local.keysNeeded);
        return (await libzmq()).openZmqStream(endpoint, keys.options);
      },
    };
    const refused = (topic: string, error: TaskEngineError, count = 1): void => this.#refused({ topic, error, count });
    this.publications = new Publications({
      flushesEach: false,
      dialer: this.#dialer,
      find: () => find().catch(asOld),
      oldWay: {
        publish: (topic, json) => {
          put(topic, JSON.parse(json)).catch((error) => refused(topic, error));
          return true;
        },
        confirm: (topic, json) => put(topic, JSON.parse(json)),
      },
      onRefused: refused,
    });
  }

  publish(topic: string, value: unknown, options: PublishOptions | undefined): boolean {
    try {
      return this.publications.publish(topic, value, payloadTypeOf(value, options)) === "sent";
    } catch (error) {
      throw encodingError(error);
    }
  }

  async confirm(topic: string, value: unknown, options: PublishOptions): Promise<Published> {
    try {
      const data = await this.publications.confirm(topic, value, payloadTypeOf(value, options), this.#options.waitMs);
      return data === null ? { seq: 0, epoch: "" } : checked(publishedSchema, data);
    } catch (error) {
      throw encodingError(error);
    }
  }

  async get(topic: string): Promise<TopicValue> {
    const answer = await this.#command(topic, { command: "get", topic });
    if (answer === null) return this.#options.get(topic);
    const [value] = answer.values;
    if (value !== undefined) return value;
    throw new TaskEngineError("UNKNOWN_TOPIC", `topic ${JSON.stringify(topic)} has no value yet`);
  }

  async history(topic: string, lastMs: number, limit: number): Promise<TopicValue[]> {
    checkNumber("lastMs", lastMs, 0, historyMsMax);
    checkNumber("limit", limit, 1, historyValuesMax);
    const answer = await this.#command(topic, { command: "history", topic, lastMs: Math.round(lastMs), limit });
    return [...(answer ?? tooOld("keeps no history")).values];
  }

  async topics(prefix: string): Promise<TopicListing[]> {
    const answers = await this.publications.commandAll({ command: "topics", prefix }, this.#options.waitMs);
    if (answers.length === 0) tooOld("does not list topics");
    const topics = answers.flatMap(({ data }) => checked(listSchema, data).topics);
    return topics.sort((a, b) => (a.topic < b.topic ? -1 : 1));
  }

  async remove(topic: string): Promise<void> {
    if ((await this.#command(topic, { command: "remove", topic })) === null) tooOld("cannot remove a topic");
  }

  subscribe(names: readonly string[], options: SubscribeOptions): Subscription {
    const { exact, mode = "all", maxHz, lastMs = 0, ...handlers } = options;
    const all = names.length === 0 ? [""] : names;
    if (all.length > streamNamesMax) {
      throw new TaskEngineError("BAD_ARGS", `${all.length} topics, the limit of a subscription is ${streamNamesMax}`);
    }
    if (all.some((name) => typeof name !== "string" || name.length > nameLengthMax)) {
      throw new TaskEngineError("BAD_ARGS", `a topic is a string of up to ${nameLengthMax} characters`);
    }
    if (mode !== "all" && mode !== "latest") throw new TaskEngineError("BAD_ARGS", `mode ${mode} is not all or latest`);
    if (maxHz !== undefined && !(maxHz > 0 && maxHz <= maxHzMax)) {
      throw new TaskEngineError("BAD_ARGS", `maxHz is ${maxHz}; it must be above 0 and up to ${maxHzMax}`);
    }
    if (lastMs !== null) checkNumber("lastMs", lastMs, 0, historyMsMax);
    // The values of topics with these whole names come first.
    const whole = exact === true || 2 * all.length <= streamNamesMax ? all.filter((name) => name !== "") : [];
    const [topics, prefixes] = exact === true ? [all, []] : [whole, all];
    const feed = { topics, prefixes, mode, maxHz, ...(lastMs !== null && { lastMs: Math.round(lastMs) }) };
    const { endpoint, keys, find } = this.#options;
    const reach = (port: string): string => reachableFrom(endpoint, port);
    const onEnd = (ended: Subscription): void => void this.#subscriptions.delete(ended);
    const sources = { dialer: this.#dialer, find, reach, keys: keys.options };
    const subscription = new Subscription(feed, handlers, sources, onEnd);
    this.#subscriptions.add(subscription);
    return subscription;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#subscriptions].map((subscription) => subscription.return()));
    // Values that cannot leave are counted as dropped.
    const drained = this.publications.isDrained ? null : this.publications.drained().catch(() => undefined);
    if (drained !== null) await Promise.race([drained, Bun.sleep(clientLingerMs)]);
    this.publications.close();
  }

  #command(topic: string, command: StreamCommand) {
    return this.publications.command(topic, command, this.#options.waitMs);
  }

  /** Without a handler the first one of a kind is told on stderr, so that no loss is silent. */
  #refused(refusal: PublishRefusal): void {
    const { onPublishError } = this.#options;
    if (onPublishError !== undefined) return onPublishError(refusal);
    const { topic, error } = refusal;
    const line = `values of topic ${JSON.stringify(topic)} are not taken: ${error.code}: ${error.message}`;
    if (this.#told.size >= refusalsToldMax || this.#told.has(line)) return;
    this.#told.add(line);
    process.emitWarning(`${line}; set onPublishError to handle it`, "TaskEngineWarning");
  }
}

/** An engine of version 0.1 takes values, though it does not name its data workers. */
const asOld = (error: unknown): DataWorker[] => {
  if (error instanceof TaskEngineError && error.code === "UNSUPPORTED_VERSION")
    return [{ publications: "", stream: null }];
  throw error;
};

const refusalsToldMax = 64;

const checked = <Schema extends v.GenericSchema>(schema: () => Schema, data: Json): v.InferOutput<Schema> => {
  const answer = checkFrame(schema, data, "DATA.data");
  if (!(answer instanceof ProtocolError)) return answer;
  throw new TaskEngineError("BAD_FRAME", `the answer of the data worker could not be understood: ${answer.message}`);
};

const checkNumber = (name: string, value: number, min: number, max: number): void => {
  if (typeof value === "number" && value >= min && value <= max) return;
  throw new TaskEngineError("BAD_ARGS", `${name} is ${value}; it must be ${min} to ${max}`);
};

const tooOld = (what: string): never => {
  throw new TaskEngineError("UNSUPPORTED_VERSION", `the engine is of an earlier version, which ${what}`);
};
