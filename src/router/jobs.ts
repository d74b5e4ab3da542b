/**
 * The life of a job: `accepted → queued → held → ended`, with the ways back for what is tried again. Every job ends once,
 * by `#end`, whatever dies.
 */
import { abortGraceMs, killMs, killsMax, retryBackoffMsMax, verdictMs } from "../limits.ts";
import { type Effect, toWorker } from "./effects.ts";
import type { Job, Stop } from "./job.ts";
import { failure, type Idempotence, idempotence, type Outcome } from "./outcome.ts";
import { JobQueues } from "./queue.ts";
import type { Requests } from "./requests.ts";
import type { Statistics } from "./statistics.ts";
import { Timers } from "./timers.ts";
import { type Held, headOf, jobsOf, type Worker, type Workers } from "./workers.ts";

export class Jobs {
  readonly queues = new JobQueues();
  readonly #timers = new Timers();
  /** Set once nothing is to begin any more: what then comes back ends by it. */
  #closed: Stop | null = null;

  constructor(
    private readonly workers: Workers,
    private readonly requests: Requests,
    private readonly statistics: Statistics,
    /** 0 ≤ random() < 1: spreads the retries. */
    private readonly random: () => number,
  ) {}

  /** ms on the clock of `now`: when `tick` should be called next; null for no need. */
  get nextAt(): number | null {
    return this.#timers.nextAt;
  }

  accept(job: Job): void {
    this.statistics.accepted++;
    job.request?.jobs.add(job);
    this.queues.push(job);
    if (job.expiresAt === Number.POSITIVE_INFINITY) return;
    this.#timers.add({
      at: job.expiresAt,
      isAlive: () => job.state !== "ended",
      // While a worker has it, that one sees to it that it does not begin too late.
      fire: (now) => (job.state === "held" ? [] : this.expire(job, now)),
    });
  }

  tick(now: number): Effect[] {
    return this.#timers.fireDue(now);
  }

  /** Hands a queued job to a worker. */
  assign(worker: Worker, job: Job, now: number): void {
    this.queues.remove(job);
    this.workers.assign(worker, job);
    this.#startHead(worker, now);
  }

  /** Takes a worker's answer. False where it does not hold that job. @param ms how long it ran; 0 for not at all */
  answered(worker: Worker, id: number, outcome: Outcome, ms: number, now: number): Effect[] | false {
    const job = this.workers.release(worker, id);
    if (job === undefined) return false;
    if (ms > 0) this.workers.learn(job.queue, ms);
    if (ms > 0 && job.kind === "task") this.statistics.ran(job.name, ms);
    this.#startHead(worker, now);
    const again = this.#nextTry(worker, job);
    // Only what a task has thrown may come out otherwise the next time.
    if (outcome.code === "TASK_ERROR" && again?.onError === true) return this.#tryAgain(job, again.backoffMs, now);
    return this.#end(job, outcome, now);
  }

  /** A worker gives back what it has not begun. */
  returned(worker: Worker, ids: readonly number[], now: number): Effect[] {
    const jobs = ids.map((id) => this.workers.release(worker, id)).filter((job) => job !== undefined);
    this.#startHead(worker, now);
    return this.#putBack(jobs, now);
  }

  /** Ends a job before its time: at once where nobody has it, else by telling its worker, and killing that if need be. */
  stop(job: Job, stop: Stop, now: number): Effect[] {
    if (job.state === "ended" || job.stop !== null) return [];
    const { worker } = job;
    job.stop = stop;
    if (worker === null) return this.#end(job, null, now);
    if (worker.head?.job === job) this.#startGrace(worker, worker.head, now);
    return [abort(worker, job, stop)];
  }

  stopAll(jobs: Iterable<Job>, stop: Stop, now: number): Effect[] {
    return [...jobs].flatMap((job) => this.stop(job, stop, now));
  }

  /** Ends a job that no worker has and that may not begin any more. */
  expire(job: Job, now: number): Effect[] {
    const message = job.tries === 0 ? "it was not started within its ttlMs" : "its ttlMs left no time for another try";
    return this.stop(job, { code: "EXPIRED", message }, now);
  }

  /** Ends everything that no worker has, now and from now on. */
  close(stop: Stop, now: number): Effect[] {
    this.#closed = stop;
    return this.stopAll(this.queues, stop, now);
  }

  /**
   * The connection is gone. Of a supervised worker the supervisor will say what it had begun, if its process has died. If it
   * lives on, what it runs is out of reach, and would be run on without limits: then it is killed.
   */
  disconnected(worker: Worker, now: number): Effect[] {
    worker.isConnected = false;
    if (worker.begun !== null) return this.lose(worker, "its process has died", now);
    if (worker.ready.supervised !== true || worker.held.size === 0)
      return this.lose(worker, "its connection is gone", now);
    if (worker.retired === "killed") return [];
    worker.retired = "lost";
    this.#timers.add({
      at: now + verdictMs,
      isAlive: () => worker.retired === "lost" && this.#isKnown(worker),
      fire: (at) => this.#kill(worker, "it has lost its connection", at),
    });
    return [];
  }

  /** Its process has another connection: what it got by the first is out of reach. False where it need not be killed for that. */
  reconnected(worker: Worker, now: number): Effect[] | false {
    if (worker.held.size === 0 || worker.begun !== null) return false;
    worker.isConnected = false;
    return worker.retired === "killed" ? [] : this.#kill(worker, "it has lost its connection", now);
  }

  /** The supervisor says that its process has died. What it sent before may still be on its way until its connection is gone. */
  died(worker: Worker, begun: number, now: number): Effect[] {
    worker.begun = begun;
    if (!worker.isConnected) return this.lose(worker, "its process has died", now);
    worker.retired = "killed";
    this.#loseAt(worker, now + verdictMs, "its process has died");
    return [];
  }

  /**
   * Gives a worker up. What it may have begun is ended, or tried again where the task allows that; what it had provably not
   * begun goes back to its place in the queue.
   */
  lose(worker: Worker, why: string, now: number): Effect[] {
    this.workers.remove(worker);
    const jobs = jobsOf(worker);
    const last = jobs.findIndex((job) => job.id === worker.begun);
    // 0 is no job's id, and one that was answered already leaves nothing begun: the jobs run one after the other.
    const begunCount = worker.begun === null ? jobs.length : last + 1;
    const effects: Effect[] = [];
    for (const [index, job] of jobs.slice(0, begunCount).entries()) {
      this.workers.release(worker, job.id);
      const isKiller = worker.begun === null ? begunCount === 1 : index === last;
      if (isKiller) job.kills++;
      effects.push(...this.#cutOff(worker, job, why, now));
    }
    for (const job of jobs.slice(begunCount)) this.workers.release(worker, job.id);
    effects.push(...this.#putBack(jobs.slice(begunCount), now));
    return effects;
  }

  /* ── Within ────────────────────────────────────────────────────────────────────────────────────────────────────── */

  /** The first job that the worker holds runs now: its limits begin to count. */
  #startHead(worker: Worker, now: number): void {
    const head = headOf(worker);
    if (head === worker.head) return;
    worker.head = head;
    if (head === undefined) return;
    const { job } = head;
    if (job.stop !== null) {
      this.#startGrace(worker, head, now);
      return;
    }
    const limit = Math.min(
      worker.policies.get(job.name)?.timeoutMs ?? Number.POSITIVE_INFINITY,
      job.options.timeoutMs ?? Number.POSITIVE_INFINITY,
    );
    if (limit === Number.POSITIVE_INFINITY) return;
    this.#timers.add({
      at: now + limit,
      isAlive: () => worker.head === head && job.stop === null,
      fire: (at) => this.stop(job, { code: "TIMEOUT", message: `it ran longer than ${limit} ms` }, at),
    });
  }

  /** From the abort signal to the kill. */
  #startGrace(worker: Worker, head: Held, now: number): void {
    this.#timers.add({
      at: now + (worker.policies.get(head.job.name)?.graceMs ?? abortGraceMs),
      // One that has died, or is about to, need not be killed.
      isAlive: () => worker.head === head && worker.retired !== "killed" && worker.retired !== "lost",
      fire: (at) => this.#overrun(worker, head.job, at),
    });
  }

  #overrun(worker: Worker, job: Job, now: number): Effect[] {
    const why = `${job.name} did not let go after ${job.stop?.code ?? "its abort signal"}`;
    if (worker.ready.supervised === true) return this.#kill(worker, why, now);
    // Nobody here can kill it. Its requestor must not wait for it all the same, nor those of the jobs behind it.
    worker.stuckOn = job.id;
    const effects: Effect[] = [{ to: "log", line: `worker ${worker.ready.id} cannot be killed from here: ${why}` }];
    for (const other of jobsOf(worker)) {
      this.workers.release(worker, other.id);
      if (other === job) effects.push(...this.#end(job, null, now));
      else effects.push(abort(worker, other, stuck), ...this.#cutOff(worker, other, why, now));
    }
    worker.head = undefined;
    return effects;
  }

  #kill(worker: Worker, why: string, now: number): Effect[] {
    worker.retired = "killed";
    // Whoever claims to be supervised and is not, or cannot be killed, must not keep anybody waiting.
    this.#loseAt(worker, now + killMs + verdictMs, "it could not be killed");
    return [{ to: "supervisor", type: "kill", pid: worker.ready.pid, why }];
  }

  /** A job whose worker died while it may have been running. */
  #cutOff(worker: Worker, job: Job, why: string, now: number): Effect[] {
    if (job.stop === null && job.kills >= killsMax) {
      const message = `${job.name} has killed its worker ${job.kills} times and is not tried again`;
      return this.#end(job, failure(this.requests.routerId, "POISONOUS", message), now);
    }
    const again = this.#nextTry(worker, job);
    if (again !== null) return this.#tryAgain(job, again.backoffMs, now);
    const message = `worker ${worker.ready.id} was lost (${why}) while ${job.name} may have been running`;
    return this.#end(job, failure(this.requests.routerId, "INTERRUPTED", message), now);
  }

  /** How a job that has begun may be tried again; null where it may not. */
  #nextTry(worker: Worker, job: Job): Idempotence | null {
    if (job.stop !== null || this.#closed !== null) return null;
    const again = idempotence(worker.policies.get(job.name));
    return again !== null && job.tries + 1 < again.tries ? again : null;
  }

  #tryAgain(job: Job, backoffMs: number, now: number): Effect[] {
    job.tries++;
    if (job.expiresAt <= now) return this.expire(job, now);
    this.statistics.retried++;
    this.queues.park(job);
    // Between half and all of it: what failed together is not tried again together.
    const delayMs = Math.min(backoffMs * 2 ** (job.tries - 1), retryBackoffMsMax) * (0.5 + this.random() / 2);
    this.#timers.add({
      at: now + delayMs,
      isAlive: () => job.state === "waiting",
      fire: () => {
        this.queues.putBack(job);
        return [];
      },
    });
    return [];
  }

  /** To their places in the queue: they have not begun. */
  #putBack(jobs: readonly Job[], now: number): Effect[] {
    const effects: Effect[] = [];
    for (const job of jobs) {
      if (job.stop !== null) effects.push(...this.#end(job, null, now));
      else if (this.#closed !== null) effects.push(...this.stop(job, this.#closed, now));
      else if (job.expiresAt <= now) effects.push(...this.expire(job, now));
      else this.queues.putBack(job);
    }
    return effects;
  }

  #loseAt(worker: Worker, at: number, why: string): void {
    this.#timers.add({
      at,
      isAlive: () => this.#isKnown(worker),
      fire: (now) => this.lose(worker, why, now),
    });
  }

  #isKnown(worker: Worker): boolean {
    return this.workers.get(worker.key) === worker;
  }

  /** The one end of every job. A job that was told to end ends by what it was told. @param outcome null: by that alone */
  #end(job: Job, outcome: Outcome | null, now: number): Effect[] {
    this.queues.remove(job);
    job.state = "ended";
    const final =
      job.stop === null ? outcome : failure(outcome?.by ?? this.requests.routerId, job.stop.code, job.stop.message);
    if (final === null) throw new Error(`job ${job.id} has neither an outcome nor a reason to stop`);
    if (final.code === null) this.statistics.done++;
    else this.statistics.fail(final.code);
    return this.requests.settle(job, final, now);
  }
}

const stuck: Stop = { code: "INTERRUPTED", message: "the job before it does not let go" };

const abort = (worker: Worker, job: Job, { code, message }: Stop): Effect =>
  toWorker(worker.key, { type: "ABORT", job: job.id, code, message });
