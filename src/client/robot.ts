/**
 * A robot of a fleet, asked over NATS: the client's methods, as far as a link passes them on.
 * ```ts
 * await using robot = await connect("nats://hub:4222", { robot: "r7" });
 * const sum = await robot.call("count", [2, 3]);
 * ```
 */
import type { NatsConnection } from "@nats-io/transport-node";
import type * as v from "valibot";
import { callTimeoutMs, fleetGraceMs, fleetMapMax, requestTimeoutMs, stopReasonLengthMax } from "../limits.ts";
import type { BinaryData } from "../protocol/arrays.ts";
import type { StopResult } from "../protocol/blocked.ts";
import type { ControlInput } from "../protocol/control.ts";
import { ProtocolError, TaskEngineError } from "../protocol/errors.ts";
import {
  type FleetTarget,
  groupNamePattern,
  isSubjectEnd,
  nameForm,
  reservedNames,
  robotNamePattern,
  stopReportSchema,
  subjectOf,
  targetText,
} from "../protocol/fleet.ts";
import { taskName } from "../protocol/frames.ts";
import type { Json, JsonObject } from "../protocol/json.ts";
import { jsonText } from "../protocol/json-encode.ts";
import { checkFrame } from "../protocol/schema.ts";
import type { PartResult } from "./batch.ts";
import { directorySchema, type TaskListing } from "./control.ts";
import { encodingError } from "./errors.ts";
import { acceptedIn, FleetAsker, pickJson } from "./fleet-asker.ts";
import { FleetJobClient } from "./fleet-job-client.ts";
import type { DetachedJob } from "./job-client.ts";
import { connectNats, type NatsFiles } from "./nats.ts";
import type { BatchOptions, BinaryCallOptions, CallOptions, DetachOptions, JobOptions } from "./options.ts";
import type { BinaryReply, ResultReply, TaskReply, WaitOptions } from "./pending.ts";

export interface RobotOptions extends NatsFiles {
  /** The robot's name; or `group`, for one of the group that is free. */
  readonly robot?: string | undefined;
  readonly group?: string | undefined;
  /** ms for answers without work; default 5000. */
  readonly waitMs?: number | undefined;
}

/** As `connect` with an address of NATS. */
export const connectRobot = async (address: string, options: RobotOptions): Promise<Robot> => {
  const { robot, group, waitMs, ...files } = options;
  const target = targetOf(robot, group);
  const nats = await connectNats(address, { ...files, name: `task-engine client ${process.pid}`, isPatient: false });
  const { createInbox, headers } = await import("@nats-io/transport-node");
  return new Robot(nats, new FleetAsker(nats, headers, createInbox()), target, waitMs ?? requestTimeoutMs);
};

const targetOf = (robot: string | undefined, group: string | undefined): FleetTarget => {
  if ((robot === undefined) === (group === undefined)) {
    throw new TaskEngineError("BAD_ARGS", "name a robot or a group of robots");
  }
  if (robot !== undefined) return { robot: checkedRobot(robot) };
  return { group: checkedGroup(group ?? "") };
};

/** Throws TaskEngineError, BAD_ARGS. */
export const checkedRobot = (robot: string): string => {
  if (robotNamePattern.test(robot)) return robot;
  throw new TaskEngineError(
    "BAD_ARGS",
    `${JSON.stringify(robot)} is no name of a robot, which has ${nameForm}, and is not ${reservedNames}`,
  );
};

/** Throws TaskEngineError, BAD_ARGS. */
export const checkedGroup = (group: string): string => {
  if (groupNamePattern.test(group)) return group;
  throw new TaskEngineError("BAD_ARGS", `${JSON.stringify(group)} is no name of a group, which has ${nameForm}`);
};

interface Waiting {
  readonly waitMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((data: Json) => void) | undefined;
  readonly keepAlive?: CallOptions["keepAlive"] | "itself";
}

const noData = "data of a robot does not come over NATS; connect to its engine for it";

export class Robot extends FleetJobClient implements AsyncDisposable {
  /** @param waitMs for answers without work */
  constructor(
    protected readonly nats: NatsConnection,
    private readonly asker: FleetAsker,
    readonly target: FleetTarget,
    protected readonly waitMs: number,
  ) {
    super();
  }

  /** Throws: a link passes on no data. */
  protected get data(): never {
    throw new TaskEngineError("UNAVAILABLE", noData);
  }

  /**
   * As of a client, also with a dead man: the job goes on while this program sends the robot's
   * ticks back. With `detach` the fleet keeps the job until a robot takes it.
   */
  call(task: string, args: unknown[], kwargs: object, options: DetachOptions): Promise<DetachedJob>;
  call(task: string, args: unknown[], kwargs: object, options: BinaryCallOptions): Promise<Json | BinaryData>;
  call(task: string, args?: unknown[], kwargs?: object, options?: CallOptions): Promise<Json>;
  async call(
    task: string,
    args: unknown[] = [],
    kwargs = {},
    options: CallOptions | DetachOptions = {},
  ): Promise<Json | BinaryData | DetachedJob> {
    if ("detach" in options && options.detach) return this.detach(task, args, kwargs, options);
    const reply = await this.#run(task, args, kwargs, options);
    return "binary" in options && options.binary ? reply.data : pickJson(reply).data;
  }

  /** As `call`, and gives the whole reply. */
  request(task: string, args: unknown[], kwargs: object, options: BinaryCallOptions): Promise<TaskReply | BinaryReply>;
  request(task: string, args?: unknown[], kwargs?: object, options?: CallOptions): Promise<TaskReply>;
  async request(
    task: string,
    args: unknown[] = [],
    kwargs = {},
    options: CallOptions = {},
  ): Promise<TaskReply | BinaryReply> {
    const reply = await this.#run(task, args, kwargs, options);
    return options.binary === true ? reply : pickJson(reply);
  }

  /** As of a client: each part is a request of its own. */
  async map(
    task: string,
    argsList: readonly unknown[][],
    { kwargs = {}, onProgress: _, ...options }: BatchOptions = {},
  ): Promise<PartResult[]> {
    const results: PartResult[] = [];
    const parts = argsList.entries();
    const work = async (): Promise<void> => {
      for (const [index, args] of parts) {
        results[index] = await this.call(task, args, kwargs, options).then(
          (data) => ({ data }),
          (error: unknown) => {
            if (error instanceof TaskEngineError) return { error };
            throw error;
          },
        );
      }
    };
    await Promise.all(Array.from({ length: Math.min(fleetMapMax, argsList.length) }, work));
    return results;
  }

  /** The tasks of the robot's engine. */
  async tasks(): Promise<TaskListing[]> {
    return (await this.control({ command: "tasks" }, directorySchema)).tasks;
  }

  override async estop(reason = ""): Promise<StopResult> {
    const body = JSON.stringify({ reason: reason.slice(0, stopReasonLengthMax).toWellFormed() });
    const reply = await this.#ask("estop", body, { waitMs: this.waitMs });
    const report = checkFrame(stopReportSchema, reply.data, "reply");
    if (report instanceof ProtocolError) throw new TaskEngineError("BAD_FRAME", report.message);
    const { robot: _, ...stop } = report;
    return stop;
  }

  command(
    command: JsonObject,
    { waitMs = this.waitMs, signal }: Pick<JobOptions, "onBehalf" | "waitMs" | "signal"> = {},
  ): Promise<TaskReply | BinaryReply> {
    return this.#ask("control", textOf(command), { waitMs, signal });
  }

  /** NATS is reached. */
  get isConnected(): boolean {
    return this.asker.isConnected;
  }

  /** Requests that wait for their answers. */
  get waiting(): number {
    return this.asker.waiting;
  }

  /** Ends the client: its requests reject with CLOSED. */
  async close(): Promise<void> {
    this.asker.failAll(new TaskEngineError("CLOSED", "the client was closed"));
    await this.nats.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  protected async control<Schema extends v.GenericSchema>(
    control: ControlInput,
    schema: () => Schema,
    waiting: WaitOptions = { waitMs: this.waitMs },
  ): Promise<v.InferOutput<Schema>> {
    const { data } = pickJson(await this.#ask("control", textOf(control), waiting));
    const answer = checkFrame(schema, data, "reply.data");
    if (!(answer instanceof ProtocolError)) return answer;
    throw new TaskEngineError("BAD_FRAME", `the answer to ${control.command} was not understood: ${answer.message}`);
  }

  protected async controlReply<Result>(
    control: ControlInput,
    pick: (reply: ResultReply) => Result,
    waiting: WaitOptions = { waitMs: this.waitMs },
  ): Promise<Result> {
    const reply = await this.#ask("control", textOf(control), waiting);
    if ("type" in reply) {
      const { buffer, byteOffset, byteLength } = reply.data;
      return pick({
        kind: "binary",
        meta: reply.meta,
        type: reply.type,
        bytes: Buffer.from(buffer, byteOffset, byteLength),
      });
    }
    if (reply.meta.type === "ACCEPTED") return pick({ kind: "accepted", meta: reply.meta, job: acceptedIn(reply) });
    return pick({ kind: "ack", meta: reply.meta, data: reply.data });
  }

  #run(
    task: string,
    args: unknown[],
    kwargs: object,
    { waitMs = callTimeoutMs, signal, onProgress, binary: _, keepAlive, onBehalf, ...limits }: CallOptions,
  ): Promise<TaskReply | BinaryReply> {
    const name = taskName(task);
    if (!isSubjectEnd(name)) {
      return Promise.reject(
        new TaskEngineError("BAD_ARGS", `the task ${JSON.stringify(name)} cannot be a subject of NATS`),
      );
    }
    if (onBehalf !== undefined) {
      return Promise.reject(new TaskEngineError("BAD_ARGS", "onBehalf does not go over NATS"));
    }
    try {
      const given = Object.entries(limits).filter(([, value]) => value !== undefined);
      const options = { ...Object.fromEntries(given), ...(Number.isFinite(waitMs) && { waitMs }) };
      const body = textOf({ args, kwargs, options });
      return this.#ask(`tasks.${name}`, body, { waitMs, signal, onProgress, keepAlive: keepAlive ?? "itself" });
    } catch (error) {
      return Promise.reject(encodingError(error));
    }
  }

  /** Cancels on abort and when its own time is over. */
  async #ask(end: string, body: string, { waitMs, signal, ...heard }: Waiting): Promise<TaskReply | BinaryReply> {
    if (signal?.aborted) throw new TaskEngineError("CANCELLED", "it was cancelled before it was sent");
    if (!("robot" in this.target) && !end.startsWith("tasks.")) {
      throw new TaskEngineError("BAD_ARGS", `this goes to one robot at a time, not to the ${targetText(this.target)}`);
    }
    const start = subjectOf(this.target);
    const id = crypto.randomUUID();
    const cancel = (): void => this.nats.publish(`${start}.cancel`, JSON.stringify({ request: id }));
    const absent =
      "robot" in this.target
        ? new TaskEngineError(
            "NO_ANSWER",
            `${targetText(this.target)} is not there: nothing listens at ${start}.${end}`,
          )
        : new TaskEngineError(
            "UNAVAILABLE",
            `no robot of the ${targetText(this.target)} is free and serves ${end.slice(6)}`,
          );
    signal?.addEventListener("abort", cancel, { once: true });
    try {
      const waitsMs = waitMs + fleetGraceMs;
      return await this.asker.ask({ subject: `${start}.${end}`, body, absent, waitMs: waitsMs, id, ...heard });
    } catch (error) {
      const isLeft = error instanceof TaskEngineError && ["NO_ANSWER", "CLOSED"].includes(error.code);
      if (isLeft && this.isConnected) cancel();
      throw error;
    } finally {
      signal?.removeEventListener("abort", cancel);
    }
  }
}

const textOf = (value: object): string => {
  try {
    return jsonText(value, "request");
  } catch (error) {
    throw encodingError(error);
  }
};
