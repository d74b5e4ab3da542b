/**
 * The loss of workers: by their connection, their death, their rights, or because they do not let
 * go of a job. Each ends in `lose`, or in `#giveUpJobs` for a connected worker that cannot be
 * killed.
 */
import { beatSilenceMs, killMs, verdictMs } from "../limits.ts";
import type { Effect } from "./events.ts";
import { graceOf, jobsOf, onStopLimitOf, resourcesOf } from "./job.ts";
import { abort, type JobLifecycle } from "./lifecycle.ts";
import { runawayRemedy } from "./runaways.ts";
import type { EndReason, Job, Worker } from "./state.ts";
import type { Tables } from "./tables.ts";

export class WorkerLoss {
  constructor(
    private readonly tables: Tables,
    private readonly lifecycle: JobLifecycle,
  ) {}

  /**
   * The connection is gone. If the process of a supervised worker has died, the supervisor will say
   * which job it had begun. If it lives on, its jobs are out of reach and would run without limits:
   * then it is killed.
   */
  disconnected(worker: Worker, now: number): Effect[] {
    worker.isConnected = false;
    if (worker.lastBegunJobId !== null) return this.lose(worker, "its process has died", now);
    if (worker.ready.supervised !== true || worker.held.size === 0) {
      return this.lose(worker, "its connection is gone", now);
    }
    if (worker.retired === "killed") return [];
    worker.retired = "lost";
    this.tables.timers.add({
      at: now + verdictMs,
      isAlive: () => worker.retired === "lost" && this.tables.workers.get(worker.key) === worker,
      fire: (at) => this.#kill(worker, "it has lost its connection", at),
    });
    return [];
  }

  /** Its process has another connection. Returns false if this one has no jobs out of reach. */
  reconnected(worker: Worker, now: number): Effect[] | false {
    if (worker.held.size === 0 || worker.lastBegunJobId !== null) return false;
    worker.isConnected = false;
    return worker.retired === "killed" ? [] : this.#kill(worker, "it has lost its connection", now);
  }

  /** The supervisor kills it for a reason of its own. */
  killed(pid: number, why: string): void {
    const worker = this.#workerOf(pid);
    if (worker !== undefined && worker.retired !== "killed") this.tables.events.worker("killed", worker, why);
  }

  /** Its process has died. Its last messages may still arrive until its connection is gone. */
  died(pid: number, begun: number, now: number): Effect[] {
    const worker = this.#workerOf(pid);
    if (worker === undefined) return [];
    worker.lastBegunJobId = begun;
    if (!worker.isConnected) return this.lose(worker, "its process has died", now);
    worker.retired = "killed";
    this.#loseAt(worker, now + verdictMs, "its process has died");
    return [];
  }

  /** The worker of a process of the engine, which has one connection. */
  #workerOf(pid: number): Worker | undefined {
    return [...this.tables.workers].find(({ ready }) => ready.supervised === true && ready.pid === pid);
  }

  /** Its rights are gone, so nobody hears when it lets go: its resources are held until a reset. */
  revoked(worker: Worker, why: string, now: number): Effect[] {
    const effects: Effect[] = [];
    for (const job of [...worker.givenUp.values(), ...jobsOf(worker)]) {
      const resources = resourcesOf(job);
      if (worker.ready.supervised === true || job.kind !== "task" || resources.length === 0) continue;
      this.tables.runaways.note(job, "abandoned", worker.ready.id, { code: "INTERRUPTED", message: why });
      const doubt = `worker ${worker.ready.id} may go on with ${job.name}; ${runawayRemedy}`;
      effects.push({ to: "log", line: `${resources.join(", ")} stay locked: ${why}, and ${doubt}` });
    }
    return [...effects, ...this.lose(worker, why, now)];
  }

  /**
   * Loses a worker. Jobs that it may have begun are interrupted, and tried again if their task
   * allows it; jobs that it has provably not begun go back to their places in the queue.
   */
  lose(worker: Worker, why: string, now: number): Effect[] {
    const { workers } = this.tables;
    workers.remove(worker, why, now);
    if (worker.ready.role === "journal") this.tables.journal.leave(worker.key);
    this.tables.events.worker("lost", worker, why);
    for (const job of worker.givenUp.values()) this.#secure(worker, job, { code: "INTERRUPTED", message: why }, now);
    const jobs = jobsOf(worker);
    for (const job of jobs) workers.release(worker, job.id);
    worker.head = undefined;
    const begunIndex = jobs.findIndex((job) => job.id === worker.lastBegunJobId);
    // Jobs run one after the other: if `lastBegunJobId` is 0 or was answered, none of these has
    // begun.
    const begunCount = worker.lastBegunJobId === null ? jobs.length : begunIndex + 1;
    const effects: Effect[] = [];
    for (const [index, job] of jobs.slice(0, begunCount).entries()) {
      const isBlamed = worker.lastBegunJobId === null ? begunCount === 1 : index === begunIndex;
      if (isBlamed) job.kills++;
      effects.push(...this.#interrupt(worker, job, why, now));
    }
    return [...effects, ...this.lifecycle.putBack(jobs.slice(begunCount), now)];
  }

  /**
   * Loses silent workers that hold no job. A worker with a job, also with one that was given up,
   * may be too busy to beat; if it is dead, its connection tells.
   */
  loseSilent(now: number): Effect[] {
    return [...this.tables.workers]
      .filter(({ held, givenUp, heardAt }) => held.size === 0 && givenUp.size === 0 && now - heardAt > beatSilenceMs)
      .flatMap((worker) => this.lose(worker, "it is silent", now));
  }

  /** A running job was told to end, or has a limit, and its worker does not let go. */
  overrun(worker: Worker, job: Job, what: string, now: number): Effect[] {
    const why = `${job.name} ${what}`;
    return worker.ready.supervised === true ? this.#kill(worker, why, now) : this.#giveUpJobs(worker, job, why, now);
  }

  /** Has the supervisor kill a worker. Its jobs end when it is dead. */
  #kill(worker: Worker, why: string, now: number): Effect[] {
    worker.retired = "killed";
    this.tables.events.worker("killed", worker, why);
    // Requestors must not wait for a worker that only claims to be supervised.
    this.#loseAt(worker, now + killMs + verdictMs, "it could not be killed");
    return [{ to: "supervisor", type: "kill", pid: worker.ready.pid, why }];
  }

  #loseAt(worker: Worker, at: number, why: string): void {
    this.tables.timers.add({
      at,
      isAlive: () => this.tables.workers.get(worker.key) === worker,
      fire: (now) => this.lose(worker, why, now),
    });
  }

  /** The worker cannot be killed: its stuck job and those behind it are answered without it. */
  #giveUpJobs(worker: Worker, stuck: Job, why: string, now: number): Effect[] {
    const effects: Effect[] = [{ to: "log", line: `worker ${worker.ready.id} cannot be killed from here: ${why}` }];
    for (const job of jobsOf(worker)) {
      this.tables.workers.release(worker, job.id);
      if (job !== stuck) effects.push(abort(worker, job, behindStuck));
      effects.push(...this.#giveUp(worker, job, job === stuck, why, now));
    }
    worker.head = undefined;
    return effects;
  }

  #giveUp(worker: Worker, job: Job, isStuck: boolean, why: string, now: number): Effect[] {
    const { resources, runaways, safeStops } = this.tables;
    const reason: EndReason = { code: "INTERRUPTED", message: `${job.name} was given up: ${why}` };
    if (job.kind === "safe") {
      // It is tried elsewhere, but the worker may still start this `onStop`: the resources stay
      // held under a copy until the worker has let go.
      const copy: Job = { ...job };
      worker.givenUp.set(job.id, copy);
      runaways.note(copy, "stuck", worker.ready.id, { code: "INTERRUPTED", message: why });
      resources.take(copy);
    } else if (isStuck || resourcesOf(job).length > 0) {
      worker.givenUp.set(job.id, job);
      runaways.note(job, "stuck", worker.ready.id, { code: "INTERRUPTED", message: why });
      safeStops.startFor(job, reason, now);
      return this.lifecycle.givenUp(job, reason, now);
    }
    return this.#interrupt(worker, job, why, now);
  }

  #interrupt(worker: Worker, job: Job, why: string, now: number): Effect[] {
    const message = `worker ${worker.ready.id} was lost (${why}) while ${job.name} may have been running`;
    const reason: EndReason = { code: "INTERRUPTED", message };
    this.#secure(worker, job, reason, now);
    return this.lifecycle.interrupted(worker, job, reason, now);
  }

  /** The resources of a job of a lost worker stay held until they are known to be safe. */
  #secure(worker: Worker, job: Job, reason: EndReason, now: number): void {
    const { resources, runaways, safeStops, timers } = this.tables;
    const state = runaways.stateOf(job);
    const isStuckSafeStop = job.kind === "safe" && state !== null;
    if (job.kind !== "task" && !isStuckSafeStop) return;
    if (state === "abandoned") return void runaways.splitOff(job);
    safeStops.startFor(job, reason, now);
    if (worker.ready.supervised === true || (resourcesOf(job).length === 0 && !isStuckSafeStop)) {
      runaways.forget(job);
      return resources.release(job);
    }
    runaways.note(job, "disconnected", worker.ready.id, reason);
    const run = runaways.splitOff(job);
    // A worker that cannot be killed lets go when it notices that it is lost: PROTOCOL.md says so.
    const onStopMs = isStuckSafeStop ? onStopLimitOf(job) : 0;
    timers.add({
      at: now + beatSilenceMs + onStopMs + graceOf(worker, job),
      isAlive: () => true,
      fire: (at) => {
        // A reset has freed it meanwhile.
        if (!runaways.forget(run)) return [];
        // It may have gone on after the safe stop that was started at once.
        safeStops.startFor(run, reason, at);
        resources.release(run);
        return [];
      },
    });
  }
}

const behindStuck: EndReason = { code: "INTERRUPTED", message: "the job before it does not let go" };
