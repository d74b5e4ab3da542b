/**
 * The life of a job, from its acceptance to its end: the methods follow the arrows of the diagram
 * in state.ts, except that run-limits.ts makes a dispatched job a running one. Every job ends by
 * `#end`, once, whatever dies.
 */
import { killsMax } from "../limits.ts";
import { superseded } from "./blocks.ts";
import { Delays } from "./delays.ts";
import { DurableJobs } from "./durable-jobs.ts";
import { type Effect, publicationLost, toWorker } from "./events.ts";
import { createJob, expiryOf, isDurable, noOptions, type RetryPolicy } from "./job.ts";
import { failure, type JobOutcome, messageIn } from "./outcome.ts";
import { LatestJobs } from "./queue.ts";
import { deliverable } from "./requests.ts";
import { nextTry, parkForRetry } from "./retries.ts";
import { type OnOverrun, RunLimits } from "./run-limits.ts";
import type { Draft, EndReason, Job, OpenRequest, Worker } from "./state.ts";
import type { Tables } from "./tables.ts";
import { waitsFor } from "./waits-for.ts";

interface LifecycleOptions {
  /** 0 ≤ random() < 1, spreads the retries. */
  readonly random: () => number;
  /** ms from the abort signal of an emergency stop to the kill. */
  readonly stopGraceMs: number;
}

export class JobLifecycle {
  readonly runLimits: RunLimits;
  readonly delays: Delays;
  readonly durable: DurableJobs;
  readonly #latest = new LatestJobs();

  constructor(
    private readonly tables: Tables,
    private readonly options: LifecycleOptions,
    onOverrun: OnOverrun,
  ) {
    this.durable = new DurableJobs(tables, (job, now) => this.#enter(job, now));
    this.delays = new Delays(tables, (job, now) => this.#due(job, now));
    this.runLimits = new RunLimits(tables, options.stopGraceMs, (job, why, now) => this.stop(job, why, now), onOverrun);
  }

  /* ── accepted ─► delayed ─► queued ─► dispatched ─► running ── */

  accept(draft: Draft, request: OpenRequest | null, part: number, now: number): Effect[] {
    const job = createJob(draft, this.tables.nextJobId(), { request, part }, now);
    if (request !== null) request.jobs[part] = job;
    return job.options !== noOptions && isDurable(job) ? this.durable.accept(job) : this.#enter(job, now);
  }

  /** A job of an earlier router goes on, at its place. @param dueAt it is, or was, delayed until then */
  resume(job: Job, dueAt: number, now: number): Effect[] {
    this.#latest.add(job);
    if (dueAt > now) return this.#delay(job, dueAt, now);
    job.expiresAt = expiryOf(job, dueAt);
    if (job.expiresAt <= now) return this.expire(job, now);
    this.tables.queues.putBack(job);
    if (job.expiresAt < Number.POSITIVE_INFINITY) this.#limitWaiting(job);
    return [];
  }

  #delay(job: Job, dueAt: number, now: number): Effect[] {
    job.expiresAt = Number.POSITIVE_INFINITY;
    this.delays.add(job, dueAt, now);
    return [];
  }

  #enter(job: Job, now: number): Effect[] {
    const { events, queues, statistics } = this.tables;
    statistics.accepted++;
    if (events.watchesJobs) events.accepted(job);
    if (events.watchesResources) events.touch(job);
    const effects = job.options.latest === undefined ? [] : this.#supersede(job, now);
    const dueAt = job.options === noOptions ? now : this.delays.dueAt(job, now);
    if (dueAt > now) return [...effects, ...this.#delay(job, dueAt, now)];
    if (dueAt > job.acceptedAt) job.expiresAt = expiryOf(job, dueAt); // a slow disk has taken longer
    if (job.place.id === job.id) queues.push(job);
    else queues.putBack(job);
    if (job.expiresAt < Number.POSITIVE_INFINITY) this.#limitWaiting(job);
    return effects;
  }

  /** delayed ─► queued: behind all that were accepted meanwhile. Its `ttlMs` counts from now on. */
  #due(job: Job, now: number): Effect[] {
    job.place = { id: this.tables.nextJobId(), at: now };
    job.expiresAt = expiryOf(job, now);
    this.tables.queues.push(job);
    if (job.expiresAt < Number.POSITIVE_INFINITY) this.#limitWaiting(job);
    return [];
  }

  #limitWaiting(job: Job): void {
    this.tables.timers.add({
      at: job.expiresAt,
      isAlive: () => job.state !== "ended",
      // A worker that has the job keeps the limit itself.
      fire: (at) => (job.worker === null ? this.expire(job, at) : []),
    });
  }

  /** The waiting job whose place this one would take. */
  replacedBy = (draft: Draft): Job | undefined => this.#latest.olderThan(draft).find(({ worker }) => worker === null);

  /** Hands a queued job to a worker, with its resources. */
  assign(worker: Worker, job: Job, now: number): void {
    this.tables.queues.remove(job);
    // A safe stop holds its resources already.
    if (job.kind === "task") this.tables.resources.take(job);
    this.tables.workers.assign(worker, job);
    // Another try begins by another entry in the journal.
    if (job.durable !== null) job.durable.isCleared = false;
    this.runLimits.startHead(worker, now);
  }

  /** dispatched ─► queued: a worker gives back jobs that it has not begun. */
  returned(worker: Worker, ids: readonly number[], now: number): Effect[] {
    const { workers } = this.tables;
    const jobs = ids.map((id) => workers.release(worker, id)).filter((job) => job !== undefined);
    this.runLimits.startHead(worker, now);
    return this.putBack(jobs, now);
  }

  /** Jobs that have not begun go back to their places in the queue, or end if they are blocked. */
  putBack(jobs: readonly Job[], now: number): Effect[] {
    const { blocks, queues, resources } = this.tables;
    const effects: Effect[] = [];
    for (const job of jobs) {
      // A safe stop keeps its resources until it has succeeded.
      if (job.kind !== "safe") resources.release(job);
      if (job.durable !== null) this.durable.returned(job, job.durable);
      const reason = job.stop ?? blocks.endOf(job);
      if (reason !== null) effects.push(...this.stop(job, reason, now));
      else if (job.expiresAt <= now) effects.push(...this.expire(job, now));
      else queues.putBack(job);
    }
    return effects;
  }

  /* ── running ─► done | failed | interrupted | retrying ── */

  /**
   * A worker answers. Returns false if it does not hold that job.
   * @param ms run time, 0 for a job that has not begun
   * @param isUnsafe the `onStop` of the task was to run in the worker, and has failed
   */
  answered(
    worker: Worker,
    id: number,
    outcome: JobOutcome,
    ms: number,
    isUnsafe: boolean,
    now: number,
  ): Effect[] | false {
    const { workers, statistics } = this.tables;
    const job = workers.release(worker, id);
    if (job === undefined) return false;
    if (ms > 0) workers.learn(job.queue, ms);
    if (ms > 0 && job.kind === "task") statistics.ran(job.name, ms);
    this.runLimits.startHead(worker, now);
    if (job.kind !== "safe") this.letGo(job, isUnsafe, now);
    else if (isUnsafe) outcome = failure(outcome.by, onStopFailed.code, onStopFailed.message);
    // Another error than one of the task itself would come again.
    const isWorthIt = outcome.code === "TASK_ERROR" || (job.kind === "safe" && outcome.code !== null);
    const retry = isWorthIt ? nextTry(this.tables, worker, job) : null;
    if (retry?.onError === true) return this.#retry(job, retry, now);
    const own = outcome.contentType === undefined ? outcome : deliverable(job, outcome, outcome.contentType);
    return this.#end(job, job.stop === null ? own : this.#failure(job.stop, outcome.by), now, worker, ms);
  }

  /** A job does not run any more. @param isUnsafe its `onStop` has failed in its worker */
  letGo(job: Job, isUnsafe: boolean, now: number): void {
    const { resources, runaways, safeStops } = this.tables;
    runaways.forget(job);
    if (isUnsafe) safeStops.startFor(job, onStopFailed, now);
    resources.release(job);
  }

  /** The worker was lost while the job may have been running. */
  interrupted(worker: Worker, job: Job, reason: EndReason, now: number): Effect[] {
    if (job.stop === null && job.kills >= killsMax) {
      const message = `${job.name} has killed its worker ${job.kills} times and is not tried again`;
      return this.#end(job, this.#failure({ code: "POISONOUS", message }), now);
    }
    const retry = nextTry(this.tables, worker, job);
    return retry === null ? this.givenUp(job, reason, now) : this.#retry(job, retry, now);
  }

  /** No answer of its worker is waited for any more. */
  givenUp(job: Job, reason: EndReason, now: number): Effect[] {
    return this.#end(job, this.#failure(job.stop ?? reason), now);
  }

  #retry(job: Job, policy: RetryPolicy, now: number): Effect[] {
    job.tries++;
    if (job.expiresAt <= now) return this.expire(job, now);
    parkForRetry(this.tables, job, policy, this.options.random, now);
    return [];
  }

  /* ── Ends that do not come from the worker ── */

  /** Ends a job: at once if no worker has it, else by an abort signal, and then by a kill. */
  stop(job: Job, reason: EndReason, now: number): Effect[] {
    const { worker } = job;
    if (job.state === "ended" || job.kind === "safe") return [];
    if (worker === null) {
      if (job.durable !== null && reason === this.tables.blocks.closed) {
        this.#latest.delete(job);
        return this.durable.leave(job, "SHUTTING_DOWN", 0) ?? [];
      }
      // Cancelled before its first try: the message says so, and names the cause of the waiting.
      const isUnbegun = reason.code === "CANCELLED" && job.tries === 0;
      const message = `${reason.message} before it had begun`;
      job.stop ??= isUnbegun ? { ...reason, message: `${message}${waitsFor(this.tables, job)}` } : reason;
      return this.#end(job, this.#failure(job.stop), now);
    }
    if (job.stop !== null) return [];
    job.stop = reason;
    if (worker.head?.job === job) this.runLimits.startGrace(worker, worker.head, now);
    return [abort(worker, job, reason)];
  }

  stopAll(jobs: Iterable<Job>, reason: EndReason, now: number): Effect[] {
    return [...jobs].flatMap((job) => this.stop(job, reason, now));
  }

  /** Ends a job that no worker has and whose time to begin is over. */
  expire(job: Job, now: number): Effect[] {
    const what = job.tries === 0 ? "it was not started within its ttlMs" : "its ttlMs left no time for another try";
    return this.stop(job, { code: "EXPIRED", message: `${what}${waitsFor(this.tables, job)}` }, now);
  }

  /** Answers a job that was told to end before it has ended. Its later end reaches nobody. */
  answerEarly(job: Job, now: number): Effect[] {
    if (job.state === "ended" || job.stop === null || job.request === null) return [];
    const effects = this.tables.requests.settle(job, this.#failure(job.stop), now);
    job.request = null;
    return effects;
  }

  /** The newest job of one task and key is wanted: it takes the place of a waiting one. */
  #supersede(job: Job, now: number): Effect[] {
    const { latest } = job.options;
    const endsRunning = typeof latest === "object" && latest.abort === true;
    const effects = this.#latest.olderThan(job).flatMap((older) => {
      if (older.worker !== null) older.isReplaced = true;
      else if (older.priority === job.priority) job.place = older.place;
      return older.worker === null || endsRunning ? this.stop(older, superseded, now) : [];
    });
    this.#latest.add(job);
    return effects;
  }

  /* ── The one end of every job ── */

  /** @param worker that has answered, and `ms` as it said; null and 0 for any other end */
  #end(job: Job, outcome: JobOutcome, now: number, worker: Worker | null = null, ms = 0): Effect[] {
    const { queues, safeStops } = this.tables;
    queues.remove(job);
    this.#latest.delete(job);
    if (job.kind === "safe") return safeStops.end(job, outcome);
    job.state = "ended";
    if (job.durable !== null) return this.#endDurable(job, outcome, worker, ms);
    return this.#tell(job, outcome, now, worker, ms);
  }

  /** Apart, since a function with a closure costs memory at each call. */
  #endDurable(job: Job, outcome: JobOutcome, worker: Worker | null, ms: number): Effect[] {
    const left = this.tables.blocks.closed === null ? null : this.durable.leave(job, outcome.code, ms);
    const by = worker?.ready.id ?? null;
    return left ?? this.durable.end(job, outcome, by, ms, (at) => this.#tell(job, outcome, at, worker, ms));
  }

  /** Tells everybody of the end of a job. */
  #tell(job: Job, outcome: JobOutcome, now: number, worker: Worker | null, ms: number): Effect[] {
    const { events, history, requests, results, statistics, unique } = this.tables;
    if (events.watchesJobs) events.ended(job, outcome, worker, ms);
    if (events.watchesResources) events.touch(job);
    if (job.kind === "task") history.add(job, outcome, worker?.ready.id ?? null, ms, now);
    if (job.options.unique !== undefined) unique.end(job, now);
    if (job.schedule !== undefined) this.durable.runEnded(job, job.schedule, outcome, ms, now);
    statistics.ended(outcome.code);
    if (outcome.code === null || job.publisher === undefined) {
      const effects = requests.settle(job, outcome, now);
      return results.isEmpty ? effects : [...effects, ...results.settle(job, outcome)];
    }
    // Nobody waits for a publication: its loss is counted, and logged once.
    const times = statistics.drop(outcome.code === "SUPERSEDED" ? "publicationReplaced" : "publicationRefused");
    return times > 1 ? [] : [publicationLost(job.publisher, job.name, messageIn(outcome.body))];
  }

  #failure = ({ code, message }: EndReason, by = this.tables.requests.routerId): JobOutcome =>
    failure(by, code, message);
}

const onStopFailed: EndReason = { code: "TASK_ERROR", message: "its onStop failed where it had run" };

export const abort = (worker: Worker, job: Job, { code, message }: EndReason): Effect =>
  toWorker(worker.key, { type: "ABORT", job: job.id, code, message });
