/**
 * Runs the fleet's tasks. A name from outside is looked up in the list of those that the robot
 * offers, and goes to the engine only from there; the engine applies the fleet's rights again.
 */
import type { Msg } from "@nats-io/transport-node";
import type { Client } from "../client/client.ts";
import { Presence } from "../client/presence.ts";
import { callTimeoutMs, deadmanMsMin, durationMsMax, linkJobsMax, serialLengthMax } from "../limits.ts";
import { ProtocolError, TaskEngineError } from "../protocol/errors.ts";
import { fleetHeaders } from "../protocol/fleet.ts";
import type { OnBehalf } from "../protocol/frames.ts";
import { isJsonObject, type Json, type JsonObject } from "../protocol/json.ts";
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

/** A job of the fleet that has not been answered. */
interface FleetJob {
  readonly leaving: AbortController;
  /** Takes a tick that has come back, for a job with a dead man. */
  hear: ((tick: unknown) => void) | null;
}

export class TaskPort {
  readonly #options: TaskPortOptions;
  /** Jobs by the ids of their requests; those without one have an id of the link's own. */
  readonly #jobs = new Map<string, FleetJob>();
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
    const job: FleetJob = { leaving: new AbortController(), hear: null };
    let id: string;
    try {
      id = this.#admit(name, message, job);
    } catch (error) {
      return failed(error);
    }
    onChange();
    void this.#run(name, message, job)
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
    const job = typeof id === "string" ? this.#jobs.get(id) : undefined;
    job?.leaving.abort();
    this.#options.replies.json(message.reply ?? "", { cancelled: job !== undefined });
  }

  /** A tick has come back, for a job with a dead man. What names no such job is for nobody. */
  hearAlive(message: Msg): void {
    const body = decodeObject(message.data, "request");
    if (body instanceof ProtocolError || typeof body.request !== "string") return;
    this.#jobs.get(body.request)?.hear?.(body.tick);
  }

  /** Resolves once all jobs have been answered. */
  async settled(): Promise<void> {
    if (this.#jobs.size === 0) return;
    this.#idle = Promise.withResolvers<void>();
    await this.#idle.promise;
  }

  #admit(name: string, { headers }: Msg, job: FleetJob): string {
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
    this.#jobs.set(id, job);
    return id;
  }

  async #run(name: string, message: Msg, job: FleetJob) {
    const { data, headers, reply = "" } = message;
    const { client, replies, onBehalf, view } = this.#options;
    const body = data.length === 0 ? {} : decodeObject(data, "request");
    if (body instanceof ProtocolError) throw body;
    const { args = [], kwargs = {}, options = {} } = body;
    if (!Array.isArray(args)) throw new TaskEngineError("BAD_ARGS", "args is not a list");
    const named = objectIn("kwargs", kwargs);
    const { waitMs = callTimeoutMs, ...limits } = objectIn("options", options);
    if (typeof waitMs !== "number") throw new TaskEngineError("BAD_ARGS", "options.waitMs is not a number");
    const wantsProgress = (headers?.get(fleetHeaders.progress) ?? "") !== "";
    const call = {
      ...limits,
      waitMs,
      binary: true,
      signal: job.leaving.signal,
      ...(wantsProgress && { onProgress: (progress: Json) => replies.progress(reply, progress) }),
      onBehalf: onBehalf ?? undefined,
    } as const;
    const deadmanMs = shortest(limits.deadmanMs, view.tasks.get(name)?.deadmanMs);
    if (deadmanMs !== null)
      return this.#runGuarded(name, message, job, deadmanMs, (keepAlive) =>
        client.request(name, args, named, { ...call, deadmanMs, keepAlive }),
      );
    let isGuarded = false;
    // Its definition has got a dead man since the engine was looked at.
    const keepAlive = (): void => {
      isGuarded = true;
      job.leaving.abort();
    };
    try {
      return await client.request(name, args, named, { ...call, keepAlive });
    } catch (error) {
      throw isGuarded ? new TaskEngineError("UNAVAILABLE", `${name} has a dead man since just now; ask again`) : error;
    }
  }

  /**
   * Begins once the requestor has sent back a fresh tick: a request that lay in a buffer moves
   * nothing. Goes on while such ticks come; each of them is a KEEPALIVE to the engine.
   */
  async #runGuarded<Reply>(
    name: string,
    { headers, reply = "" }: Msg,
    job: FleetJob,
    deadmanMs: number,
    run: (keepAlive: (say: () => void) => void) => Promise<Reply>,
  ): Promise<Reply> {
    const isAble = [fleetHeaders.request, fleetHeaders.alive].every((header) => (headers?.get(header) ?? "") !== "");
    if (!isAble || reply === "") {
      const needs = `its request needs a reply subject, ${fleetHeaders.request} and ${fleetHeaders.alive}`;
      throw new TaskEngineError("BAD_ARGS", `${name} has a dead man: ${needs}, and its sender must send ticks back`);
    }
    const { promise: proven, resolve: begin } = Promise.withResolvers<void>();
    const { leaving } = job;
    const { replies } = this.#options;
    let isLost = false;
    let sayAlive = begin;
    using presence = new Presence({
      deadmanMs,
      sendTick: (tick) => replies.tick(reply, tick, deadmanMs),
      onSilent: () => {
        isLost = true;
        leaving.abort();
      },
    });
    job.hear = (tick) => {
      if (!isLost && presence.hear(tick)) sayAlive();
    };
    leaving.signal.addEventListener("abort", () => begin());
    await proven;
    try {
      if (leaving.signal.aborted) throw new TaskEngineError("CANCELLED", "it was cancelled before it began");
      return await run((say) => {
        sayAlive = say;
      });
    } catch (error) {
      if (!isLost) throw error;
      throw new TaskEngineError("DEADMAN", `no tick of the last ${deadmanMs} ms has come back from its requestor`);
    } finally {
      job.hear = null;
    }
  }
}

/** Returns the shorter time of two for one job; null without any. Throws TaskEngineError. */
const shortest = (given: Json | undefined, defined: number | undefined): number | null => {
  if (given === undefined) return defined ?? null;
  if (typeof given !== "number" || !(given >= deadmanMsMin && given <= durationMsMax)) {
    throw new TaskEngineError("BAD_ARGS", `options.deadmanMs is not ${deadmanMsMin} to ${durationMsMax}`);
  }
  return Math.min(given, defined ?? given);
};

const objectIn = (name: string, value: Json): JsonObject => {
  if (isJsonObject(value)) return value;
  throw new TaskEngineError("BAD_ARGS", `${name} is not an object`);
};
