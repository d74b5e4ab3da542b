/**
 * The life of a job while it waits and while a worker has it: `accepted → queued → held → ended`. What runs is held to its
 * limits: by its abort signal first, and by the death of its worker if that does not let go.
 */
import { abortGraceMs, killMs, onStopMs, verdictMs } from "../limits.ts";
import { type Effect, toWorker } from "./effects.ts";
import { type Draft, type Job, resourcesOf, type Stop, safeQueue, tighter } from "./job.ts";
import { superseded } from "./latest.ts";
import { isStoppable, JobLifecycle } from "./lifecycle.ts";
import type { Outcome } from "./outcome.ts";
import type { JobQueues } from "./queue.ts";
import type { Requests } from "./requests.ts";
import type { Statistics } from "./statistics.ts";
import { graceOf, type Held, headOf, jobsOf, type Worker, type Workers } from "./workers.ts";

export interface JobsOptions {
  /** 0 ≤ random() < 1, for the jitter of retries. */
  readonly random: () => number;
  /** ms from the abort signal of an emergency stop to the kill. */
  readonly stopGraceMs: number;
  /**
   * The number of the first job. Numbers must not be given out again after a restart of the router: a worker may still answer what the
   * one before has given it.
   */
  readonly firstJob: number;
}

export class Jobs {
  readonly lifecycle: JobLifecycle;

  constructor(
    private readonly workers: Workers,
    requests: Requests,
    private readonly statistics: Statistics,
    private readonly options: JobsOptions,
    /** Whether it is one of the engine's own tasks. */
    private readonly isOwn: (task: string) => boolean,
  ) {
    const isServed = (task: string): boolean => workers.canServe(safeQueue(task)) || isOwn(task);
    this.lifecycle = new JobLifecycle(requests, statistics, options.random, options.firstJob, isServed);
  }

  get queues(): JobQueues {
    return this.lifecycle.queues;
  }

  /** ms on the clock of `now`: when `tick` should be called next; null for no need. */
  get nextAt(): number | null {
    const { clearing, timers } = this.lifecycle;
    return clearing.isUnderway ? Number.NEGATIVE_INFINITY : timers.nextAt;
  }

  accept(job: Job, now: number): Effect[] {
    this.statistics.accepted++;
    if (job.request !== null) job.request.jobs[job.part] = job;
    const effects = job.options.latest === undefined ? [] : this.#supersede(job, now);
    this.lifecycle.latest.note(job);
    if (job.place.id === job.id) this.queues.push(job);
    else this.queues.putBack(job);
    if (job.expiresAt < Number.POSITIVE_INFINITY) {
      this.lifecycle.timers.add({
        at: job.expiresAt,
        isAlive: () => job.state !== "ended",
        // While a worker has it, that one sees to it that it does not begin too late.
        fire: (at) => (job.state === "held" ? [] : this.lifecycle.expire(job, at)),
      });
    }
    return effects;
  }

  /** The waiting job whose place this one would take; undefined for none. */
  replacedBy(draft: Pick<Draft, "name" | "options">): Job | undefined {
    return this.lifecycle.latest.before(draft).find(({ worker }) => worker === null);
  }

  tick(now: number): Effect[] {
    return this.lifecycle.timers.fireDue(now);
  }

  /** Hands a queued job to a worker, with all that it needs. */
  assign(worker: Worker, job: Job, now: number): void {
    this.queues.remove(job);
    // What makes something safe holds it already.
    if (job.kind === "task") this.lifecycle.resources.take(job);
    this.workers.assign(worker, job);
    this.startHead(worker, now);
  }

  /**
   * Takes a worker's answer. False where it does not hold that job.
   * @param ms how long it ran; 0 for not at all
   * @param isUnsafe its task's `onStop` was to run there, and has failed
   */
  answered(worker: Worker, id: number, outcome: Outcome, ms: number, isUnsafe: boolean, now: number): Effect[] | false {
    const job = this.workers.release(worker, id);
    if (job === undefined) return false;
    if (ms > 0) this.workers.learn(job.queue, ms);
    if (ms > 0 && job.kind === "task") this.statistics.ran(job.name, ms);
    this.startHead(worker, now);
    return this.lifecycle.answered(worker, job, outcome, isUnsafe, now);
  }

  /** A worker that was given up with a job has let go of it after all. @param hasFailed an `onStop` that has is unsafe */
  letGo(worker: Worker, id: number, isUnsafe: boolean, hasFailed: boolean, now: number): void {
    const job = worker.givenUp.get(id);
    worker.givenUp.delete(id);
    if (job === undefined) return;
    this.lifecycle.letGo(job, isUnsafe || (job.kind === "safe" && hasFailed), now);
  }

  /** A job has let go, and its task's `onStop` runs in its worker: it has the time for that from now on. */
  safing(worker: Worker, id: number, now: number): void {
    const held = worker.held.get(id);
    if (held === undefined || held.isSafing || held !== worker.head || held.job.policy.onStop !== true) return;
    held.isSafing = true;
    this.#limitSafing(worker, held, now);
  }

  /** A worker gives back what it has not begun. */
  returned(worker: Worker, ids: readonly number[], now: number): Effect[] {
    for (const id of ids) this.letGo(worker, id, false, false, now);
    const jobs = ids.map((id) => this.workers.release(worker, id)).filter((job) => job !== undefined);
    this.startHead(worker, now);
    return this.lifecycle.putBack(jobs, now);
  }

  /** Ends a job before its time: at once where nobody has it, else by telling its worker, and killing that if need be. */
  stop(job: Job, stop: Stop, now: number): Effect[] {
    const { worker } = job;
    if (worker === null) return this.lifecycle.stop(job, stop, now);
    if (job.state === "ended" || job.stop !== null || job.kind === "safe") return [];
    job.stop = stop;
    if (worker.head?.job === job) this.#startGrace(worker, worker.head, now);
    return [abort(worker, job, stop)];
  }

  stopAll(jobs: Iterable<Job>, stop: Stop, now: number): Effect[] {
    return [...jobs].flatMap((job) => this.stop(job, stop, now));
  }

  /** Ends everything that no worker has, now and from now on. */
  close(stop: Stop, now: number): Effect[] {
    const effects = this.lifecycle.clearing.finish(now);
    this.lifecycle.closed = stop;
    return [...effects, ...this.stopAll(this.queues, stop, now)];
  }

  /** From now on nothing begins that is not allowed when stopped, until `resume`. What runs ends first: that is what moves. */
  emergencyStop(stop: Stop, now: number): Effect[] {
    this.lifecycle.stopped = stop;
    const effects: Effect[] = [];
    for (const worker of this.workers) {
      const { head } = worker;
      // Its grace has begun already, and may be a longer one.
      if (head !== undefined && head.job.stop !== null && isStoppable(head.job)) this.#startGrace(worker, head, now);
      effects.push(...this.stopAll(jobsOf(worker).filter(isStoppable), stop, now));
    }
    this.lifecycle.clearing.start();
    return effects;
  }

  /** Ends the emergency stop, and tries again to make safe what could not be made safe. */
  resume(now: number): Effect[] {
    const effects = this.lifecycle.clearing.finish(now);
    this.lifecycle.stopped = null;
    const { workers, isOwn } = this;
    // Own tasks may have no workers of the engine's own, where it was told to start none.
    this.lifecycle.retry(now, (task) => workers.canServe(safeQueue(task)) || (workers.hasOwn && isOwn(task)));
    return effects;
  }

  /** The first job that the worker holds runs now: its limits begin to count. */
  startHead(worker: Worker, now: number): void {
    const head = headOf(worker);
    if (head === worker.head) return;
    worker.head = head;
    if (head === undefined) return;
    const { job } = head;
    if (job.kind === "safe") return this.#limitSafing(worker, head, now);
    if (job.stop !== null) return this.#startGrace(worker, head, now);
    const limit = tighter(worker.policies.get(job.name)?.timeoutMs, job.options.timeoutMs);
    if (limit === Number.POSITIVE_INFINITY) return;
    this.lifecycle.timers.add({
      at: now + limit,
      isAlive: () => worker.head === head && job.stop === null && !head.isSafing,
      fire: (at) => this.stop(job, { code: "TIMEOUT", message: `it ran longer than ${limit} ms` }, at),
    });
  }

  /** Has its supervisor kill a worker; what it held ends when it is dead. */
  kill(worker: Worker, why: string, now: number): Effect[] {
    worker.retired = "killed";
    // Whoever claims to be supervised and is not, or cannot be killed, must not keep anybody waiting.
    this.loseAt(worker, now + killMs + verdictMs, "it could not be killed");
    return [{ to: "supervisor", type: "kill", pid: worker.ready.pid, why }];
  }

  /** Gives a worker up at that time, unless that has been done by then. */
  loseAt(worker: Worker, at: number, why: string): void {
    this.lifecycle.timers.add({
      at,
      isAlive: () => this.workers.get(worker.key) === worker,
      fire: (now) => this.lose(worker, why, now),
    });
  }

  /**
   * Gives a worker up. What it may have begun is ended, or tried again where the task allows that; what it had provably not
   * begun goes back to its place in the queue.
   */
  lose(worker: Worker, why: string, now: number): Effect[] {
    this.workers.remove(worker, why, now);
    for (const job of worker.givenUp.values()) {
      this.lifecycle.secure(worker, job, { code: "INTERRUPTED", message: why }, now);
    }
    const jobs = jobsOf(worker);
    const last = jobs.findIndex((job) => job.id === worker.begun);
    // 0 is no job's id, and one that was answered already leaves nothing begun: the jobs run one after the other.
    const begunCount = worker.begun === null ? jobs.length : last + 1;
    const effects: Effect[] = [];
    for (const job of jobs) this.workers.release(worker, job.id);
    for (const [index, job] of jobs.slice(0, begunCount).entries()) {
      const isKiller = worker.begun === null ? begunCount === 1 : index === last;
      if (isKiller) job.kills++;
      effects.push(...this.lifecycle.cutOff(worker, job, why, now));
    }
    return [...effects, ...this.lifecycle.putBack(jobs.slice(begunCount), now)];
  }

  /* ── Within ────────────────────────────────────────────────────────────────────────────────────────────────────── */

  /** The newest of one task and key is the one that is wanted: it takes the place of one that waits. */
  #supersede(job: Job, now: number): Effect[] {
    const { latest } = job.options;
    const endsRunning = typeof latest === "object" && latest.abort === true;
    return this.lifecycle.latest.before(job).flatMap((older) => {
      if (older.worker !== null) older.isReplaced = true;
      else if (older.priority === job.priority) job.place = older.place;
      return older.worker === null || endsRunning ? this.stop(older, superseded, now) : [];
    });
  }

  /** From the abort signal to the kill. */
  #startGrace(worker: Worker, head: Held, now: number): void {
    const { job } = head;
    const graceMs = graceOf(worker, job);
    const stop = (isStoppable(job) ? this.lifecycle.stopped : null) ?? job.stop;
    this.lifecycle.timers.add({
      at: now + (stop?.code === "STOPPED" ? Math.min(graceMs, this.options.stopGraceMs) : graceMs),
      isAlive: () => !head.isSafing && isWatched(worker, head),
      fire: (at) => this.#overrun(worker, job, `did not let go after ${stop?.code ?? "its abort signal"}`, at),
    });
  }

  #limitSafing(worker: Worker, head: Held, now: number): void {
    const limit = head.job.policy.onStopMs ?? onStopMs;
    this.lifecycle.timers.add({
      // Its worker aborts its signal at the limit.
      at: now + limit + abortGraceMs,
      isAlive: () => isWatched(worker, head),
      fire: (at) => this.#overrun(worker, head.job, `did not end its onStop within ${limit} ms`, at),
    });
  }

  #overrun(worker: Worker, job: Job, what: string, now: number): Effect[] {
    const why = `${job.name} ${what}`;
    if (worker.ready.supervised === true) return this.kill(worker, why, now);
    // Nobody here can kill it. Its requestor must not wait for it all the same, nor those of the jobs behind it.
    const effects: Effect[] = [{ to: "log", line: `worker ${worker.ready.id} cannot be killed from here: ${why}` }];
    for (const other of jobsOf(worker)) {
      this.workers.release(worker, other.id);
      if (other !== job) effects.push(abort(worker, other, stuck));
      effects.push(...this.#giveUp(worker, other, other === job, why, now));
    }
    worker.head = undefined;
    return effects;
  }

  /** Answers a job in the place of its worker, which may go on with it: then it keeps what it holds. */
  #giveUp(worker: Worker, job: Job, isStuck: boolean, why: string, now: number): Effect[] {
    const isSafe = job.kind === "safe";
    if (isSafe) worker.givenUp.set(job.id, this.lifecycle.leaveBehind(worker, job, why));
    else if (isStuck || resourcesOf(job).length > 0) worker.givenUp.set(job.id, job);
    return isSafe || !worker.givenUp.has(job.id)
      ? this.lifecycle.cutOff(worker, job, why, now)
      : this.lifecycle.giveUp(worker, job, why, now);
  }
}

/** One that has died, or is about to, need not be killed. */
const isWatched = (worker: Worker, head: Held): boolean =>
  worker.head === head && worker.retired !== "killed" && worker.retired !== "lost";

const stuck: Stop = { code: "INTERRUPTED", message: "the job before it does not let go" };

const abort = (worker: Worker, job: Job, { code, message }: Stop): Effect =>
  toWorker(worker.key, { type: "ABORT", job: job.id, code, message });
