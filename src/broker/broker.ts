/**
 * The heart of the router: what is asked, what waits, who works on what, and what is answered. Pure: it is told what
 * happened and at what time, and says what to do; it knows no socket, clock, file or log.
 *
 * After events, `dispatch` hands what waits to the workers that can take it. `nextAt` says when to call again at the latest.
 */

import { beatSilenceMs, stopGraceMs as stopGraceMsDefault } from "../limits.ts";
import type { BackendMessage, ReadyHeader, WorkerHeader } from "../protocol/backend.ts";
import type { Frame } from "../protocol/frame.ts";
import type { Access } from "../security/access.ts";
import { refusalOfWorker } from "../security/rights.ts";
import { dispatch } from "./dispatch.ts";
import { type Effect, toWorker } from "./effects.ts";
import type { BrokerEvent } from "./events.ts";
import type { Stop } from "./job.ts";
import { Jobs, type JobsOptions } from "./jobs.ts";
import { failureBy, success, successOfStranger } from "./outcome.ts";
import { Relay } from "./relay.ts";
import { RequestHandler } from "./request-handler.ts";
import { Requests } from "./requests.ts";
import { type DropReason, Statistics } from "./statistics.ts";
import type { SecurityKind } from "./status.ts";
import { TaskDirectory } from "./task-directory.ts";
import { WorkerLoss } from "./worker-loss.ts";
import { WorkerRegistration } from "./worker-registration.ts";
import { jobsOf, type Worker, Workers } from "./workers.ts";

/** Left out: the limit of `stopGraceMs`, and 1 for `firstJob`. */
export interface BrokerOptions extends Pick<JobsOptions, "random">, Partial<Omit<JobsOptions, "random">> {
  /** META's `id` of what the router itself answers. */
  readonly id: string;
  /** What `status` says of it; `none`, if nothing is said. */
  readonly security?: SecurityKind;
}

export class Broker {
  readonly #workers = new Workers();
  readonly #statistics = new Statistics();
  readonly #requests: Requests;
  readonly #jobs: Jobs;
  readonly #workerLoss: WorkerLoss;
  readonly #taskDirectory = new TaskDirectory(this.#workers);
  readonly #requestHandler: RequestHandler;
  readonly #workerRegistration: WorkerRegistration;
  readonly #relay: Relay;
  #drainedSaid = false;

  constructor({ id, random, security = "none", stopGraceMs = stopGraceMsDefault, firstJob = 1 }: BrokerOptions) {
    this.#requests = new Requests(id);
    const isOwn = (task: string): boolean => this.#taskDirectory.expects(task);
    this.#jobs = new Jobs(this.#workers, this.#requests, this.#statistics, { random, stopGraceMs, firstJob }, isOwn);
    this.#workerLoss = new WorkerLoss(this.#workers, this.#jobs);
    this.#requestHandler = new RequestHandler(
      this.#requests,
      this.#taskDirectory,
      this.#workers,
      this.#jobs,
      this.#statistics,
    );
    this.#requestHandler.security = security;
    this.#relay = new Relay(this.#requests, this.#requestHandler, this.#statistics);
    this.#workerRegistration = new WorkerRegistration(
      this.#workers,
      this.#jobs,
      this.#workerLoss,
      this.#taskDirectory,
      this.#requestHandler,
      this.#statistics,
    );
  }

  /** ms on the clock of `now`: an event (a tick, if there is no other) is wanted then; null for no need. */
  get nextAt(): number | null {
    return this.#jobs.nextAt;
  }

  /** Tasks with an `onStop` of which a job may be running, or which are not known to be safe. */
  get tasksAtRisk(): readonly string[] {
    const running = [...this.#workers].flatMap(jobsOf).filter(({ policy }) => policy.onStop === true);
    return [...new Set([...running.map(({ name }) => name), ...this.#jobs.lifecycle.safeStops.tasks])];
  }

  /** A message came to nothing outside the broker. Says how often that was so. */
  drop(reason: DropReason): number {
    return this.#statistics.drop(reason);
  }

  handle(event: BrokerEvent, now: number): Effect[] {
    switch (event.type) {
      case "request":
        return this.#requestHandler.receive(event.requestor, event.user, event.request, now);
      case "worker":
        return this.#fromWorker(event.key, event.user, event.message, now);
      case "access":
        return this.#revoke(event.access, now);
      case "disconnected": {
        const worker = this.#workers.get(event.key);
        return worker === undefined ? [] : this.#workerLoss.disconnected(worker, now);
      }
      case "gone":
        return [...this.#workers]
          .filter(({ ready }) => ready.supervised === true && ready.pid === event.pid)
          .flatMap((worker) => this.#workerLoss.died(worker, event.begun, now));
      case "tasks":
        this.#taskDirectory.expect(event.tasks);
        this.#jobs.queues.revise((task) => this.#taskDirectory.find(task)?.policy);
        if (event.isUnsafe === true) this.#jobs.lifecycle.safeStops.startAll(event.tasks, now);
        this.#workerRegistration.dismissConflicting();
        return [
          ...[...this.#workers].flatMap((worker) => this.#workerRegistration.release(worker, now)),
          ...this.#endOrphans(now),
        ];
      case "stopped":
        return this.#requestHandler.emergency.hear(event.stopped, now);
      case "latched":
        return this.#requestHandler.emergency.latched(event.request, event.failure);
      case "quarantined":
        return this.#jobs.lifecycle.quarantineTasks(event.tasks, now);
      case "resetRefused":
        return this.#requestHandler.emergency.resetRefused(event.request, event.why);
      case "lost":
        return this.#requestHandler.lost(event.peer, now);
      case "orphaned": {
        const message = "the engine's supervisor has died";
        this.#requestHandler.isClosed = true;
        return [
          ...this.#jobs.close({ code: "INTERRUPTED", message }, now),
          ...[...this.#workers].flatMap((worker) => this.#jobs.lose(worker, message, now)),
          ...this.#requestHandler.emergency.orphaned(message),
        ];
      }
      case "drain":
        this.#requestHandler.isClosed = true;
        return [
          ...this.#jobs.close({ code: "SHUTTING_DOWN", message: "the engine stopped before the job began" }, now),
          ...this.#requestHandler.emergency.refuseResets(
            "SHUTTING_DOWN",
            "the engine is stopping; the emergency stop stays",
          ),
        ];
      case "abort":
        return [...this.#workers].flatMap((worker) => this.#jobs.stopAll(jobsOf(worker), stoppedByEngine, now));
      case "tick":
        return [...this.#jobs.tick(now), ...this.#giveUpSilent(now), ...this.#endOrphans(now, beatSilenceMs)];
    }
  }

  /** Hands out what workers can take. */
  dispatch(now: number): Effect[] {
    const effects = [...this.#jobs.lifecycle.clearing.goOn(now), ...dispatch(this.#jobs, this.#workers, now)];
    if (this.#requestHandler.isClosed && !this.#drainedSaid && this.#isDone) {
      this.#drainedSaid = true;
      effects.push({ to: "supervisor", type: "drained" });
    }
    return effects;
  }

  /** Nothing runs, and what waits (when the engine stops, that is what makes something safe) can be run by nobody. */
  get #isDone(): boolean {
    const isRunning = [...this.#workers].some(({ held }) => held.size > 0);
    return !isRunning && ![...this.#jobs.queues].some(({ queue }) => this.#workers.canServe(queue));
  }

  /* ── Workers ───────────────────────────────────────────────────────────────────────────────────────────────────── */

  #fromWorker(
    key: string,
    user: string | null,
    { header, bodies }: BackendMessage<WorkerHeader>,
    now: number,
  ): Effect[] {
    if (header.type === "READY") return this.#workerRegistration.join(key, user, header, now);
    const worker = this.#workers.get(key);
    // A routing id is chosen by its owner, and may have been another's.
    if (worker === undefined || worker.user !== user) {
      if (header.type === "DONE" || header.type === "FAIL") this.#statistics.drop("lateAnswer", header.jobs.length);
      return [toWorker(key, { type: "WHO" })];
    }
    worker.heardAt = now;
    const effects = this.#hear(worker, header, bodies, now);
    const left = this.#workerRegistration.release(worker, now);
    return left.length === 0 ? effects : [...effects, ...left, ...this.#endOrphans(now)];
  }

  /**
   * Jobs whose task is neither served nor to be expected any more (its file has gone at a reload, its worker has left) would wait for ever.
   * @param absentMs only where nobody has served it for so long: a worker that was lost may come back
   */
  #endOrphans(now: number, absentMs = 0): Effect[] {
    if (absentMs > 0 && !this.#workers.hasGone) return [];
    const isAbsent = (name: string): boolean => (this.#workers.goneOf(name)?.at ?? 0) <= now - absentMs;
    return [...this.#jobs.queues]
      .filter(({ kind, name }) => kind === "task" && this.#taskDirectory.find(name) === undefined && isAbsent(name))
      .flatMap((job) => this.#jobs.stop(job, this.#taskDirectory.whyMissing(job.name), now));
  }

  #hear(worker: Worker, header: Exclude<WorkerHeader, ReadyHeader>, bodies: readonly Frame[], now: number): Effect[] {
    const body = bodies[0] ?? noBytes;
    switch (header.type) {
      case "BEAT":
        return [toWorker(worker.key, { type: "BEAT", at: now })];
      case "LEAVE":
        worker.retired ??= "leaving";
        return [];
      case "SAFING":
        this.#jobs.safing(worker, header.job, now);
        return [];
      case "RETURN":
        return this.#jobs.returned(worker, header.jobs, now);
      case "PUBLISH":
      case "PROGRESS":
        return this.#relay.passOn(worker, header, body, now);
      case "DONE":
      case "FAIL": {
        const successBy = worker.ready.supervised === true ? success : successOfStranger;
        const outcomeBy = header.type === "DONE" ? successBy : failureBy;
        const effects: Effect[] = [];
        for (const [index, id] of header.jobs.entries()) {
          const outcome = outcomeBy(worker.ready.id, bodies[index] ?? noBytes);
          const isUnsafe = header.unsafe?.includes(id) === true;
          const ended = this.#jobs.answered(worker, id, outcome, header.ms[index] ?? 0, isUnsafe, now);
          if (ended !== false) {
            effects.push(...ended);
            continue;
          }
          this.#statistics.drop("lateAnswer");
          this.#jobs.letGo(worker, id, isUnsafe, header.type === "FAIL", now);
        }
        return effects;
      }
    }
  }

  /** Who may what has changed: what may not be any more ends, be it a job that runs. */
  #revoke(access: Access, now: number): Effect[] {
    const before = this.#requestHandler.access;
    this.#requestHandler.access = access;
    const effects: Effect[] = [];
    for (const worker of this.#workers) {
      const refusal = access.isAnotherSince(before, worker.user)
        ? access.refusalOfStranger(worker.user)
        : refusalOfWorker(access, worker.user, worker.ready);
      if (refusal === null) continue;
      effects.push(...this.#workerRegistration.refuse(worker.key, worker.ready, "UNAUTHORIZED", refusal));
      effects.push(...this.#workerLoss.revoked(worker, refusal, now));
    }
    const jobs = [...this.#jobs.queues, ...[...this.#workers].flatMap(jobsOf)];
    for (const job of jobs) {
      const user = job.request?.user ?? null;
      const refusal = access.refusalSince(before, user, rightOf[job.kind], job.name);
      if (refusal === null) continue;
      effects.push(...this.#jobs.stop(job, { code: "UNAUTHORIZED", message: refusal }, now));
      // The connection of its requestor is about to be cut.
      effects.push(...this.#jobs.lifecycle.answerEarly(job, now));
    }
    return [...effects, ...this.#endOrphans(now)];
  }

  /**
   * One with a job may be busy beyond hearing, be it one that was given up; one without has no excuse. Dead peers are found by the
   * connection.
   */
  #giveUpSilent(now: number): Effect[] {
    return [...this.#workers]
      .filter(({ held, givenUp, heardAt }) => held.size === 0 && givenUp.size === 0 && now - heardAt > beatSilenceMs)
      .flatMap((worker) => this.#jobs.lose(worker, "it is silent", now));
  }
}

/** What makes hardware safe is nobody's wish, and nobody's right is looked at. */
const rightOf = { task: "send", put: "write", get: "read", safe: "send" } as const;

const stoppedByEngine: Stop = { code: "SHUTTING_DOWN", message: "the engine stopped before the job had ended" };

const noBytes = new Uint8Array(0);
