/** A task worker's own port: serves requestors that skip the router, by the same protocol. */
import {
  answerDelayMs,
  directBytesMax,
  directBytesPerClientMax,
  directJobsMax,
  directJobsPerClientMax,
  drainMessagesMax,
} from "../limits.ts";
import type { Arrival, Requestor } from "../protocol/envelope.ts";
import type { ErrorBody, ErrorCode } from "../protocol/errors.ts";
import { bytesOf, type Frame } from "../protocol/frame.ts";
import { encodeError, type Meta } from "../protocol/frames.ts";
import type { TaskOptions } from "../protocol/policy.ts";
import { encodeBinaryMeta, encodeReplyMeta, partFromError, refusalOfBinary } from "../protocol/replies.ts";
import type { TaskPart } from "../protocol/requests.ts";
import type { BinaryType } from "../protocol/values.ts";
import { Access } from "../security/access.ts";
import { Frontend, type NextArrival } from "../security/frontend.ts";
import type { Gate } from "../security/gate.ts";
import { refusalOfRequest } from "../security/rights.ts";
import { type Share, Shares } from "../security/shares.ts";
import type { RegisteredTask, Registry } from "../tasks/task.ts";
import type { Executor } from "./executor.ts";
import type { TaskJob, TaskOutcome } from "./job.ts";
import type { Restrictions } from "./restrictions.ts";

interface DirectPortOptions {
  /** `TASK-<pid>`, META's `id` of each answer. */
  readonly id: string;
  readonly gate: Gate;
  readonly executor: Executor;
  readonly registry: Registry;
  readonly restrictions: Restrictions;
  /** Called after each job that was run or refused, with the ms that it ran. */
  readonly ended: (ms: number) => void;
  /** Gets a line for each message; null if they are not to be printed. */
  readonly log: ((line: string) => void) | null;
}

interface DirectRequest {
  readonly requestor: Requestor;
  /** The name of the key that it came with; null in an engine without keys. */
  readonly user: string | null;
  readonly meta: Pick<Meta, "version" | "serial"> & Partial<Pick<Meta, "onBehalf">>;
}

interface DirectJob {
  readonly request: DirectRequest;
  /** Takes its first outcome, which may come before it has let go. */
  readonly settle: (outcome: TaskOutcome) => void;
}

export class DirectPort {
  readonly #options: DirectPortOptions;
  readonly #frontend: Frontend;
  /** Jobs that have not ended. */
  readonly #held = new Map<TaskJob, DirectJob>();
  /** Bytes of the TASK frames of all requests that are not answered. */
  #heldBytes = 0;
  /** The same for each client. */
  readonly #shares = new Shares({ jobs: directJobsPerClientMax, bytes: directBytesPerClientMax });
  /** The rights by which the held jobs were accepted. */
  #access = Access.nobody;
  /** Time of performance.now() at which answers went out last. */
  #sentAt = Number.NEGATIVE_INFINITY;

  constructor(options: DirectPortOptions) {
    this.#options = options;
    this.#frontend = new Frontend(options.gate, (next) => this.#drain(next));
    options.restrictions.onClosed = () => this.#endClosed();
  }

  /** Throws ZmqError if the port cannot be had. */
  bind(host: string, port: number): void {
    this.#frontend.bind({ host, port, socket: null });
    this.#options.gate.onAccess((access) => this.#revoke(access));
    this.#frontend.open();
  }

  close(): void {
    this.#frontend.close();
  }

  #drain(next: NextArrival): void {
    for (let count = 0; count < drainMessagesMax; count++) {
      const arrival = next();
      if (arrival === null) break;
      if (arrival.type === "request") this.#receive(arrival);
      else this.#cancelWaitingOf(arrival.peer);
    }
    this.#frontend.flush();
  }

  #receive({ requestor, user, request: message }: Extract<Arrival, { type: "request" }>): void {
    const request: DirectRequest = { requestor, user, meta: message.meta ?? { version: 0.1 } };
    const refusal = refusalOfRequest(this.#options.gate.access, user, message);
    if (refusal !== null) return this.#fail(request, "UNAUTHORIZED", refusal);
    switch (message.kind) {
      case "bad":
        return this.#fail(request, message.error.code, message.error.message);
      case "ping":
        return this.#send(request, "ACK", []);
      case "task":
        return this.#run(request, message.parts);
      default:
        return this.#fail(request, "UNAVAILABLE", "a worker's own port takes only tasks; send this to the router");
    }
  }

  #run(request: DirectRequest, parts: readonly TaskPart[]): void {
    for (const part of parts) {
      const refusal = this.#refusal(part);
      if (refusal !== null) return this.#fail(request, refusal.code, refusal.message);
    }
    const bytes = bytesOf(parts.map(({ frame }) => frame));
    const share = this.#takeShare(request, parts.length, bytes);
    if (typeof share === "string") return this.#fail(request, "QUEUE_FULL", share);
    const outcomes: TaskOutcome[] = [];
    let left = parts.length;
    for (const [index, part] of parts.entries()) {
      this.#submit(part, request, (outcome) => {
        if (outcomes[index] !== undefined) return;
        outcomes[index] = outcome;
        if (--left > 0) return;
        this.#shares.release(share, parts.length, bytes);
        this.#heldBytes -= bytes;
        this.#answer(request, outcomes);
      });
    }
  }

  #submit(part: TaskPart, request: DirectRequest, settle: DirectJob["settle"]): void {
    const { executor, registry, log } = this.#options;
    const { name, task } = part;
    log?.(`Received task: ${JSON.stringify(task)}`);
    const ttlMs = task.options?.ttlMs ?? registry.get(name)?.policy.ttlMs;
    const job: TaskJob = {
      name,
      task,
      serial: request.meta.serial ?? "",
      ...(ttlMs !== undefined && { expiresMs: performance.now() + ttlMs }),
      done: (outcome) => {
        this.#held.delete(job);
        settle(outcome);
        this.#options.ended(outcome.ms);
      },
    };
    this.#held.set(job, { request, settle });
    // The limits leave room; should they ever differ, the requestor must not wait for nothing.
    if (executor.submit(job) === "full")
      job.done({ ok: false, code: "QUEUE_FULL", message: "the worker's queue is full", ms: 0 });
  }

  /** Returns the client's share, or why the request would be too much, in one line. */
  #takeShare({ requestor, user, meta }: DirectRequest, jobs: number, bytes: number): Share | string {
    if (this.#held.size + jobs > directJobsMax || this.#heldBytes + bytes > directBytesMax) {
      return `${this.#held.size} jobs (${this.#heldBytes} bytes) are waiting here already; ask again later`;
    }
    const share = this.#shares.take(requestor.peer, meta.onBehalf?.name ?? user, jobs, bytes);
    if (typeof share !== "string") this.#heldBytes += bytes;
    return share;
  }

  /** The connection has ended: its waiting jobs never begin. */
  #cancelWaitingOf(peer: string): void {
    const { executor } = this.#options;
    for (const [job, { request }] of this.#held) {
      if (request.requestor.peer !== peer || executor.runs(job)) continue;
      executor.stop(job, "CANCELLED", "the connection of its requestor ended before it began");
    }
  }

  /** Ends jobs that their requestors no longer may run, and answers before the gate cuts these. */
  #revoke(access: Access): void {
    for (const [job, { request, settle }] of this.#held) {
      const message = access.refusalSince(this.#access, request.user, "send", job.name);
      if (message === null) continue;
      this.#options.executor.stop(job, "UNAUTHORIZED", message);
      settle({ ok: false, code: "UNAUTHORIZED", message, ms: 0 });
    }
    this.#access = access;
    this.#frontend.flush();
  }

  /** Waiting jobs of tasks in quarantine or paused never begin here; a running one goes on. */
  #endClosed(): void {
    const { executor, restrictions } = this.#options;
    for (const job of this.#held.keys()) {
      const message = restrictions.closedRefusal(job.name);
      if (message !== null && !executor.runs(job)) executor.stop(job, "UNAVAILABLE", message);
    }
    this.#frontend.flush();
  }

  #refusal({ name, task: given }: TaskPart): ErrorBody | null {
    const { registry, restrictions } = this.#options;
    const task = registry.get(name);
    if (task === undefined) return { code: "UNKNOWN_TASK", message: `this worker has no task ${JSON.stringify(name)}` };
    const closed = restrictions.closedRefusal(name);
    if (closed !== null) return { code: "UNAVAILABLE", message: closed };
    const unkept = unkeptOf(task, given.options);
    if (unkept !== undefined) {
      return { code: "UNAVAILABLE", message: `only the router enforces ${unkept} of ${name}; send it there` };
    }
    const stopped = restrictions.stopRefusal(task);
    return stopped === null ? null : { code: "STOPPED", message: stopped };
  }

  #answer(request: DirectRequest, outcomes: readonly TaskOutcome[]): void {
    const [first] = outcomes;
    if (outcomes.length === 1 && first?.ok === false) return this.#fail(request, first.code, first.message);
    if (first?.ok === true && first.contentType !== undefined && outcomes.length === 1) {
      return this.#answerBinary(request, first.data, first.contentType);
    }
    const { version } = request.meta;
    const frames = outcomes.map((outcome) => {
      if (!outcome.ok) return partFromError(encodeError(outcome.code, outcome.message));
      const { contentType } = outcome;
      const refusal = contentType && refusalOfBinary(contentType, version, outcomes.length);
      return typeof refusal === "string" ? partFromError(encodeError("TASK_ERROR", refusal)) : outcome.data;
    });
    for (const frame of frames) this.#options.log?.(`Task complete: ${frame}`);
    this.#send(request, "ACK", version === 0.1 ? [] : frames);
  }

  #answerBinary(request: DirectRequest, bytes: Buffer, contentType: BinaryType): void {
    const { version, serial } = request.meta;
    const refusal = refusalOfBinary(contentType, version, 1);
    if (refusal !== null) return this.#fail(request, "TASK_ERROR", refusal);
    this.#options.log?.(`Task complete: ${bytes.length} bytes of ${contentType.contentType}`);
    if (version === 0.1) return this.#send(request, "ACK", []);
    this.#deliver(request.requestor, [encodeBinaryMeta(this.#options.id, contentType, serial), bytes]);
  }

  #fail(request: DirectRequest, code: ErrorCode, message: string): void {
    this.#send(request, "ERR", [encodeError(code, message)]);
  }

  #send({ requestor, meta }: DirectRequest, type: "ACK" | "ERR", frames: readonly Frame[]): void {
    const head = encodeReplyMeta(this.#options.id, type, meta.version, meta.serial);
    this.#deliver(requestor, [head, ...frames]);
  }

  #deliver(requestor: Requestor, frames: readonly Frame[]): void {
    // A requestor that is gone or does not read has given up its answer; nobody else waits for it.
    this.#frontend.gather(requestor, frames);
    const now = performance.now();
    const { quickNext } = this.#options.executor;
    // The next job may block: flush now unless it is quick.
    if (this.#sentAt + answerDelayMs > now && quickNext !== null && this.#held.has(quickNext as TaskJob)) return;
    this.#sentAt = now;
    this.#frontend.flush(true);
  }
}

/**
 * Returns the first option of the task or of the request that this port cannot keep: only the
 * router can have a worker killed, and only the router sees all workers.
 */
const unkeptOf = ({ policy }: RegisteredTask, options: TaskOptions = {}): string | undefined =>
  (["timeoutMs", "deadmanMs", "onStop"] as const).find((key) => policy[key] !== undefined) ??
  ((policy.resources ?? []).length > 0 ? "resources" : undefined) ??
  routerOptions.find((key) => options[key] !== undefined);

/**
 * True for the options that only the router enforces; a new option does not compile without a row.
 */
const isRouterOption: Readonly<Record<keyof TaskOptions, boolean>> = {
  priority: true,
  ttlMs: false,
  timeoutMs: true,
  deadmanMs: true,
  latest: true,
  preempt: true,
  detach: true,
  durable: true,
  unique: true,
  delayMs: true,
  notBefore: true,
};
const routerOptions = (Object.keys(isRouterOption) as (keyof TaskOptions)[]).filter((key) => isRouterOption[key]);
