/**
 * The life of a job: `accepted → queued → held → ended`, with the ways back for what is tried again. Every job ends once,
 * by `#end`, whatever dies.
 */
import { abortGraceMs, killsMax, retryBackoffMsMax, verdictMs } from "../limits.ts";
import { type Effect, toWorker } from "./effects.ts";
import { handOver, runsOfOneKind } from "./handover.ts";
import type { Job, Stop } from "./job.ts";
import { codeOf, failure, idempotence, type Outcome } from "./outcome.ts";
import { JobQueues, rankOf } from "./queue.ts";
import type { Requests } from "./requests.ts";
import type { Statistics } from "./statistics.ts";
import { Timers } from "./timers.ts";
import { headOf, type Worker, type Workers } from "./workers.ts";

const expired: Stop = { code: "EXPIRED", message: "it was not started within its ttlMs" };

export class Jobs {
  readonly queues = new JobQueues();
  readonly #timers = new Timers();
  /** Those that are queued or wait for their next try. */
  readonly #unheld = new Set<Job>();

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

  get unheld(): number {
    return this.#unheld.size;
  }

  accept(job: Job): void {
    this.statistics.accepted++;
    job.request?.jobs.push(job);
    this.#enqueue(job);
  }

  tick(now: number): Effect[] {
    return this.#timers.fireDue(now);
  }

  /** Hands out, best rank first, what workers can take. */
  dispatch(now: number): Effect[] {
    const effects: Effect[] = [];
    const handed = new Map<Worker, Job[]>();
    const names = new Set(this.queues.waiting());
    while (names.size > 0) {
      const name = this.#bestOf(names);
      const job = this.queues.first(name);
      if (job !== undefined && job.expiresAt <= now) {
        effects.push(...this.#endUnheld(job, expired, now));
        continue;
      }
      const worker = job === undefined ? undefined : this.workers.freeFor(job);
      if (job === undefined || worker === undefined) {
        names.delete(name);
        continue;
      }
      this.queues.shift(name);
      this.#unheld.delete(job);
      if (this.workers.assign(worker, job)) this.#startHead(worker, now);
      const jobs = handed.get(worker);
      if (jobs === undefined) handed.set(worker, [job]);
      else jobs.push(job);
    }
    for (const [worker, jobs] of handed)
      for (const run of runsOfOneKind(jobs)) effects.push(handOver(worker, run, now));
    return effects;
  }

  /** Takes a worker's answer. False where it does not hold that job. */
  answered(
    worker: Worker,
    id: number,
    type: Outcome["type"],
    ms: number,
    body: Uint8Array,
    now: number,
  ): Effect[] | false {
    const job = this.workers.release(worker, id);
    if (job === undefined) return false;
    if (ms > 0) this.workers.learn(job.queue, ms);
    if (ms > 0 && job.kind === "task") this.statistics.ran(job.name, ms);
    this.#startHead(worker, now);
    const again = idempotence(worker.policies.get(job.name));
    if (type === "ERR" && job.stop === null && again?.onError === true && job.tries + 1 < again.tries) {
      return this.#tryAgain(job, again.backoffMs, now);
    }
    return this.#end(job, { type, by: worker.ready.id, body }, now);
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
    if (worker === null) return this.#endUnheld(job, stop, now);
    job.stop = stop;
    if (headOf(worker) === job) this.#startGrace(worker, job, now);
    return [toWorker(worker.key, { type: "ABORT", job: job.id, code: stop.code, message: stop.message })];
  }

  /** Ends everything that no worker has. */
  stopUnheld(stop: Stop, now: number): Effect[] {
    return [...this.#unheld].flatMap((job) => this.#endUnheld(job, stop, now));
  }

  /** The connection is gone. Of a supervised worker the supervisor will say what it had begun. */
  disconnected(worker: Worker, now: number): Effect[] {
    if (worker.ready.supervised !== true || worker.held.size === 0)
      return this.lose(worker, "its connection is gone", now);
    if (worker.begun !== null) return this.lose(worker, "its process has died", now);
    worker.retired = "lost";
    this.#awaitOtherWord(worker, now);
    return [];
  }

  /** The supervisor says that its process has died. What it sent before may still be on its way until its connection is gone. */
  died(worker: Worker, begun: number, now: number): Effect[] {
    worker.begun = begun;
    if (worker.retired === "lost") return this.lose(worker, "its process has died", now);
    worker.retired = "killed";
    this.#awaitOtherWord(worker, now);
    return [];
  }

  /**
   * Gives a worker up. What it may have begun is ended, or tried again where the task allows that; what it had provably not
   * begun goes back to its place in the queue.
   */
  lose(worker: Worker, why: string, now: number): Effect[] {
    this.workers.remove(worker);
    const jobs = [...worker.held.values()].map(({ job }) => job);
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

  #enqueue(job: Job, place: "last" | "first" = "last"): void {
    job.state = "queued";
    this.#unheld.add(job);
    if (place === "last") this.queues.push(job);
    else this.queues.putBack(job);
    this.#watchExpiry(job);
  }

  #watchExpiry(job: Job): void {
    if (job.expiresAt === Number.POSITIVE_INFINITY) return;
    this.#timers.add({
      at: job.expiresAt,
      isAlive: () => job.state === "queued" || job.state === "waiting",
      fire: (now) => this.#endUnheld(job, expired, now),
    });
  }

  #bestOf(names: ReadonlySet<string>): string {
    let best = "";
    let bestRank = Number.POSITIVE_INFINITY;
    for (const name of names) {
      const job = this.queues.first(name);
      const rank = job === undefined ? Number.NEGATIVE_INFINITY : rankOf(job.acceptedAt, job.priority);
      if (rank >= bestRank) continue;
      best = name;
      bestRank = rank;
    }
    return best;
  }

  /** The first job that the worker holds runs now: its limits begin to count. */
  #startHead(worker: Worker, now: number): void {
    const job = headOf(worker);
    if (job === undefined || worker.headId === job.id) return;
    worker.headId = job.id;
    if (job.stop !== null) {
      this.#startGrace(worker, job, now);
      return;
    }
    const limit = Math.min(
      worker.policies.get(job.name)?.timeoutMs ?? Number.POSITIVE_INFINITY,
      job.options.timeoutMs ?? Number.POSITIVE_INFINITY,
    );
    if (limit === Number.POSITIVE_INFINITY) return;
    const { tries } = job;
    this.#timers.add({
      at: now + limit,
      isAlive: () => job.worker === worker && job.tries === tries && job.stop === null,
      fire: (at) => this.stop(job, { code: "TIMEOUT", message: `it ran longer than ${limit} ms` }, at),
    });
  }

  /** From the abort signal to the kill. */
  #startGrace(worker: Worker, job: Job, now: number): void {
    this.#timers.add({
      at: now + (worker.policies.get(job.name)?.graceMs ?? abortGraceMs),
      isAlive: () => job.worker === worker && worker.retired !== "killed",
      fire: (at) => this.#overrun(worker, job, at),
    });
  }

  #overrun(worker: Worker, job: Job, now: number): Effect[] {
    const why = `${job.name} did not let go after ${job.stop?.code ?? "its abort signal"}`;
    if (worker.ready.supervised === true) {
      worker.retired = "killed";
      return [{ to: "supervisor", type: "kill", pid: worker.ready.pid, why }];
    }
    // Nobody here can kill it. Its requestor must not wait for it all the same, and no other job should.
    this.workers.release(worker, job.id);
    worker.stuckOn = job.id;
    return [
      { to: "log", line: `worker ${worker.ready.id} cannot be killed from here: ${why}` },
      ...this.#end(job, null, now),
    ];
  }

  /** A job whose worker died while it may have been running. */
  #cutOff(worker: Worker, job: Job, why: string, now: number): Effect[] {
    const again = idempotence(worker.policies.get(job.name));
    if (job.stop === null && job.kills >= killsMax) {
      const message = `${job.name} has killed its worker ${job.kills} times and is not tried again`;
      return this.#end(job, failure(this.requests.routerId, "POISONOUS", message), now);
    }
    if (job.stop === null && again !== null && job.tries + 1 < again.tries)
      return this.#tryAgain(job, again.backoffMs, now);
    const message = `worker ${worker.ready.id} was lost (${why}) while ${job.name} may have been running`;
    return this.#end(job, failure(this.requests.routerId, "INTERRUPTED", message), now);
  }

  #tryAgain(job: Job, backoffMs: number, now: number): Effect[] {
    if (job.expiresAt <= now)
      return this.#endUnheld(job, { code: "EXPIRED", message: "there is no time left for another try" }, now);
    this.statistics.retried++;
    job.tries++;
    job.state = "waiting";
    this.#unheld.add(job);
    this.#watchExpiry(job);
    // Between half and all of it: what failed together is not tried again together.
    const delayMs = Math.min(backoffMs * 2 ** (job.tries - 1), retryBackoffMsMax) * (0.5 + this.random() / 2);
    this.#timers.add({
      at: now + delayMs,
      isAlive: () => job.state === "waiting",
      fire: () => {
        this.#enqueue(job);
        return [];
      },
    });
    return [];
  }

  /** In the order in which they were handed out. */
  #putBack(jobs: readonly Job[], now: number): Effect[] {
    const effects: Effect[] = [];
    for (const job of [...jobs].reverse()) {
      if (job.stop !== null) effects.push(...this.#end(job, null, now));
      else if (job.expiresAt <= now) effects.push(...this.#endUnheld(job, expired, now));
      else this.#enqueue(job, "first");
    }
    return effects;
  }

  #awaitOtherWord(worker: Worker, now: number): void {
    this.#timers.add({
      at: now + verdictMs,
      isAlive: () => this.workers.get(worker.key) === worker,
      fire: (at) => this.lose(worker, worker.begun === null ? "its connection is gone" : "its process has died", at),
    });
  }

  #endUnheld(job: Job, stop: Stop, now: number): Effect[] {
    if (job.state === "queued") this.queues.remove(job);
    job.stop = stop;
    return this.#end(job, null, now);
  }

  /** The one end of every job. A job that was told to end ends by what it was told. @param outcome null: by that alone */
  #end(job: Job, outcome: Outcome | null, now: number): Effect[] {
    this.#unheld.delete(job);
    job.state = "ended";
    const final =
      job.stop === null ? outcome : failure(outcome?.by ?? this.requests.routerId, job.stop.code, job.stop.message);
    if (final === null) throw new Error(`job ${job.id} has neither an outcome nor a reason to stop`);
    if (final.type === "ACK") this.statistics.done++;
    else this.statistics.fail(codeOf(final.body));
    return this.requests.settle(job, final, now);
  }
}
