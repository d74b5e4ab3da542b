/**
 * Requests over NATS that wait for their replies: one inbox for all of them. A reply of type
 * PROGRESS is not the last one; a reply of the server itself says that nobody listens.
 */
import type { Msg, NatsConnection } from "@nats-io/transport-node";
import { clientRequestsMax } from "../limits.ts";
import { arrayOf } from "../protocol/arrays.ts";
import { type ClientErrorCode, ProtocolError, TaskEngineError } from "../protocol/errors.ts";
import { fleetHeaders, robotNamePattern } from "../protocol/fleet.ts";
import { decodeMeta } from "../protocol/frames.ts";
import { type Json, JsonError, parseJson } from "../protocol/json.ts";
import type { AcceptedJob } from "../protocol/replies.ts";
import { decodeObject } from "../protocol/schema.ts";
import { decodeResultType } from "../protocol/values.ts";
import type { BinaryReply, TaskReply } from "./pending.ts";

/** The server's status for a subject at which nobody listens. */
const noResponders = 503;

interface Waiting {
  readonly resolve: (reply: TaskReply | BinaryReply) => void;
  readonly reject: (error: unknown) => void;
  readonly onProgress: ((data: Json) => void) | undefined;
  /** For a subject at which nobody listens. */
  readonly absent: TaskEngineError;
  readonly keepAlive: KeepAlive | undefined;
  /** Sends the last tick back; null before the first one. */
  echo: (() => void) | null;
  tick: number;
}

/**
 * As of a client's call: gets what says that the program is alive, in place of the asker's own
 * word.
 */
type KeepAlive = (say: () => void, deadmanMs: number) => void;

interface Question {
  readonly subject: string;
  readonly body: string;
  readonly absent: TaskEngineError;
  /** ms to the reply; Infinity for no limit. */
  readonly waitMs: number;
  /** Also the id by which it can be cancelled. */
  readonly id: string;
  readonly onProgress?: ((data: Json) => void) | undefined;
  /** Keeps a task's job alive, which may have a dead man. */
  readonly keepAlive?: KeepAlive | "itself" | undefined;
}

export class FleetAsker {
  readonly #waiting = new Map<string, Waiting>();
  #isConnected = true;

  /** @param inbox a subject of this program alone */
  constructor(
    private readonly nats: NatsConnection,
    private readonly newHeaders: () => ReturnType<typeof import("@nats-io/transport-node").headers>,
    private readonly inbox: string,
  ) {
    nats.subscribe(`${inbox}.*`, { callback: (error, message) => this.#take(error, message) });
    void this.#watch();
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  get isConnected(): boolean {
    return this.#isConnected && !this.nats.isClosed();
  }

  /** Rejects with TaskEngineError. */
  async ask({ subject, body, absent, waitMs, id, onProgress, keepAlive }: Question): Promise<TaskReply | BinaryReply> {
    if (this.nats.isClosed()) throw new TaskEngineError("CLOSED", "the client is closed");
    if (!this.#isConnected) throw new TaskEngineError("NO_ANSWER", "NATS is not reached at present; nothing was sent");
    if (this.#waiting.size >= clientRequestsMax) {
      throw new TaskEngineError("QUEUE_FULL", `${clientRequestsMax} requests of this client wait already`);
    }
    const bytes = Buffer.byteLength(body);
    const bytesMax = this.nats.info?.max_payload ?? Number.POSITIVE_INFINITY;
    if (bytes > bytesMax) {
      throw new TaskEngineError(
        "TOO_LARGE",
        `the request has ${bytes} bytes, NATS' limit (max_payload) is ${bytesMax}`,
      );
    }
    const { promise, resolve, reject } = Promise.withResolvers<TaskReply | BinaryReply>();
    const ownWord = keepAlive === "itself" ? undefined : keepAlive;
    this.#waiting.set(id, { resolve, reject, onProgress, absent, keepAlive: ownWord, echo: null, tick: 0 });
    const giveUp = (): void =>
      reject(new TaskEngineError("NO_ANSWER", `no answer within ${waitMs} ms; the request may have arrived`));
    const timer = Number.isFinite(waitMs) ? setTimeout(giveUp, waitMs) : undefined;
    const headers = this.newHeaders();
    headers.set(fleetHeaders.request, id);
    if (onProgress !== undefined) headers.set(fleetHeaders.progress, "1");
    if (keepAlive !== undefined) headers.set(fleetHeaders.alive, "1");
    this.nats.publish(subject, body, { reply: `${this.inbox}.${id}`, headers });
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(id);
    }
  }

  /** Rejects all that wait. */
  failAll(error: TaskEngineError): void {
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }

  #take(error: Error | null, message: Msg): void {
    if (error !== null)
      return this.failAll(new TaskEngineError("UNAUTHORIZED", `NATS refuses this program: ${error.message}`));
    const id = message.subject.slice(this.inbox.length + 1);
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return;
    const tick = Number(message.headers?.get(fleetHeaders.tick) ?? "");
    if (tick > 0) return this.#takeTick(id, waiting, tick, message);
    try {
      const reply = replyOf(message, waiting.absent);
      if (reply.meta.type !== "PROGRESS") waiting.resolve(reply);
      else if (!("type" in reply)) waiting.onProgress?.(reply.data);
    } catch (failure) {
      waiting.reject(failure);
    }
  }

  /**
   * The robot asks whether this program is still there. The first answer begins the job; later ones
   * are up to the program, where it wants to say so by itself.
   */
  #takeTick(id: string, waiting: Waiting, tick: number, { headers, data }: Msg): void {
    const robot = headers?.get(fleetHeaders.robot) ?? "";
    const body = decodeObject(data, "tick");
    if (!robotNamePattern.test(robot) || body instanceof ProtocolError || typeof body.deadmanMs !== "number") return;
    const isFirst = waiting.echo === null;
    waiting.tick = tick;
    waiting.echo ??= () => {
      if (!this.isConnected || this.#waiting.get(id) !== waiting) return;
      this.nats.publish(`te.${robot}.alive`, JSON.stringify({ request: id, tick: waiting.tick }));
    };
    if (isFirst || waiting.keepAlive === undefined) waiting.echo();
    if (isFirst) waiting.keepAlive?.(waiting.echo, body.deadmanMs);
  }

  async #watch(): Promise<void> {
    for await (const { type } of this.nats.status()) {
      if (type === "disconnect") {
        this.#isConnected = false;
        this.failAll(new TaskEngineError("NO_ANSWER", "the connection to NATS was lost; the job may have run"));
      } else if (type === "reconnect") {
        this.#isConnected = true;
      }
    }
  }
}

/** Throws TaskEngineError. */
const replyOf = ({ headers, data }: Msg, absent: TaskEngineError): TaskReply | BinaryReply => {
  if (headers?.code === noResponders) throw absent;
  const code = headers?.get(fleetHeaders.errorCode) ?? "";
  if (code !== "") throw new TaskEngineError(code as ClientErrorCode, headers?.get(fleetHeaders.errorText) ?? "");
  return taskReplyIn(headers?.get(fleetHeaders.meta) ?? "", data);
};

/** A reply by its META and what follows it. Throws TaskEngineError. */
export const taskReplyIn = (text: string, data: Uint8Array): TaskReply | BinaryReply => {
  const meta = decodeMeta(text);
  const type = decodeResultType(text);
  if (meta instanceof ProtocolError) throw notUnderstood(meta.message);
  if (type instanceof ProtocolError) throw notUnderstood(type.message);
  const { contentType } = type;
  if (contentType !== undefined) return { meta, type: { ...type, contentType }, data: arrayOf(data, type) };
  try {
    const body = parseJson(data);
    if (typeof body === "object" && body !== null && "data" in body) return { meta, data: body.data };
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    throw notUnderstood(error.message);
  }
  throw notUnderstood("it has no data");
};

const notUnderstood = (why: string): TaskEngineError =>
  new TaskEngineError("BAD_FRAME", `the reply could not be understood: ${why}`);

/** Throws TaskEngineError. */
export const pickJson = (reply: TaskReply | BinaryReply): TaskReply => {
  if (!("type" in reply)) return reply;
  throw new TaskEngineError("TASK_ERROR", `the result is ${reply.type.contentType}; ask for it with binary: true`);
};

/** The link has checked it. */
export const acceptedIn = (reply: TaskReply | BinaryReply): AcceptedJob => {
  const { data } = pickJson(reply);
  if (typeof data === "object" && data !== null && "job" in data) return data as unknown as AcceptedJob;
  throw new TaskEngineError("BAD_FRAME", "the answer names no job");
};
