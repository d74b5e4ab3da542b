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
import type * as v from "valibot";
import { callTimeoutMs, requestTimeoutMs, resetTimeoutMs, stopReasonLengthMax } from "../limits.ts";
import {
  encodeBatchRequest,
  encodeControlRequest,
  encodeDataRequest,
  encodeTaskPart,
  encodeTaskRequest,
  type RequestOrigin,
} from "../protocol/encode-request.ts";
import { ProtocolError } from "../protocol/errors.ts";
import type { Meta, PackSeconds } from "../protocol/frames.ts";
import { type Json, JsonError, type JsonObject } from "../protocol/json.ts";
import type { Control } from "../protocol/requests.ts";
import { checkFrame } from "../protocol/schema.ts";
import {
  acknowledged,
  cancelledSchema,
  type Directory,
  dataOf,
  directorySchema,
  estopSchema,
  lastValueSchema,
  replyOf,
  resetSchema,
  type TaskReply,
  wholeOf,
} from "./answers.ts";
import { type ArgsSource, type BatchProgress, type PartResult, runBatch } from "./batch.ts";
import { checkedEndpoint, defaultEndpoint, reachableFrom } from "./endpoint.ts";
import { TaskEngineError } from "./errors.ts";
import { Exchange, type Trace } from "./exchange.ts";
import { partOf, unsayable } from "./frame-limits.ts";
import { type ClientKeys, readClientKeys } from "./keys.ts";
import type { BatchOptions, CallOptions, ConnectOptions, JobOptions, ResetOptions } from "./options.ts";
import type { Answer, Waiting } from "./pending.ts";
import { type EngineStatus, type Stopped, type StopResult, statusSchema } from "./status.ts";
import { Subscription, type TopicValue } from "./subscription.ts";

export type { ErrorCode } from "../protocol/errors.ts";
export type {
  RegisteredTask,
  Schema,
  StopFunction,
  StopReason,
  TaskContext,
  TaskDefinition,
  TaskFunction,
} from "../tasks/task.ts";
export type { ClientErrorCode } from "./errors.ts";
export type {
  ArgsSource,
  BatchOptions,
  BatchProgress,
  CallOptions,
  ConnectOptions,
  EngineStatus,
  JobOptions,
  Json,
  JsonObject,
  Meta,
  PackSeconds,
  PartResult,
  ResetOptions,
  Stopped,
  StopResult,
  Subscription,
  TaskReply,
  TopicValue,
  Trace,
};
export { defaultEndpoint, TaskEngineError };

/** A task that the engine can run, and how many workers serve it now. */
export interface TaskListing {
  readonly name: string;
  readonly workers: number;
}

/**
 * A client of the engine at `endpoint`. It connects in the background, and again whenever the connection is lost: to an engine without
 * keys on this machine by a Unix socket, if it has one, else by ZeroMQ.
 * @param endpoint `tcp://HOST:PORT` of the router, or of a task worker's own port; default `TASK_ENGINE_ROUTER`, or else this machine's
 * engine at port 9000
 * @param options with `serverKey` and `key`, paths of key files, for an engine with keys: see `keys.ts` for the defaults
 */
export const connect = (endpoint?: string, options: ConnectOptions = {}): Client =>
  new Client(checkedEndpoint(endpoint), options);

class Client implements AsyncDisposable {
  readonly #exchange: Exchange;
  readonly #keys: ClientKeys;
  readonly #waitMs: number;
  readonly #subscriptions = new Set<Subscription>();

  constructor(
    readonly endpoint: string,
    { waitMs, trace, ...files }: ConnectOptions,
  ) {
    this.#waitMs = waitMs ?? requestTimeoutMs;
    this.#keys = readClientKeys(files);
    this.#exchange = new Exchange(endpoint, `CLIENT-${process.pid}`, waitMs ?? null, this.#keys, trace);
  }

  /** Runs a task and gives its result. Arguments that JSON cannot say reject with BAD_ARGS before anything is sent. */
  call(task: string, args: unknown[] = [], kwargs: object = {}, options: CallOptions = {}): Promise<Json> {
    return this.#run(task, args, kwargs, options, dataOf);
  }

  /** As `call`, and gives the whole answer. */
  request(task: string, args: unknown[] = [], kwargs: object = {}, options: CallOptions = {}): Promise<TaskReply> {
    return this.#run(task, args, kwargs, options, replyOf);
  }

  /**
   * Runs a task with each list of arguments, many at a time, and gives how each ended, in the order of the list:
   * `{ data }` or `{ error }`, a TaskEngineError. Rejects for nothing that the engine says.
   */
  async map(task: string, argsList: readonly unknown[][], options: BatchOptions = {}): Promise<PartResult[]> {
    const results = await Array.fromAsync(this.stream(task, argsList, options));
    const unsent = { error: new TaskEngineError("CANCELLED", "it was cancelled before it was sent") };
    return argsList.map((_, index) => results[index] ?? unsent);
  }

  /**
   * As `map`, for any number of parts, also of such that come with time: gives results in order as they are read, and asks the
   * source for more only then. Throws what the source throws, after the results of what came before. Leaving the loop
   * cancels what is in flight.
   */
  stream(
    task: string,
    source: ArgsSource,
    { waitMs = callTimeoutMs, signal, onProgress, kwargs = {}, ...limits }: BatchOptions = {},
  ): AsyncGenerator<PartResult, void, undefined> {
    return runBatch(source, {
      encode: (args) => partOf(() => encodeTaskPart(task, args, kwargs, limits)),
      send: (parts, waiting) =>
        this.#send((asking) => encodeBatchRequest(asking, parts), wholeOf, {
          ...waiting,
          waitMs,
          deadmanMs: limits.deadmanMs,
        }),
      signal,
      onProgress,
    });
  }

  /**
   * Cancels the requests of this serial, whoever asked: an operator's doing. What this client has asked itself is cancelled by
   * the signal it was given. Gives how many there were; rejects with UNKNOWN_SERIAL where none waits or runs.
   */
  async cancel(serial: string): Promise<number> {
    const { cancelled } = await this.#control({ command: "cancel", serial }, cancelledSchema);
    if (cancelled > 0) return cancelled;
    throw new TaskEngineError("UNKNOWN_SERIAL", `no request with serial ${JSON.stringify(serial)} waits or runs`);
  }

  /**
   * Emergency stop: all that runs is ended and brought into its safe state, all that waits is answered STOPPED, and nothing
   * begins until `reset`. Gives the stop that holds (an earlier one, if there is one already), and whether it is on the engine's
   * disk, for which its answer waits two seconds at most. A reason that is too long is cut.
   */
  async estop(reason = ""): Promise<StopResult> {
    const cut = reason.slice(0, stopReasonLengthMax).toWellFormed();
    const { stopped, durable, why } = await this.#control({ command: "estop", reason: cut }, estopSchema);
    return durable ? { ...stopped, durable } : { ...stopped, durable, why };
  }

  /** Ends the emergency stop, once what that has begun is over. Does nothing where there is none. */
  async reset({ waitMs = resetTimeoutMs, signal }: ResetOptions = {}): Promise<void> {
    await this.#control({ command: "reset" }, resetSchema, { waitMs, signal });
  }

  /** Gives a value to a topic. Resolves when the data worker has it. */
  async publish(topic: string, data: unknown): Promise<void> {
    await this.#send((asking) => encodeDataRequest(asking, topic, data), acknowledged);
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
    const prefixes = topics.length === 0 ? [""] : topics;
    const onEnd = (ended: Subscription): void => void this.#subscriptions.delete(ended);
    const subscription = new Subscription(prefixes, this.#dataEndpoints(), this.#keys.options, onEnd);
    this.#subscriptions.add(subscription);
    return subscription;
  }

  /** The tasks that the engine can run. */
  async tasks(): Promise<TaskListing[]> {
    return (await this.#directory()).tasks;
  }

  /** What the engine says of itself: counts, queues, tasks, workers, limits. */
  async status(): Promise<EngineStatus> {
    return this.#control({ command: "status" }, statusSchema);
  }

  /** Requests that wait for their answers. */
  get waiting(): number {
    return this.#exchange.waiting;
  }

  /** Messages that answered nothing: `unknown` came too late or was never asked for, `malformed` was not understood. */
  get dropped(): { readonly unknown: number; readonly malformed: number } {
    return this.#exchange.dropped;
  }

  /**
   * Ends all: what waits for an answer is cancelled and rejects with CLOSED, subscriptions end. Later requests reject with
   * CLOSED.
   */
  async close(): Promise<void> {
    await Promise.all([
      this.#exchange.close(),
      ...[...this.#subscriptions].map((subscription) => subscription.return()),
    ]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Without `async` on the way: each such step costs a request as much as its encoding. */
  #run<Result>(
    task: string,
    args: unknown[],
    kwargs: object,
    { waitMs = callTimeoutMs, signal, onProgress, ...limits }: CallOptions,
    pick: (answer: Answer) => Result,
  ): Promise<Result> {
    const encode = (asking: RequestOrigin): string[] => encodeTaskRequest(asking, task, args, kwargs, limits);
    return this.#send(encode, pick, { waitMs, deadmanMs: limits.deadmanMs, signal, onProgress });
  }

  async #dataEndpoints(): Promise<string[]> {
    const { data } = await this.#directory();
    if (data.length === 0) throw new TaskEngineError("UNAVAILABLE", "the engine has no data worker at present");
    return data.map((endpoint) => reachableFrom(this.endpoint, endpoint));
  }

  #directory(): Promise<Directory> {
    return this.#control({ command: "tasks" }, directorySchema);
  }

  async #control<Schema extends v.GenericSchema>(
    control: Control,
    schema: () => Schema,
    waiting: Waiting = { waitMs: this.#waitMs },
  ): Promise<v.InferOutput<Schema>> {
    const data = await this.#send((asking) => encodeControlRequest(asking, control), dataOf, waiting);
    const answer = checkFrame(schema, data, "DATA.data");
    if (!(answer instanceof ProtocolError)) return answer;
    throw new TaskEngineError(
      "BAD_FRAME",
      `the answer to ${control.command} could not be understood: ${answer.message}`,
    );
  }

  #send<Result>(
    encode: (asking: RequestOrigin) => readonly string[],
    pick: (answer: Answer) => Result,
    waiting: Waiting = { waitMs: this.#waitMs },
  ): Promise<Result> {
    try {
      return this.#exchange.request(encode, waiting, pick);
    } catch (error) {
      return Promise.reject(error instanceof JsonError ? unsayable(error) : error);
    }
  }
}

export type { Client };
