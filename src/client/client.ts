/**
 * The TypeScript client of the engine, for programs that run on Bun:
 * ```ts
 * import { connect } from "task-engine";
 * await using engine = connect();
 * const sum = await engine.call("count", [2, 3]);
 * ```
 * Every method may be called again before the last call has ended: many requests are in flight over
 * one socket. All failures are TaskEngineError, with a `code` from a closed list.
 */
import type * as v from "valibot";
import type { DataWorker } from "../data/publications.ts";
import { TopicValue } from "../data/topic-value.ts";
import { callTimeoutMs, requestTimeoutMs } from "../limits.ts";
import { reachableFrom } from "../protocol/address.ts";
import type { BinaryData } from "../protocol/arrays.ts";
import type { ControlInput } from "../protocol/control.ts";
import {
  encodeBatchRequest,
  encodeCommand,
  encodeControlRequest,
  encodeDataRequest,
  encodeTaskPart,
  encodeTaskRequest,
  forPerson,
  type RequestOrigin,
  versionFor,
} from "../protocol/encode-request.ts";
import { ProtocolError, TaskEngineError } from "../protocol/errors.ts";
import type { Json, JsonObject } from "../protocol/json.ts";
import { checkFrame } from "../protocol/schema.ts";
import { type ArgsSource, type PartResult, runBatch } from "./batch.ts";
import { directorySchema, lastValueSchema, type TaskListing } from "./control.ts";
import { DataPlane } from "./data-plane.ts";
import { checkedEndpoint, defaultEndpoint } from "./endpoint.ts";
import { encodePart, encodingError } from "./errors.ts";
import { Exchange } from "./exchange.ts";
import { DetachedJob, JobClient } from "./job-client.ts";
import { readClientKeys } from "./keys.ts";
import { LocalEngine } from "./local.ts";
import type { BatchOptions, BinaryCallOptions, CallOptions, ConnectOptions, DetachOptions } from "./options.ts";
import {
  type BinaryReply,
  pickAccepted,
  pickAnyData,
  pickData,
  pickNothing,
  pickParts,
  pickReply,
  pickWhole,
  type ResultReply,
  type TaskReply,
  type WaitOptions,
} from "./pending.ts";
import type { Robot, RobotOptions } from "./robot.ts";

export type {
  BinaryResult,
  RegisteredTask,
  Schema,
  SourceDefinition,
  StopFunction,
  StopReason,
  TaskContext,
  TaskDefinition,
  TaskFunction,
} from "../tasks/task.ts";
export type * from "./types.ts";
export { defaultEndpoint, TaskEngineError };

/**
 * A robot of a fleet, asked by its link: `await connect("nats://hub:4222", { robot: "r7" })`, or
 * `group` for one of a group that is free. Rejects with NO_ANSWER where NATS is not there.
 */
export function connect(endpoint: `${"nats" | "tls"}://${string}`, options: RobotOptions): Promise<Robot>;
/**
 * A client of the engine at `endpoint`. It connects in the background, and again whenever the
 * connection is lost: to an engine on this machine by a Unix socket, if it has one for this user,
 * else by ZeroMQ. To an engine with keys the socket is for its own user and root: without a key
 * they have all rights there, and with one those of the key.
 * @param endpoint `tcp://HOST:PORT` of the router, or of a task worker's own port; default
 * `TASK_ENGINE_ROUTER`, or else this machine's engine at port 9000
 * @param options with `serverKey` and `key`, paths of key files, for an engine with keys: see
 * `keys.ts` for the defaults
 */
export function connect(endpoint?: string, options?: ConnectOptions): Client;
export function connect(endpoint?: string, options: ConnectOptions | RobotOptions = {}): Client | Promise<Robot> {
  if (endpoint === undefined || !/^(nats|tls):/.test(endpoint))
    return new Client(checkedEndpoint(endpoint), options as ConnectOptions);
  return import("./robot.ts").then(({ connectRobot }) => connectRobot(endpoint, options));
}

class Client extends JobClient implements AsyncDisposable {
  readonly #exchange: Exchange;
  protected readonly waitMs: number;
  protected readonly data: DataPlane;

  constructor(
    readonly endpoint: string,
    { waitMs, trace, state, onPublishError, ...files }: ConnectOptions,
  ) {
    super();
    this.waitMs = waitMs ?? requestTimeoutMs;
    const keys = readClientKeys(files);
    const local = new LocalEngine(endpoint, keys, state ?? null);
    this.#exchange = new Exchange(endpoint, `CLIENT-${process.pid}`, waitMs ?? null, keys, local, trace);
    this.data = new DataPlane({
      ...{ endpoint, keys, local, waitMs: this.waitMs, onPublishError },
      find: () => this.#dataWorkers(),
      put: (topic, data) => this.send((origin) => encodeDataRequest(origin, topic, data), pickNothing),
      get: (topic) => this.#lastValue(topic),
    });
  }

  /**
   * Runs a task and gives its result. Arguments that JSON has no text for reject with BAD_ARGS
   * before anything is sent. With `detach`, gives the job once it is accepted.
   */
  call(task: string, args: unknown[], kwargs: object, options: DetachOptions): Promise<DetachedJob>;
  call(task: string, args: unknown[], kwargs: object, options: BinaryCallOptions): Promise<Json | BinaryData>;
  call(task: string, args?: unknown[], kwargs?: object, options?: CallOptions): Promise<Json>;
  call(
    task: string,
    args: unknown[] = [],
    kwargs = {},
    options: CallOptions | DetachOptions = {},
  ): Promise<Json | BinaryData | DetachedJob> {
    if ("detach" in options && options.detach) {
      return this.#run(task, args, kwargs, options, (reply) => new DetachedJob(this, pickAccepted(reply)));
    }
    return this.#run(task, args, kwargs, options, "binary" in options && options.binary ? pickAnyData : pickData);
  }

  /** As `call`, and gives the whole reply. */
  request(task: string, args: unknown[], kwargs: object, options: BinaryCallOptions): Promise<TaskReply | BinaryReply>;
  request(task: string, args?: unknown[], kwargs?: object, options?: CallOptions): Promise<TaskReply>;
  request(
    task: string,
    args: unknown[] = [],
    kwargs = {},
    options: CallOptions = {},
  ): Promise<TaskReply | BinaryReply> {
    return this.#run(task, args, kwargs, options, options.binary === true ? pickWhole : pickReply);
  }

  /**
   * Runs a task with each list of arguments, many at a time, and gives the result of each, in the
   * order of the list: `{ data }` or `{ error }`, a TaskEngineError. No reply of the engine makes
   * it reject.
   */
  async map(task: string, argsList: readonly unknown[][], options: BatchOptions = {}): Promise<PartResult[]> {
    const results = await Array.fromAsync(this.stream(task, argsList, options));
    const unsent = { error: new TaskEngineError("CANCELLED", "it was cancelled before it was sent") };
    return argsList.map((_, index) => results[index] ?? unsent);
  }

  /**
   * As `map`, for any number of parts, which may come over time: gives results in order as they are
   * read, and asks the source for more only then. An error of the source is thrown after the
   * results of the parts before it. Leaving the loop cancels the parts in flight.
   */
  stream(
    task: string,
    source: ArgsSource,
    { waitMs = callTimeoutMs, signal, onProgress, kwargs = {}, keepAlive, onBehalf, ...limits }: BatchOptions = {},
  ): AsyncGenerator<PartResult, void, undefined> {
    return runBatch(source, {
      encode: (args) => encodePart(() => encodeTaskPart(task, args, kwargs, limits)),
      send: (parts, waiting) =>
        this.send((origin) => encodeBatchRequest(forPerson(origin, onBehalf), parts, versionFor(limits)), pickParts, {
          ...waiting,
          waitMs,
          keepAlive,
          deadmanMs: limits.deadmanMs,
        }),
      signal,
      onProgress,
    });
  }

  command(
    command: JsonObject,
    { onBehalf, waitMs = this.waitMs, signal }: Pick<CallOptions, "onBehalf" | "waitMs" | "signal"> = {},
  ): Promise<TaskReply | BinaryReply> {
    const encode = (origin: RequestOrigin): string[] => encodeCommand(forPerson(origin, onBehalf), command);
    return this.send(encode, pickWhole, { waitMs, signal });
  }

  /** The tasks that the engine can run. */
  async tasks(): Promise<TaskListing[]> {
    return (await this.#directory()).tasks;
  }

  /** The engine answers. A connection that is lost comes back by itself. */
  get isConnected(): boolean {
    return this.#exchange.isConnected;
  }

  /** Requests that wait for their answers. */
  get waiting(): number {
    return this.#exchange.waiting + this.data.publications.waiting;
  }

  /**
   * Messages that answered no request: `unknown` came too late or was never requested, `malformed`
   * was not understood.
   */
  get dropped(): { readonly unknown: number; readonly malformed: number } {
    return this.#exchange.dropped;
  }

  /**
   * Ends the client: its requests are cancelled and reject with CLOSED, its subscriptions end.
   * Later requests reject with CLOSED.
   */
  async close(): Promise<void> {
    await this.data.close();
    await this.#exchange.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** It is not `async`: each such step costs a request as much as its encoding. */
  #run<Result>(
    task: string,
    args: unknown[],
    kwargs: object,
    { waitMs = callTimeoutMs, signal, onProgress, binary, keepAlive, onBehalf, ...limits }: CallOptions,
    pick: (answer: ResultReply) => Result,
  ): Promise<Result> {
    const version = binary === true ? 0.3 : versionFor(limits);
    const encode = (origin: RequestOrigin): string[] =>
      encodeTaskRequest(forPerson(origin, onBehalf), task, args, kwargs, limits, version);
    return this.send(encode, pick, { waitMs, deadmanMs: limits.deadmanMs, keepAlive, signal, onProgress });
  }

  async #dataWorkers(): Promise<DataWorker[]> {
    const { data, dataWorkers } = await this.#directory();
    if (data.length + dataWorkers.length === 0)
      throw new TaskEngineError("UNAVAILABLE", "the engine has no data worker at present");
    // `data` has those that are gone, too, to which topics of an earlier version may come back.
    const all =
      dataWorkers.length > 0 ? dataWorkers : data.map((publications) => ({ publications, stream: undefined }));
    return all.map(({ publications, stream }) => ({
      publications,
      stream: stream === undefined ? null : reachableFrom(this.endpoint, stream),
    }));
  }

  /** Asks an engine of an earlier version. */
  async #lastValue(topic: string): Promise<TopicValue> {
    const { value, pack } = await this.control({ command: "get", topic }, lastValueSchema);
    return TopicValue.of(topic, value, pack);
  }

  #directory() {
    return this.control({ command: "tasks" }, directorySchema);
  }

  protected async control<Schema extends v.GenericSchema>(
    control: ControlInput,
    schema: () => Schema,
    waiting: WaitOptions = { waitMs: this.waitMs },
  ): Promise<v.InferOutput<Schema>> {
    const data = await this.controlReply(control, pickData, waiting);
    const answer = checkFrame(schema, data, "DATA.data");
    if (!(answer instanceof ProtocolError)) return answer;
    throw new TaskEngineError(
      "BAD_FRAME",
      `the answer to ${control.command} could not be understood: ${answer.message}`,
    );
  }

  protected controlReply<Result>(
    control: ControlInput,
    pick: (reply: ResultReply) => Result,
    waiting?: WaitOptions,
  ): Promise<Result> {
    return this.send((origin) => encodeControlRequest(origin, control), pick, waiting);
  }

  protected send<Result>(
    encode: (origin: RequestOrigin) => readonly string[],
    pick: (answer: ResultReply) => Result,
    waiting: WaitOptions = { waitMs: this.waitMs },
  ): Promise<Result> {
    try {
      return this.#exchange.request(encode, waiting, pick);
    } catch (error) {
      return Promise.reject(encodingError(error));
    }
  }
}

export type { Client };
