/**
 * Runs the fleet's tasks. A name from outside is looked up in the list of those that the robot
 * offers, and goes to the engine only from there; the engine applies the fleet's rights again.
 */
import type { Msg } from "@nats-io/transport-node";
import type { Client } from "../client/client.ts";
import { callTimeoutMs, linkJobsMax, serialLengthMax } from "../limits.ts";
import { ProtocolError, TaskEngineError } from "../protocol/errors.ts";
import { fleetHeaders } from "../protocol/fleet.ts";
import type { OnBehalf } from "../protocol/frames.ts";
import type { Json, JsonObject } from "../protocol/json.ts";
import { decodeObject } from "../protocol/schema.ts";
import type { Access } from "../security/access.ts";
import { type EngineView, fleetUser } from "./engine-view.ts";
import { type Failure, failureOf, type Replies } from "./replies.ts";
import type { ServiceCounts } from "./service.ts";

interface TaskPortOptions {
  readonly client: Client;
  readonly view: EngineView;
  readonly access: Access;
  /** Null where the fleet has no rights. */
  readonly onBehalf: OnBehalf | null;
  readonly replies: Replies;
  readonly counts: ServiceCounts;
  /** A job has begun or ended. */
  readonly onChange: () => void;
}

export class TaskPort {
  readonly #options: TaskPortOptions;
  /** By the ids of their requests; those without one have an id of the link's own. */
  readonly #jobs = new Map<string, AbortController>();
  #serial = 0;
  #taken = 0;
  #idle = Promise.withResolvers<void>();

  constructor(options: TaskPortOptions) {
    this.#options = options;
  }

  /** Jobs that have not been answered. */
  get jobs(): number {
    return this.#jobs.size;
  }

  /** Requests so far. */
  get taken(): number {
    return this.#taken;
  }

  /** Runs a task and answers. @param name as the subject has it */
  take(name: string, message: Msg): void {
    this.#taken++;
    const startMs = performance.now();
    const { replies, counts, onChange } = this.#options;
    const reply = message.reply ?? "";
    const failed = (error: unknown): void => {
      const failure: Failure = failureOf(error);
      counts.add(name, performance.now() - startMs, failure);
      replies.failure(reply, failure);
    };
    const leaving = new AbortController();
    let id: string;
    try {
      id = this.#admit(name, message, leaving);
    } catch (error) {
      return failed(error);
    }
    onChange();
    void this.#run(name, message, leaving)
      .then((answer) => {
        counts.add(name, performance.now() - startMs, null);
        replies.result(reply, answer);
      })
      .catch(failed)
      .finally(() => {
        this.#jobs.delete(id);
        if (this.#jobs.size === 0) this.#idle.resolve();
        onChange();
      });
  }

  /** Cancels a job of this robot by the id of its request; nobody else knows it. */
  cancel(message: Msg): void {
    const body = decodeObject(message.data, "request");
    const id = body instanceof ProtocolError ? undefined : body.request;
    const leaving = typeof id === "string" ? this.#jobs.get(id) : undefined;
    leaving?.abort();
    this.#options.replies.json(message.reply ?? "", { cancelled: leaving !== undefined });
  }

  /** Resolves once all jobs have been answered. */
  async settled(): Promise<void> {
    if (this.#jobs.size === 0) return;
    this.#idle = Promise.withResolvers<void>();
    await this.#idle.promise;
  }

  #admit(name: string, { headers }: Msg, leaving: AbortController): string {
    const { view, access } = this.#options;
    if (!view.tasks.has(name)) {
      const refusal = access.refusal(fleetUser, "send", name);
      if (refusal !== null)
        throw new TaskEngineError("UNAUTHORIZED", `${refusal}, which \`allow\` of its [link] gives`);
      const isKnown = view.seen.isConnected;
      if (isKnown) throw new TaskEngineError("UNKNOWN_TASK", `the robot has no task ${JSON.stringify(name)}`);
      throw new TaskEngineError("UNAVAILABLE", "the link does not reach the robot's engine");
    }
    if (this.#jobs.size >= linkJobsMax) {
      throw new TaskEngineError("QUEUE_FULL", `${linkJobsMax} jobs of the fleet wait or run here already`);
    }
    const given = headers?.get(fleetHeaders.request) ?? "";
    if (given.length > serialLengthMax) {
      throw new TaskEngineError("BAD_ARGS", `${fleetHeaders.request} has more than ${serialLengthMax} characters`);
    }
    if (this.#jobs.has(given)) throw new TaskEngineError("BAD_ARGS", `${fleetHeaders.request} is in use already`);
    const id = given === "" ? ` ${++this.#serial}` : given;
    this.#jobs.set(id, leaving);
    return id;
  }

  async #run(name: string, { data, headers, reply = "" }: Msg, leaving: AbortController) {
    const { client, replies, onBehalf, view } = this.#options;
    const body = data.length === 0 ? {} : decodeObject(data, "request");
    if (body instanceof ProtocolError) throw body;
    const { args = [], kwargs = {}, options = {} } = body;
    if (!Array.isArray(args)) throw new TaskEngineError("BAD_ARGS", "args is not a list");
    const { waitMs = callTimeoutMs, ...limits } = objectIn("options", options);
    if (typeof waitMs !== "number") throw new TaskEngineError("BAD_ARGS", "options.waitMs is not a number");
    const guarded = (): TaskEngineError =>
      new TaskEngineError("BAD_ARGS", `${name} has a dead man, which does not go over NATS; ask its engine`);
    if (limits.deadmanMs !== undefined || view.tasks.get(name)?.deadmanMs !== undefined) throw guarded();
    const wantsProgress = (headers?.get(fleetHeaders.progress) ?? "") !== "";
    let isGuarded = false;
    try {
      return await client.request(name, args, objectIn("kwargs", kwargs), {
        ...limits,
        waitMs,
        binary: true,
        signal: leaving.signal,
        ...(wantsProgress && { onProgress: (progress: Json) => replies.progress(reply, progress) }),
        // Its definition has got a dead man since the engine was looked at.
        keepAlive: () => {
          isGuarded = true;
          leaving.abort();
        },
        onBehalf: onBehalf ?? undefined,
      });
    } catch (error) {
      throw isGuarded ? guarded() : error;
    }
  }
}

const objectIn = (name: string, value: Json): JsonObject => {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
  throw new TaskEngineError("BAD_ARGS", `${name} is not an object`);
};
