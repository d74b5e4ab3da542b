/**
 * The heart of the router: what is asked, what waits, who works on what, and what is answered. Pure: it is told what
 * happened and at what time, and says what to do; it knows no socket, clock, file or log.
 *
 * After events, `dispatch` hands what waits to the workers that can take it. `nextAt` says when to call again at the latest.
 */
import { beatSilenceMs, workersMax } from "../limits.ts";
import type { BackendMessage, ReadyHeader, WorkerHeader } from "../wire/backend.ts";
import { encodeData, packNow } from "../wire/frames.ts";
import type { Json } from "../wire/json.ts";
import type { BadRequest, Control, Request, TaskPart } from "../wire/requests.ts";
import { Catalogue, type KnownTask } from "./catalogue.ts";
import { dispatch } from "./dispatch.ts";
import { type Effect, toWorker } from "./effects.ts";
import { createJob, type Draft, type Job, type Requestor, type Stop, taskQueue } from "./job.ts";
import { Jobs } from "./jobs.ts";
import { failureBy, success } from "./outcome.ts";
import { type Asked, Requests } from "./requests.ts";
import { type DropReason, Statistics } from "./statistics.ts";
import { reportStatus, reportTasks } from "./status.ts";
import { type Worker, Workers } from "./workers.ts";

export type BrokerEvent =
  | { readonly type: "request"; readonly requestor: Requestor; readonly request: Request | BadRequest }
  | { readonly type: "worker"; readonly key: string; readonly message: BackendMessage<WorkerHeader> }
  /** The worker's connection is gone. */
  | { readonly type: "disconnected"; readonly key: string }
  /** The supervisor says that this process has died, and which job it had begun last (0: none). */
  | { readonly type: "gone"; readonly pid: number; readonly begun: number }
  /** The supervisor says which tasks there will be once the workers are there. */
  | { readonly type: "tasks"; readonly tasks: readonly KnownTask[] }
  | { readonly type: "drain" }
  /** Time has passed. */
  | { readonly type: "tick" };

export interface BrokerOptions {
  /** META's `id` of what the router itself answers. */
  readonly id: string;
  /** 0 ≤ random() < 1, for the jitter of retries. */
  readonly random: () => number;
}

export class Broker {
  readonly #workers = new Workers();
  readonly #statistics = new Statistics();
  readonly #requests: Requests;
  readonly #jobs: Jobs;
  readonly #catalogue = new Catalogue(this.#workers);
  #nextJobId = 1;
  #draining = false;
  #drainedSaid = false;

  constructor({ id, random }: BrokerOptions) {
    this.#requests = new Requests(id);
    this.#jobs = new Jobs(this.#workers, this.#requests, this.#statistics, random);
  }

  /** ms on the clock of `now`: an event (a tick, if there is no other) is wanted then; null for no need. */
  get nextAt(): number | null {
    return this.#jobs.nextAt;
  }

  /** A message came to nothing outside the broker. Says how often that was so. */
  drop(reason: DropReason): number {
    return this.#statistics.drop(reason);
  }

  handle(event: BrokerEvent, now: number): Effect[] {
    switch (event.type) {
      case "request":
        return this.#request(event.requestor, event.request, now);
      case "worker":
        return this.#fromWorker(event.key, event.message, now);
      case "disconnected": {
        const worker = this.#workers.get(event.key);
        return worker === undefined ? [] : this.#jobs.disconnected(worker, now);
      }
      case "gone":
        return [...this.#workers]
          .filter(({ ready }) => ready.supervised === true && ready.pid === event.pid)
          .flatMap((worker) => this.#jobs.died(worker, event.begun, now));
      case "tasks":
        this.#catalogue.expect(event.tasks);
        return [];
      case "drain":
        this.#draining = true;
        return this.#jobs.close({ code: "SHUTTING_DOWN", message: "the engine stopped before the job began" }, now);
      case "tick":
        return [...this.#jobs.tick(now), ...this.#giveUpSilent(now)];
    }
  }

  /** Hands out what workers can take. */
  dispatch(now: number): Effect[] {
    const effects = dispatch(this.#jobs, this.#workers, now);
    if (this.#draining && !this.#drainedSaid && ![...this.#workers].some((worker) => worker.held.size > 0)) {
      this.#drainedSaid = true;
      effects.push({ to: "supervisor", type: "drained" });
    }
    return effects;
  }

  /* ── Requests ──────────────────────────────────────────────────────────────────────────────────────────────────── */

  #request(requestor: Requestor, request: Request | BadRequest, now: number): Effect[] {
    // v0.1 knows no serial: what it sends under that name means nothing.
    const asked: Asked = { requestor, meta: request.meta?.version === 0.2 ? request.meta : { version: 0.1 } };
    switch (request.kind) {
      case "bad":
        return [this.#requests.refuse(asked, request.error.code, request.error.message)];
      case "ping":
        return [this.#requests.acknowledge(asked)];
      case "cancel":
        return this.#cancel(asked, request.meta.serial, now);
      case "task":
        return this.#acceptTasks(asked, request.parts, now);
      case "data":
        return this.#acceptData(asked, "put", request.topic, request.bytes, now);
      case "control":
        return this.#control(asked, request.control, now);
    }
  }

  #control(asked: Asked, control: Control, now: number): Effect[] {
    const answer = (data: Json): Effect[] => [this.#requests.acknowledge(asked, encodeData({ data, pack: packNow() }))];
    switch (control.command) {
      case "tasks":
        return answer(reportTasks(this.#catalogue, this.#workers));
      case "status":
        return answer(reportStatus(this.#catalogue, this.#workers, this.#jobs, this.#statistics, this.#draining));
      case "get":
        return this.#acceptData(asked, "get", control.topic, noBytes, now);
      case "cancel": {
        const requests = this.#requests.findAll(control.serial);
        const effects = requests.flatMap(({ jobs }) => this.#jobs.stopAll(jobs, cancelledBy("an operator"), now));
        return [...effects, ...answer({ cancelled: requests.length })];
      }
    }
  }

  #cancel(asked: Asked, serial: string, now: number): Effect[] {
    const request = this.#requests.find(asked.requestor, serial);
    if (request !== undefined) return this.#jobs.stopAll(request.jobs, cancelledBy("its requestor"), now);
    const message = `no request with serial ${JSON.stringify(serial)} of this requestor waits or runs`;
    return [this.#requests.refuse(asked, "UNKNOWN_SERIAL", message)];
  }

  #acceptTasks(asked: Asked, parts: readonly TaskPart[], now: number): Effect[] {
    // All or nothing: half a batch would be neither what was asked nor an error.
    const unknown = parts.find(({ name }) => !this.#catalogue.has(name));
    if (unknown !== undefined) {
      const message = `no task ${JSON.stringify(unknown.name)} is registered; \`task-engine tasks\` lists those that are`;
      return [this.#requests.refuse(asked, "UNKNOWN_TASK", message)];
    }
    const drafts = parts.map(({ name, bytes, task: { options = {} } }) => ({
      kind: "task" as const,
      name,
      queue: taskQueue(name),
      body: bytes,
      options: asked.meta.version === 0.1 ? {} : options,
    }));
    return this.#accept(asked, drafts, now);
  }

  #acceptData(asked: Asked, kind: "put" | "get", topic: string, body: Uint8Array, now: number): Effect[] {
    const queue = this.#catalogue.topicQueue(topic);
    if (queue === undefined) return [this.#requests.refuse(asked, "UNAVAILABLE", "there is no data worker")];
    return this.#accept(asked, [{ kind, name: topic, queue, body, options: {} }], now);
  }

  #accept(asked: Asked, drafts: readonly Draft[], now: number): Effect[] {
    if (this.#draining) {
      return [this.#requests.refuse(asked, "SHUTTING_DOWN", "the engine is stopping; ask again once it is back")];
    }
    const bytes = drafts.reduce((sum, { body }) => sum + body.length, 0);
    const { queues } = this.#jobs;
    if (!queues.hasRoom(drafts.length, bytes)) {
      const message = `${queues.jobs} jobs (${queues.bytes} bytes) are waiting already; ask again later`;
      return [this.#requests.refuse(asked, "QUEUE_FULL", message)];
    }
    const request = this.#requests.open(asked, drafts.length, now);
    if (request === null) {
      const message = `META.serial: ${JSON.stringify(asked.meta.serial)} is the serial of a request that is not answered yet`;
      return [this.#requests.refuse(asked, "BAD_FRAME", message)];
    }
    for (const [part, draft] of drafts.entries()) this.#acceptJob(draft, request, part, now);
    return [];
  }

  #acceptJob(draft: Draft, request: Job["request"], part: number, now: number): void {
    const policy = draft.kind === "task" ? this.#catalogue.policyOf(draft.name) : undefined;
    this.#jobs.accept(createJob(draft, this.#nextJobId++, { request, part }, policy, now));
  }

  /* ── Workers ───────────────────────────────────────────────────────────────────────────────────────────────────── */

  #fromWorker(key: string, { header, bodies }: BackendMessage<WorkerHeader>, now: number): Effect[] {
    if (header.type === "READY") return this.#join(key, header, now);
    const worker = this.#workers.get(key);
    if (worker === undefined) {
      if (header.type === "DONE" || header.type === "FAIL") this.#statistics.drop("lateAnswer", header.jobs.length);
      return [toWorker(key, { type: "WHO" })];
    }
    worker.heardAt = now;
    const effects = this.#hear(worker, header, bodies, now);
    if (worker.retired === "leaving" && worker.held.size === 0 && this.#workers.get(key) === worker) {
      this.#workers.remove(worker);
      effects.push(toWorker(key, { type: "GOODBYE" }));
    }
    return effects;
  }

  #hear(
    worker: Worker,
    header: Exclude<WorkerHeader, ReadyHeader>,
    bodies: readonly Uint8Array[],
    now: number,
  ): Effect[] {
    const body = bodies[0] ?? noBytes;
    switch (header.type) {
      case "BEAT":
        return [toWorker(worker.key, { type: "BEAT" })];
      case "LEAVE":
        worker.retired ??= "leaving";
        return [];
      case "RETURN":
        return this.#jobs.returned(worker, header.jobs, now);
      case "PUBLISH":
        return this.#publish(header.topic, body, now);
      case "PROGRESS": {
        const held = worker.held.get(header.job);
        if (held !== undefined) return this.#requests.progress(held.job, worker.ready.id, body);
        this.#statistics.drop("progressOfNoJob");
        return [];
      }
      case "DONE":
      case "FAIL": {
        const outcomeBy = header.type === "DONE" ? success : failureBy;
        return header.jobs.flatMap((id, index) => {
          const outcome = outcomeBy(worker.ready.id, bodies[index] ?? noBytes);
          const ended = this.#jobs.answered(worker, id, outcome, header.ms[index] ?? 0, now);
          if (ended !== false) return ended;
          this.#statistics.drop("lateAnswer");
          if (worker.stuckOn === id) worker.stuckOn = null;
          return [];
        });
      }
    }
  }

  #join(key: string, ready: ReadyHeader, now: number): Effect[] {
    const known = this.#workers.get(key);
    // Two WHO that crossed its READY bring a second one; it holds what it holds.
    if (known !== undefined && known.ready.pid === ready.pid) return [toWorker(key, { type: "WELCOME" })];
    const effects: Effect[] = [];
    // A process has one connection: the other one of a supervised worker is gone, whether we have heard so or not.
    for (const other of [...this.#workers].filter(({ ready: its }) => isSameProcess(its, ready))) {
      const end = this.#jobs.reconnected(other, now);
      if (end !== false) return end;
      effects.push(...this.#jobs.lose(other, "it has connected anew", now));
    }
    if (known !== undefined) effects.push(...this.#jobs.lose(known, "another has its name", now));
    if (this.#workers.size >= workersMax) {
      if (this.#statistics.drop("workerNotAdmitted") === 1) {
        const line = `worker ${ready.id} is not admitted: there are ${workersMax} already; further ones are only counted`;
        effects.push({ to: "log", line });
      }
      return effects;
    }
    this.#workers.add(key, ready, now);
    if (ready.role === "data") this.#catalogue.addDataEndpoint(ready.endpoint);
    effects.push(toWorker(key, { type: "WELCOME" }));
    return effects;
  }

  /** A task's own publication: a job that nobody waits for. */
  #publish(topic: string, body: Uint8Array, now: number): Effect[] {
    const queue = this.#catalogue.topicQueue(topic);
    if (queue === undefined) this.#statistics.drop("publicationWithoutDataWorker");
    else if (this.#draining) this.#statistics.drop("publicationWhileStopping");
    else if (!this.#jobs.queues.hasRoom(1, body.length)) this.#statistics.drop("publicationQueueFull");
    else this.#acceptJob({ kind: "put", name: topic, queue, body, options: {} }, null, 0, now);
    return [];
  }

  /** One with a job may be busy beyond hearing; one without has no excuse. Dead peers are found by the connection. */
  #giveUpSilent(now: number): Effect[] {
    return [...this.#workers]
      .filter(({ held, stuckOn, heardAt }) => (held.size === 0 || stuckOn !== null) && now - heardAt > beatSilenceMs)
      .flatMap((worker) => this.#jobs.lose(worker, "it is silent", now));
  }
}

const isSameProcess = (a: ReadyHeader, b: ReadyHeader): boolean =>
  a.supervised === true && b.supervised === true && a.pid === b.pid;

const cancelledBy = (who: string): Stop => ({ code: "CANCELLED", message: `${who} cancelled it` });

const noBytes = new Uint8Array(0);
