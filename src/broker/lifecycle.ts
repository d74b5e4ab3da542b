/**
 * How jobs end, and the ways back to the queue for those that may be tried again. Every job ends once, by `end`, whatever
 * dies; what it held is free once it is known to be safe.
 */

import { beatSilenceMs, killsMax, onStopMs, onStopTriesMax, retryBackoffMs, retryBackoffMsMax } from "../limits.ts";
import type { Quarantined } from "../protocol/blocked.ts";
import { Clearing } from "./clearing.ts";
import { type Effect, publicationLost } from "./effects.ts";
import { type Draft, type Job, resourcesOf, type Stop } from "./job.ts";
import { Latest, superseded } from "./latest.ts";
import { Locks, lockedStop } from "./locks.ts";
import { failure, type Idempotence, idempotence, messageIn, type Outcome } from "./outcome.ts";
import { Quarantine } from "./quarantine.ts";
import { JobQueues } from "./queue.ts";
import type { Requests } from "./requests.ts";
import { Resources } from "./resources.ts";
import { SafeStops } from "./safe-stops.ts";
import type { Statistics } from "./statistics.ts";
import { Timers } from "./timers.ts";
import { graceOf, type Worker } from "./workers.ts";

export class JobLifecycle {
  readonly queues = new JobQueues();
  readonly timers = new Timers();
  readonly resources = new Resources();
  readonly latest = new Latest();
  readonly safeStops = new SafeStops(this.queues, this.resources, () => this.nextId());
  readonly clearing = new Clearing(this);
  readonly quarantine = new Quarantine();
  /** Set once nothing is to begin any more: what then comes back ends by it. */
  closed: Stop | null = null;
  /** Set in emergency stop: what then comes back ends by it, but for what is allowed when stopped. */
  stopped: Stop | null = null;
  readonly locks: Locks;

  constructor(
    private readonly requests: Requests,
    private readonly statistics: Statistics,
    /** 0 ≤ random() < 1: spreads the retries. */
    private readonly random: () => number,
    private nextJob: number,
    /** Whether somebody serves a task, or will as soon as it is there: then its `onStop` is run. */
    isServed: (task: string) => boolean,
  ) {
    this.locks = new Locks(this.resources, this.safeStops, isServed);
  }

  nextId(): number {
    return this.nextJob++;
  }

  /** Why a job must not begin now, whatever its turn; null where it may. */
  blockedReason(job: Job): Stop | null {
    if (job.kind === "safe") return null;
    if (job.isReplaced) return superseded;
    return this.closed ?? (isStoppable(job) ? this.stopped : null) ?? this.quarantine.stopOf(job);
  }

  /** Closes tasks, and opens all others: what waits ends, what runs goes on. */
  quarantineTasks(tasks: readonly Quarantined[], now: number): Effect[] {
    this.quarantine.close(tasks);
    return [...this.queues].flatMap((job) => {
      const stop = this.quarantine.stopOf(job);
      return stop === null ? [] : this.stop(job, stop, now);
    });
  }

  /** Whether it must wait for what others hold, or for its own task to be safe. @param claimed what others wait for that were before it */
  isBlocked(job: Job, claimed: ReadonlySet<string>): boolean {
    if (job.kind !== "task") return false;
    if (this.safeStops.isPending(job.name) || this.locks.isAwaited(job.name)) return true;
    return resourcesOf(job).some((resource) => claimed.has(resource) || this.resources.holdersOf(resource).size > 0);
  }

  /** Ends a job that no worker has. */
  stop(job: Job, stop: Stop, now: number): Effect[] {
    if (job.state === "ended" || job.kind === "safe") return [];
    // Who cancels it for want of an answer is told that nothing has happened, and why.
    const isUnbegun = stop.code === "CANCELLED" && job.tries === 0;
    job.stop ??= isUnbegun ? { ...stop, message: `${stop.message} before it had begun${this.#waitsFor(job)}` } : stop;
    return this.end(job, null, now);
  }

  /** Answers a job that was told to end and has not yet. What comes of it later reaches nobody. */
  answerEarly(job: Job, now: number): Effect[] {
    const { stop, request } = job;
    if (job.state === "ended" || stop === null || request === null) return [];
    const effects = this.requests.settle(job, failure(this.requests.routerId, stop.code, stop.message), now);
    job.request = null;
    return effects;
  }

  /** Ends a job that no worker has and that may not begin any more. */
  expire(job: Job, now: number): Effect[] {
    const what = job.tries === 0 ? "it was not started within its ttlMs" : "its ttlMs left no time for another try";
    return this.stop(job, { code: "EXPIRED", message: `${what}${this.#waitsFor(job)}` }, now);
  }

  /** Takes a worker's answer. @param isUnsafe it says that the task's `onStop` has failed there */
  answered(worker: Worker, job: Job, said: Outcome, isUnsafe: boolean, now: number): Effect[] {
    if (job.kind !== "safe") this.letGo(job, isUnsafe, now);
    const outcome = job.kind === "safe" && isUnsafe ? failure(said.by, "TASK_ERROR", failedThere.message) : said;
    const again = this.#nextTry(worker, job);
    // Only what a task has thrown may come out otherwise the next time.
    const isWorthIt = outcome.code === "TASK_ERROR" || (job.kind === "safe" && outcome.code !== null);
    if (isWorthIt && again?.onError === true) return this.#tryAgain(job, again.backoffMs, now);
    return this.end(job, outcome, now);
  }

  /** It runs no more. */
  letGo(job: Job, isUnsafe: boolean, now: number): void {
    this.locks.forget(job);
    if (isUnsafe) this.#makeSafe(job, failedThere, now);
    this.resources.release(job);
  }

  /** A job whose worker is lost while it may have been running. */
  cutOff(worker: Worker, job: Job, why: string, now: number): Effect[] {
    const message = `worker ${worker.ready.id} was lost (${why}) while ${job.name} may have been running`;
    this.secure(worker, job, { code: "INTERRUPTED", message }, now);
    if (job.stop === null && job.kills >= killsMax) {
      const poison = `${job.name} has killed its worker ${job.kills} times and is not tried again`;
      return this.end(job, failure(this.requests.routerId, "POISONOUS", poison), now);
    }
    const again = this.#nextTry(worker, job);
    if (again !== null) return this.#tryAgain(job, again.backoffMs, now);
    return this.end(job, failure(this.requests.routerId, "INTERRUPTED", message), now);
  }

  /** Ends a job that its worker does not let go of, and that keeps what it holds; but what it drives is made safe from elsewhere. */
  giveUp(worker: Worker, job: Job, why: string, now: number): Effect[] {
    const lost: Stop = { code: "INTERRUPTED", message: `${job.name} was given up: ${why}` };
    this.locks.note(job, "stuck", worker.ready.id, { code: lost.code, message: why });
    this.#makeSafe(job, lost, now);
    return this.end(job, failure(this.requests.routerId, lost.code, lost.message), now);
  }

  /**
   * A run of `onStop` that its worker does not let go of is tried elsewhere; but this one may still come, and must not meet a job. Gives
   * what holds the same in its place until its worker has let go.
   */
  leaveBehind(worker: Worker, safing: Job, why: string): Job {
    const left: Job = { ...safing };
    this.locks.note(left, "stuck", worker.ready.id, { code: "INTERRUPTED", message: why });
    this.resources.take(left);
    return left;
  }

  /** Sees to it that what a job held, whose worker is lost, is held until it is known to be safe. */
  secure(worker: Worker, job: Job, lost: Stop, now: number): void {
    const isLeftBehind = job.kind === "safe" && this.locks.has(job);
    if ((job.kind !== "task" && !isLeftBehind) || this.locks.isAbandoned(job)) return;
    this.#makeSafe(job, lost, now);
    if (worker.ready.supervised === true || (resourcesOf(job).length === 0 && !isLeftBehind)) {
      this.locks.forget(job);
      return this.resources.release(job);
    }
    this.locks.note(job, "lost", worker.ready.id, lost);
    // A worker that nobody here can kill lets go by itself, as the protocol wants it, when it notices that it is lost.
    this.timers.add({
      at: now + beatSilenceMs + (isLeftBehind ? (job.policy.onStopMs ?? onStopMs) : 0) + graceOf(worker, job),
      isAlive: always,
      fire: (at) => {
        // Somebody has looked meanwhile.
        if (!this.locks.forget(job)) return [];
        // What was made safe at once may have been driven on until now.
        this.#makeSafe(job, lost, at);
        this.resources.release(job);
        return [];
      },
    });
  }

  /** Keeps what a job holds until `retry`, since its worker may run on, out of reach. */
  abandon(worker: Worker, job: Job, why: string): Effect[] {
    const held = resourcesOf(job);
    if (worker.ready.supervised === true || job.kind !== "task" || held.length === 0) return [];
    this.locks.note(job, "abandoned", worker.ready.id, { code: "INTERRUPTED", message: why });
    const line = `${held.join(", ")} stay locked: ${why}, and worker ${worker.ready.id} may go on with ${job.name}; end it where it runs, then run task-engine reset`;
    return [{ to: "log", line }];
  }

  /** Somebody has looked: what could not be made safe is tried again, and free where nobody serves the task that could. */
  retry(now: number, isServed: (task: string) => boolean): void {
    for (const [job, why] of this.locks.takeUnheard()) {
      this.#makeSafe(job, why, now);
      this.resources.release(job);
    }
    this.safeStops.retry(isServed);
  }

  /** To their places in the queue: they have not begun. */
  putBack(jobs: readonly Job[], now: number): Effect[] {
    const effects: Effect[] = [];
    for (const job of jobs) {
      // What makes something safe holds it until it has.
      if (job.kind !== "safe") this.resources.release(job);
      const barred = job.stop ?? this.blockedReason(job);
      if (barred !== null) effects.push(...this.stop(job, barred, now));
      else if (job.expiresAt <= now) effects.push(...this.expire(job, now));
      else this.queues.putBack(job);
    }
    return effects;
  }

  /** The one end of every job. A job that was told to end ends by what it was told. @param outcome null: by that alone */
  end(job: Job, outcome: Outcome | null, now: number): Effect[] {
    this.queues.remove(job);
    this.latest.forget(job);
    job.state = "ended";
    const final =
      job.stop === null ? outcome : failure(outcome?.by ?? this.requests.routerId, job.stop.code, job.stop.message);
    if (final === null) throw new Error(`job ${job.id} has neither an outcome nor a reason to stop`);
    if (job.kind === "safe") return this.safeStops.ended(job, final);
    if (final.code === null) this.statistics.done++;
    else this.statistics.fail(final.code);
    if (final.code !== null && job.publisher !== undefined) return this.#publicationLost(job, job.publisher, final);
    return this.requests.settle(job, final, now);
  }

  /** What is lost unseen by those who wait for nothing is counted, and said once. */
  #publicationLost({ name }: Job, publisher: string, { code, body }: Outcome): Effect[] {
    const times = this.statistics.drop(code === "SUPERSEDED" ? "publicationReplaced" : "publicationRefused");
    return times > 1 ? [] : [publicationLost(publisher, name, messageIn(body))];
  }

  /* ── Within ────────────────────────────────────────────────────────────────────────────────────────────────────── */

  /** Where its task has an `onStop`. @param why what has ended it, unless it was told to end */
  #makeSafe(job: Job, why: Stop, now: number): void {
    if (job.policy.onStop === true) this.safeStops.start(job.name, job.policy, job.stop ?? why, now);
  }

  /** What keeps it waiting, as words that go on; empty where that is no more than its turn. */
  #waitsFor(job: Job): string {
    const lock = this.locks.before(job);
    if (lock !== null) return `: ${lockedStop(lock).message}`;
    const held = resourcesOf(job).flatMap((resource) => {
      const [holder] = this.resources.holdersOf(resource);
      return holder === undefined ? [] : [`${resource} is held by ${holder.name}`];
    });
    return held.length === 0 ? "" : `: ${held.join(", ")}`;
  }

  /** How a job that has begun may be tried again; null where it may not. */
  #nextTry(worker: Worker, job: Job): Idempotence | null {
    if (job.stop !== null || this.blockedReason(job) !== null) return null;
    const again = job.kind === "safe" ? safingTries : idempotence(worker.policies.get(job.name));
    return again !== null && job.tries + 1 < again.tries ? again : null;
  }

  #tryAgain(job: Job, backoffMs: number, now: number): Effect[] {
    job.tries++;
    if (job.expiresAt <= now) return this.expire(job, now);
    if (job.kind === "task") this.statistics.retried++;
    this.queues.park(job);
    // Between half and all of it: what failed together is not tried again together.
    const delayMs = Math.min(backoffMs * 2 ** (job.tries - 1), retryBackoffMsMax) * (0.5 + this.random() / 2);
    this.timers.add({
      at: now + delayMs,
      isAlive: () => job.state === "waiting",
      fire: () => {
        this.queues.putBack(job);
        return [];
      },
    });
    return [];
  }
}

/** Whether an emergency stop ends it. Sensor data goes on, and what makes hardware safe does. */
export const isStoppable = ({ kind, policy }: Pick<Draft, "kind" | "policy">): boolean =>
  kind === "task" && policy.allowedWhenStopped !== true;

const always = (): boolean => true;

const safingTries: Idempotence = { tries: onStopTriesMax, backoffMs: retryBackoffMs, onError: true };
const failedThere: Stop = { code: "TASK_ERROR", message: "its onStop failed where it had run" };
