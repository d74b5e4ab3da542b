/** A task worker's own port: requestors that skip the router send it the same frames and get the same answers. */

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
import { encodeReplyMeta, partFromError } from "../protocol/replies.ts";
import type { TaskPart } from "../protocol/requests.ts";
import { Access } from "../security/access.ts";
import { Frontend, type NextArrival } from "../security/frontend.ts";
import type { Gate } from "../security/gate.ts";
import { refusalOfRequest } from "../security/rights.ts";
import { type Share, Shares } from "../security/shares.ts";
import type { RegisteredTask, Registry } from "../tasks/task.ts";
import type { EmergencyStop } from "./emergency-stop.ts";
import type { Executor } from "./executor.ts";
import type { Job, Outcome } from "./job.ts";
import type { Quarantine } from "./quarantine.ts";
import { QuickTasks } from "./quick-tasks.ts";

export interface DirectPortOptions {
  /** `TASK-<pid>`: who answers. */
  readonly id: string;
  readonly gate: Gate;
  readonly executor: Executor;
  readonly registry: Registry;
  readonly emergency: EmergencyStop;
  readonly quarantine: Quarantine;
  /** Called after each job that was run or refused, with the ms that it has run. */
  readonly ended: (ms: number) => void;
  /** Is told of each message, where every message is to be printed. */
  readonly log: ((line: string) => void) | null;
}

interface Asked {
  readonly requestor: Requestor;
  /** The name of the key that it came with; null where nobody is known. */
  readonly user: string | null;
  readonly meta: Pick<Meta, "version" | "serial">;
}

interface Held {
  /** Key of the connection that it came by. */
  readonly peer: string;
  readonly user: string | null;
  /** Takes its outcome, the first that there is; that may come before it has let go. */
  readonly settle: (outcome: Outcome) => void;
}

export class DirectPort {
  readonly #options: DirectPortOptions;
  readonly #frontend: Frontend;
  /** Who might do what until now. */
  #access = Access.nobody;
  /** Jobs that have not ended. */
  readonly #held = new Map<Job, Held>();
  #heldBytes = 0;
  readonly #quick = new QuickTasks();
  /** When answers went out last, on the clock of performance.now(). */
  #sentAt = Number.NEGATIVE_INFINITY;
  readonly #shares = new Shares({ jobs: directJobsPerClientMax, bytes: directBytesPerClientMax });

  constructor(options: DirectPortOptions) {
    this.#options = options;
    this.#frontend = new Frontend(options.gate, (next) => this.#drain(next));
    options.quarantine.onClosed = () => this.#endClosed();
  }

  /** Throws ZmqError where the port cannot be had. */
  bind(host: string, port: number): void {
    this.#frontend.bind(host, port);
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
      else this.#desert(arrival.peer);
    }
    this.#frontend.flush();
  }

  #receive({ requestor, user, request }: Extract<Arrival, { type: "request" }>): void {
    const asked: Asked = { requestor, user, meta: request.meta ?? { version: 0.1 } };
    const refusal = refusalOfRequest(this.#options.gate.access, user, request);
    if (refusal !== null) return this.#fail(asked, "UNAUTHORIZED", refusal);
    switch (request.kind) {
      case "bad":
        return this.#fail(asked, request.error.code, request.error.message);
      case "ping":
        return this.#send(asked, "ACK", []);
      case "task":
        return this.#run(asked, request.parts);
      default:
        return this.#fail(asked, "UNAVAILABLE", "a worker's own port takes tasks alone; send this to the router");
    }
  }

  #run(asked: Asked, parts: readonly TaskPart[]): void {
    for (const part of parts) {
      const refusal = this.#refusal(part);
      if (refusal !== null) return this.#fail(asked, refusal.code, refusal.message);
    }
    const { executor, log } = this.#options;
    const bytes = bytesOf(parts.map(({ frame }) => frame));
    const share = this.#takeShare(asked, parts.length, bytes);
    if (typeof share === "string") return this.#fail(asked, "QUEUE_FULL", share);
    const outcomes: Outcome[] = [];
    let left = parts.length;
    const answer = (): void => {
      this.#shares.release(share, parts.length, bytes);
      this.#heldBytes -= bytes;
      this.#answer(asked, outcomes);
    };
    for (const [index, part] of parts.entries()) {
      const { name, task } = part;
      log?.(`Received task: ${JSON.stringify(task)}`);
      const ttlMs = task.options?.ttlMs ?? this.#options.registry.get(name)?.policy.ttlMs;
      const job: Job = {
        name,
        task,
        serial: asked.meta.serial ?? "",
        ...(ttlMs !== undefined && { expiresMs: performance.now() + ttlMs }),
        done: (outcome) => {
          this.#held.delete(job);
          this.#quick.ran(name, outcome.ms);
          settle(outcome);
          this.#options.ended(outcome.ms);
        },
      };
      const settle = (outcome: Outcome): void => {
        if (outcomes[index] !== undefined) return;
        outcomes[index] = outcome;
        if (--left === 0) answer();
      };
      this.#held.set(job, { peer: asked.requestor.peer, user: asked.user, settle });
      // There is room by the limits; should they ever differ, its requestor must not wait for nothing.
      if (executor.submit(job) === "full")
        job.done({ ok: false, code: "QUEUE_FULL", message: "the worker's queue is full", ms: 0 });
    }
  }

  /** Or why that would be too much, in one line. */
  #takeShare({ requestor, user }: Asked, jobs: number, bytes: number): Share | string {
    if (this.#held.size + jobs > directJobsMax || this.#heldBytes + bytes > directBytesMax) {
      return `${this.#held.size} jobs (${this.#heldBytes} bytes) are waiting here already; ask again later`;
    }
    const share = this.#shares.take(requestor.peer, user, jobs, bytes);
    if (typeof share !== "string") this.#heldBytes += bytes;
    return share;
  }

  /** The connection has ended: what it has asked for and has not begun never does. */
  #desert(peer: string): void {
    const { executor } = this.#options;
    for (const [job, held] of this.#held) {
      if (held.peer !== peer || executor.runs(job)) continue;
      executor.stop(job, "CANCELLED", "the connection of its requestor ended before it began");
    }
  }

  /** Who may what has changed: what may not be any more ends, and is answered before its requestor's connection is cut. */
  #revoke(access: Access): void {
    for (const [job, { user, settle }] of this.#held) {
      const message = access.refusalSince(this.#access, user, "send", job.name);
      if (message === null) continue;
      this.#options.executor.stop(job, "UNAUTHORIZED", message);
      settle({ ok: false, code: "UNAUTHORIZED", message, ms: 0 });
    }
    this.#access = access;
    this.#frontend.flush();
  }

  /** What waits of tasks that are closed now never begins; what runs goes on. */
  #endClosed(): void {
    const { executor, quarantine } = this.#options;
    for (const job of this.#held.keys()) {
      const message = quarantine.refusal(job.name);
      if (message !== null && !executor.runs(job)) executor.stop(job, "UNAVAILABLE", message);
    }
    this.#frontend.flush();
  }

  /** What cannot be kept here is not promised: only the router can have a worker killed, and only it sees all workers. */
  #refusal({ name, task: given }: TaskPart): ErrorBody | null {
    const task = this.#options.registry.get(name);
    if (task === undefined) return { code: "UNKNOWN_TASK", message: `this worker has no task ${JSON.stringify(name)}` };
    const closed = this.#options.quarantine.refusal(name);
    if (closed !== null) return { code: "UNAVAILABLE", message: closed };
    const unkept = unkeptOf(task, given.options);
    if (unkept !== undefined) {
      return { code: "UNAVAILABLE", message: `${unkept} of ${name} is kept by the router alone; send it there` };
    }
    const stopped = this.#options.emergency.refusal(task);
    return stopped === null ? null : { code: "STOPPED", message: stopped };
  }

  #answer(asked: Asked, outcomes: readonly Outcome[]): void {
    const [first] = outcomes;
    if (outcomes.length === 1 && first?.ok === false) return this.#fail(asked, first.code, first.message);
    const frames = outcomes.map((outcome) =>
      outcome.ok ? outcome.data : partFromError(encodeError(outcome.code, outcome.message)),
    );
    for (const frame of frames) this.#options.log?.(`Task complete: ${frame}`);
    this.#send(asked, "ACK", asked.meta.version === 0.1 ? [] : frames);
  }

  #fail(asked: Asked, code: ErrorCode, message: string): void {
    this.#send(asked, "ERR", [encodeError(code, message)]);
  }

  #send({ requestor, meta }: Asked, type: "ACK" | "ERR", frames: readonly Frame[]): void {
    const head = encodeReplyMeta(this.#options.id, type, meta.version, meta.serial);
    // A requestor that is gone or does not read has given up its answer; nobody else waits for it.
    this.#frontend.gather(requestor, [head, ...frames]);
    const now = performance.now();
    if (this.#sentAt + answerDelayMs > now && this.#isSoonBack()) return;
    this.#sentAt = now;
    // The task that comes next may let nothing else run.
    this.#frontend.flush(true);
  }

  /** What is next is one of ours, and over as soon as it has begun. */
  #isSoonBack(): boolean {
    const { next } = this.#options.executor;
    return next !== null && this.#held.has(next as Job) && this.#quick.has(next.name);
  }
}

/** Of what the task's definition or the request asks for, the first thing that is not to be had here. */
const unkeptOf = ({ policy }: RegisteredTask, options: TaskOptions = {}): string | undefined =>
  (["timeoutMs", "deadmanMs", "onStop"] as const).find((key) => policy[key] !== undefined) ??
  ((policy.resources ?? []).length > 0 ? "resources" : undefined) ??
  (["timeoutMs", "priority", "deadmanMs", "latest", "preempt"] as const).find((key) => options[key] !== undefined);
