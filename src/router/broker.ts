/**
 * The heart of the router: what is asked, what waits, who works on what, and what is answered. Pure: it is told what
 * happened and at what time, and says what to do; it knows no socket, clock, file or log.
 *
 * After events, `dispatch` hands what waits to the workers that can take it. `nextAt` says when to call again at the latest.
 */
import { type Access, engineUser } from "../access/access.ts";
import { beatSilenceMs, dataEndpointsMax, strangeWorkersMax, workersMax } from "../limits.ts";
import type { BackendMessage, ReadyHeader, WorkerHeader } from "../wire/backend.ts";
import type { ErrorCode } from "../wire/errors.ts";
import type { BadRequest, Request } from "../wire/requests.ts";
import { refusalOfWorker } from "../wire/rights.ts";
import { Catalogue, type KnownTask } from "./catalogue.ts";
import { dispatch } from "./dispatch.ts";
import { type Effect, toWorker } from "./effects.ts";
import type { Requestor, Stop } from "./job.ts";
import { Jobs } from "./jobs.ts";
import { failureBy, success, successOfStranger } from "./outcome.ts";
import { Reception } from "./reception.ts";
import { Requests } from "./requests.ts";
import { type DropReason, Statistics } from "./statistics.ts";
import type { SecurityKind } from "./status.ts";
import { jobsOf, type Worker, Workers } from "./workers.ts";

export type BrokerEvent =
  /** `user`: the name of the key that its sender was authenticated by; null on a socket without CURVE. */
  | {
      readonly type: "request";
      readonly requestor: Requestor;
      readonly user: string | null;
      readonly request: Request | BadRequest;
    }
  | {
      readonly type: "worker";
      readonly key: string;
      readonly user: string | null;
      readonly message: BackendMessage<WorkerHeader>;
    }
  /** Who may what from now on. Until the first, nobody who is known may anything. */
  | { readonly type: "access"; readonly access: Access }
  /** The worker's connection is gone. */
  | { readonly type: "disconnected"; readonly key: string }
  /** The supervisor says that this process has died, and which job it had begun last (0: none). */
  | { readonly type: "gone"; readonly pid: number; readonly begun: number }
  /** The supervisor says which tasks there will be once the workers are there. */
  | { readonly type: "tasks"; readonly tasks: readonly KnownTask[] }
  /** Take nothing new; end what waits. */
  | { readonly type: "drain" }
  /** End what runs, too. */
  | { readonly type: "abort" }
  /** Time has passed. */
  | { readonly type: "tick" };

export interface BrokerOptions {
  /** META's `id` of what the router itself answers. */
  readonly id: string;
  /** 0 ≤ random() < 1, for the jitter of retries. */
  readonly random: () => number;
  /** What `status` says of it; `none`, if nothing is said. */
  readonly security?: SecurityKind;
}

export class Broker {
  readonly #workers = new Workers();
  readonly #statistics = new Statistics();
  readonly #requests: Requests;
  readonly #jobs: Jobs;
  readonly #catalogue = new Catalogue(this.#workers);
  readonly #reception: Reception;
  #drainedSaid = false;

  constructor({ id, random, security = "none" }: BrokerOptions) {
    this.#requests = new Requests(id);
    this.#jobs = new Jobs(this.#workers, this.#requests, this.#statistics, random);
    this.#reception = new Reception(this.#requests, this.#catalogue, this.#workers, this.#jobs, this.#statistics);
    this.#reception.security = security;
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
        return this.#reception.receive(event.requestor, event.user, event.request, now);
      case "worker":
        return this.#fromWorker(event.key, event.user, event.message, now);
      case "access":
        return this.#revoke(event.access, now);
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
        return this.#endOrphans(now);
      case "drain":
        this.#reception.isClosed = true;
        return this.#jobs.close({ code: "SHUTTING_DOWN", message: "the engine stopped before the job began" }, now);
      case "abort":
        return [...this.#workers].flatMap((worker) => this.#jobs.stopAll(jobsOf(worker), stoppedByEngine, now));
      case "tick":
        return [...this.#jobs.tick(now), ...this.#giveUpSilent(now)];
    }
  }

  /** Hands out what workers can take. */
  dispatch(now: number): Effect[] {
    const effects = dispatch(this.#jobs, this.#workers, now);
    if (this.#reception.isClosed && !this.#drainedSaid && ![...this.#workers].some((worker) => worker.held.size > 0)) {
      this.#drainedSaid = true;
      effects.push({ to: "supervisor", type: "drained" });
    }
    return effects;
  }

  /* ── Workers ───────────────────────────────────────────────────────────────────────────────────────────────────── */

  #fromWorker(
    key: string,
    user: string | null,
    { header, bodies }: BackendMessage<WorkerHeader>,
    now: number,
  ): Effect[] {
    if (header.type === "READY") return this.#join(key, user, header, now);
    const worker = this.#workers.get(key);
    // A routing id is chosen by its owner, and may have been another's.
    if (worker === undefined || worker.user !== user) {
      if (header.type === "DONE" || header.type === "FAIL") this.#statistics.drop("lateAnswer", header.jobs.length);
      return [toWorker(key, { type: "WHO" })];
    }
    worker.heardAt = now;
    const effects = this.#hear(worker, header, bodies, now);
    if (worker.retired === "leaving" && worker.held.size === 0 && this.#workers.get(key) === worker) {
      this.#workers.remove(worker);
      effects.push(toWorker(key, { type: "GOODBYE" }), ...this.#endOrphans(now));
    }
    return effects;
  }

  /** Jobs whose task is neither served nor to be expected any more (its file has gone at a reload) would wait for ever. */
  #endOrphans(now: number): Effect[] {
    const orphans = [...this.#jobs.queues].filter(({ kind, name }) => kind === "task" && !this.#catalogue.has(name));
    return this.#jobs.stopAll(orphans, { code: "UNKNOWN_TASK", message: "it is not registered any more" }, now);
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
        return this.#reception.publish(worker.user, header.topic, body, now);
      case "PROGRESS": {
        const held = worker.held.get(header.job);
        if (held !== undefined) return this.#requests.progress(held.job, worker.ready.id, body);
        this.#statistics.drop("progressOfNoJob");
        return [];
      }
      case "DONE":
      case "FAIL": {
        const successBy = worker.ready.supervised === true ? success : successOfStranger;
        const outcomeBy = header.type === "DONE" ? successBy : failureBy;
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

  #join(key: string, user: string | null, said: ReadyHeader, now: number): Effect[] {
    const refusal = refusalOfWorker(this.#reception.access, user, said);
    if (refusal !== null) return this.#refuse(key, said, "UNAUTHORIZED", refusal);
    // Only the engine's own have our supervisor; who else said so could have one of them killed in its place.
    const ready = isStrange(user) ? { ...said, supervised: false } : said;
    const known = this.#workers.get(key);
    // Two WHO that crossed its READY bring a second one; it holds what it holds.
    if (known !== undefined && known.user === user && known.ready.pid === ready.pid)
      return [toWorker(key, { type: "WELCOME" })];
    const effects: Effect[] = [];
    // A process has one connection: the other one of a supervised worker is gone, whether we have heard so or not.
    for (const other of [...this.#workers].filter(({ ready: its }) => isSameProcess(its, ready))) {
      const end = this.#jobs.reconnected(other, now);
      if (end !== false) return end;
      effects.push(...this.#jobs.lose(other, "it has connected anew", now));
    }
    if (known !== undefined) effects.push(...this.#jobs.lose(known, "another has its name", now));
    const crowd = this.#crowdFor(user);
    if (crowd !== null) return [...effects, ...this.#refuse(key, ready, "QUEUE_FULL", crowd)];
    if (ready.role === "data" && !this.#catalogue.addDataEndpoint(ready.endpoint)) {
      const message = `there are ${dataEndpointsMax} endpoints of data workers already`;
      return [...effects, ...this.#refuse(key, ready, "QUEUE_FULL", message)];
    }
    this.#workers.add(key, user, ready, now);
    effects.push(toWorker(key, { type: "WELCOME" }));
    return effects;
  }

  /** Why there is no room for a worker of that user; null where there is. */
  #crowdFor(user: string | null): string | null {
    if (this.#workers.size >= workersMax) return `there are ${workersMax} workers already`;
    if (!isStrange(user)) return null;
    const strangers = [...this.#workers].filter((worker) => isStrange(worker.user)).length;
    return strangers < strangeWorkersMax ? null : `there are ${strangeWorkersMax} workers from elsewhere already`;
  }

  #refuse(key: string, { id }: ReadyHeader, code: ErrorCode, message: string): Effect[] {
    const effects = [toWorker(key, { type: "REFUSED", code, message })];
    if (this.#statistics.drop("workerNotAdmitted") === 1) {
      const line = `worker ${id} is not admitted: ${message}; further ones are only counted`;
      effects.push({ to: "log", line });
    }
    return effects;
  }

  /** Who may what has changed: what may not be any more ends, be it a job that runs. */
  #revoke(access: Access, now: number): Effect[] {
    const before = this.#reception.access;
    this.#reception.access = access;
    const effects: Effect[] = [];
    for (const worker of this.#workers) {
      const refusal = access.isAnotherSince(before, worker.user)
        ? access.refusalOfStranger(worker.user)
        : refusalOfWorker(access, worker.user, worker.ready);
      if (refusal === null) continue;
      effects.push(...this.#refuse(worker.key, worker.ready, "UNAUTHORIZED", refusal));
      effects.push(...this.#jobs.lose(worker, refusal, now));
    }
    const jobs = [...this.#jobs.queues, ...[...this.#workers].flatMap(jobsOf)];
    for (const job of jobs) {
      const user = job.request?.user ?? null;
      const refusal = access.refusalSince(before, user, rightOf[job.kind], job.name);
      if (refusal !== null) effects.push(...this.#jobs.stop(job, { code: "UNAUTHORIZED", message: refusal }, now));
    }
    return [...effects, ...this.#endOrphans(now)];
  }

  /** One with a job may be busy beyond hearing; one without has no excuse. Dead peers are found by the connection. */
  #giveUpSilent(now: number): Effect[] {
    return [...this.#workers]
      .filter(({ held, stuckOn, heardAt }) => (held.size === 0 || stuckOn !== null) && now - heardAt > beatSilenceMs)
      .flatMap((worker) => this.#jobs.lose(worker, "it is silent", now));
  }
}

/** Known, and not one of the engine's own. */
const isStrange = (user: string | null): boolean => user !== null && user !== engineUser;

const rightOf = { task: "send", put: "write", get: "read" } as const;

const stoppedByEngine: Stop = { code: "SHUTTING_DOWN", message: "the engine stopped before the job had ended" };

const isSameProcess = (a: ReadyHeader, b: ReadyHeader): boolean =>
  a.supervised === true && b.supervised === true && a.pid === b.pid;

const noBytes = new Uint8Array(0);
