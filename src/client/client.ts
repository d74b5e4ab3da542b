/**
 * The TypeScript client of the engine, for programs that run on Bun:
 * ```ts
 * import { connect } from "task-engine";
 * await using engine = connect();
 * const sum = await engine.call("count", [2, 3]);
 * ```
 * Every method may be called again before the last call has ended: many requests are in flight over one socket.
 * All failures are TaskEngineError, with a `code` from a closed list.
 */
import * as v from "valibot";
import { callTimeoutMs, requestTimeoutMs } from "../limits.ts";
import { type Asking, encodeControlRequest, encodeDataRequest, encodeTaskRequest } from "../wire/asking.ts";
import { ProtocolError } from "../wire/errors.ts";
import { checkFrame, type Meta, type PackSeconds } from "../wire/frames.ts";
import { type Json, JsonError, type JsonObject } from "../wire/json.ts";
import type { Control } from "../wire/requests.ts";
import { defaultEndpoint, isEndpoint, reachableFrom } from "./endpoint.ts";
import { TaskEngineError } from "./errors.ts";
import { type Acknowledgement, Exchange, type Trace } from "./exchange.ts";
import { Subscription, type TopicValue } from "./subscription.ts";

export type { ErrorCode } from "../wire/errors.ts";
export type { RegisteredTask, TaskContext, TaskDefinition, TaskFunction } from "../worker/task.ts";
export type { ClientErrorCode } from "./errors.ts";
export type { Json, JsonObject, Meta, PackSeconds, Subscription, TopicValue, Trace };
export { defaultEndpoint, TaskEngineError };

export interface ConnectOptions {
  /**
   * ms that `publish`, `get`, `tasks`, `status` may take, and that any request may wait for a connection; default 5000.
   * A request that gets no connection in that time fails with NO_ANSWER and is never sent.
   */
  readonly timeoutMs?: number;
  /** Is told of every message. */
  readonly trace?: Trace;
}

export interface CallOptions {
  /**
   * ms until a call fails with NO_ANSWER; default 60000. Infinity waits for ever. The task itself is not stopped by it: the
   * message says whether it may still be running.
   */
  readonly timeoutMs?: number;
}

/** A task that the engine can run, and how many workers serve it now. */
export interface TaskListing {
  readonly name: string;
  readonly workers: number;
}

/** A task's whole answer. `meta.id` names the worker. */
export interface TaskReply {
  readonly meta: Meta;
  readonly data: Json;
}

const directorySchema = v.object({
  tasks: v.array(v.object({ name: v.string(), workers: v.number() })),
  data: v.array(v.string()),
});
type Directory = v.InferOutput<typeof directorySchema>;
const lastValueSchema = v.object({
  topic: v.string(),
  value: v.custom<Json>((value) => value !== undefined),
  pack: v.number(),
});
const statusSchema = v.record(
  v.string(),
  v.custom<Json>((value) => value !== undefined),
);

/**
 * A client of the engine at `endpoint`. It connects in the background, and again whenever the connection is lost.
 * @param endpoint `tcp://HOST:PORT` of the router, or of a task worker's own port
 */
export const connect = (endpoint: string = defaultEndpoint, options: ConnectOptions = {}): Client =>
  new Client(endpoint, options);

class Client implements AsyncDisposable {
  readonly #exchange: Exchange;
  readonly #timeoutMs: number;
  readonly #subscriptions = new Set<Subscription>();
  readonly #id = `CLIENT-${process.pid}`;

  constructor(
    readonly endpoint: string,
    { timeoutMs = requestTimeoutMs, trace }: ConnectOptions,
  ) {
    if (!isEndpoint(endpoint)) {
      throw new TaskEngineError("BAD_ARGS", `endpoint ${JSON.stringify(endpoint)} is not of the form tcp://HOST:PORT`);
    }
    this.#timeoutMs = timeoutMs;
    this.#exchange = new Exchange(endpoint, timeoutMs, trace);
  }

  /** Runs a task and gives its result. Arguments that JSON cannot say reject with BAD_ARGS before anything is sent. */
  async call(task: string, args: unknown[] = [], kwargs: object = {}, options: CallOptions = {}): Promise<Json> {
    return (await this.request(task, args, kwargs, options)).data;
  }

  /** As `call`, and gives the whole answer. */
  async request(
    task: string,
    args: unknown[] = [],
    kwargs: object = {},
    { timeoutMs = callTimeoutMs }: CallOptions = {},
  ): Promise<TaskReply> {
    const { meta, data } = await this.#send((options) => encodeTaskRequest(options, task, args, kwargs), timeoutMs);
    return { meta, data: data ?? null };
  }

  /** Gives a value to a topic. Resolves when the data worker has it. */
  async publish(topic: string, data: unknown): Promise<void> {
    await this.#send((options) => encodeDataRequest(options, topic, data));
  }

  /** The last value of a topic; rejects with UNKNOWN_TOPIC where there is none. */
  async get(topic: string): Promise<TopicValue> {
    const { topic: name, value, pack } = await this.#control({ command: "get", topic }, lastValueSchema);
    return { topic: name, data: value, pack };
  }

  /**
   * Follows topics: the last value of each that is known, then every later one. Where the engine cannot be reached, the
   * first read rejects with NO_ANSWER; a connection that is lost later comes back by itself.
   * @param topics beginnings of names: `arm` is `arm`, `arm.left` and `army`; none is every topic
   */
  subscribe(...topics: string[]): Subscription {
    const subscription = new Subscription(topics.length === 0 ? [""] : topics, this.#dataEndpoints(), (ended) =>
      this.#subscriptions.delete(ended),
    );
    this.#subscriptions.add(subscription);
    return subscription;
  }

  /** The tasks that the engine can run. */
  async tasks(): Promise<TaskListing[]> {
    return (await this.#directory()).tasks;
  }

  /** What the engine says of itself. */
  async status(): Promise<JsonObject> {
    return this.#control({ command: "status" }, statusSchema);
  }

  /** Messages that answered nothing: `unknown` came too late or was never asked for, `malformed` was not understood. */
  get dropped(): { readonly unknown: number; readonly malformed: number } {
    return this.#exchange.dropped;
  }

  /** Ends all: what waits for an answer rejects with CLOSED, subscriptions end. Later requests reject with CLOSED. */
  async close(): Promise<void> {
    this.#exchange.close();
    await Promise.all([...this.#subscriptions].map((subscription) => subscription.return()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #dataEndpoints(): Promise<string[]> {
    const { data } = await this.#directory();
    if (data.length === 0) throw new TaskEngineError("UNAVAILABLE", "the engine has no data worker at present");
    return data.map((endpoint) => reachableFrom(this.endpoint, endpoint));
  }

  #directory(): Promise<Directory> {
    return this.#control({ command: "tasks" }, directorySchema);
  }

  async #control<Schema extends v.GenericSchema>(control: Control, schema: Schema): Promise<v.InferOutput<Schema>> {
    const { data } = await this.#send((options) => encodeControlRequest(options, control));
    const answer = checkFrame(schema, data, "DATA.data");
    if (!(answer instanceof ProtocolError)) return answer;
    throw new TaskEngineError(
      "BAD_FRAME",
      `the answer to ${control.command} could not be understood: ${answer.message}`,
    );
  }

  async #send(
    encode: (options: Asking) => readonly Uint8Array[],
    timeoutMs = this.#timeoutMs,
  ): Promise<Acknowledgement> {
    try {
      return await this.#exchange.request((serial) => encode({ id: this.#id, serial }), timeoutMs);
    } catch (error) {
      // "TASK.args[0] is NaN…": the frame is our affair, the path below it the caller's.
      if (error instanceof JsonError)
        throw new TaskEngineError("BAD_ARGS", error.message.replace(/^(TASK|DATA)\./, ""));
      throw error;
    }
  }
}

export type { Client };
