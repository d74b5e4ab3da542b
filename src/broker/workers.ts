/**
 * The workers, the jobs that each of them holds, and the choice of the worker for the next job.
 *
 * Jobs flow by credit: a worker holds one job, or several that are expected to be done within
 * `workerCreditMs` together. So short jobs stream without a round trip between them, and no jobs
 * pile up behind a long one. A worker runs its jobs in the order in which it got them, so only the
 * first of them runs.
 */
import { workerCreditMax, workerCreditMs, workerTasksMax } from "../limits.ts";
import type { ReadyHeader } from "../protocol/backend.ts";
import type { Policy } from "../protocol/policy.ts";
import type { SourceReport } from "../protocol/reports.ts";
import type { NamedPolicy } from "./events.ts";
import { dataQueue, runsAlone, safeQueue, taskQueue } from "./job.ts";
import type { BrokerState, GoneWorker, Job, Worker } from "./state.ts";

const languageOf = ({ language = "typescript" }: ReadyHeader): string => language;

/** Weight of the newest run in the expected run time of a queue. */
const newestShare = 0.2;
/** A job of a task that has never run is dispatched alone. */
const unknownMs = Number.POSITIVE_INFINITY;

export class Workers {
  readonly #byKey: BrokerState["workers"] = new Map();
  readonly #serving: BrokerState["serving"] = new Map();
  readonly #expectedMs: BrokerState["expectedMs"] = new Map();
  /** The tasks that were lost first come first. */
  readonly #gone: BrokerState["gone"] = new Map();

  readonly #sources: BrokerState["sources"] = new Map();

  /** The engine has started a task worker, and starts it again if it dies. */
  hasOwn = false;

  get size(): number {
    return this.#byKey.size;
  }

  [Symbol.iterator](): IterableIterator<Worker> {
    return this.#byKey.values();
  }

  get(key: string): Worker | undefined {
    return this.#byKey.get(key);
  }

  /** A job that some worker holds, by its number. */
  holding(id: number): Job | undefined {
    for (const { held } of this) {
      const found = held.get(id);
      if (found !== undefined) return found.job;
    }
    return undefined;
  }

  add(key: string, user: string | null, ready: ReadyHeader, now: number): Worker {
    const tasks = (ready.role === "source" ? [] : ready.tasks).map(
      (task): NamedPolicy => (typeof task === "string" ? { name: task } : task),
    );
    const policies = new Map<string, Policy>(tasks.map(({ name, schema: _, ...policy }) => [name, policy]));
    const worker: Worker = {
      key,
      user,
      ready,
      queues: ready.role === "data" ? [dataQueue(ready.endpoint)] : [...policies].flatMap(queuesOf),
      policies,
      held: new Map(),
      head: undefined,
      expectedMs: 0,
      givenUp: new Map(),
      heardAt: now,
      sources: noReports,
      store: null,
      isConnected: true,
      wantsOwners: false,
      retired: null,
      dismissal: null,
      lastBegunJobId: null,
    };
    this.#byKey.set(key, worker);
    if (ready.role === "source") this.#sources.set(languageOf(ready), ready);
    this.hasOwn ||= ready.supervised === true && ready.role === "task";
    for (const task of policies.keys()) this.#gone.delete(task);
    for (const queue of worker.queues) {
      const serving = this.#serving.get(queue);
      if (serving === undefined) this.#serving.set(queue, [worker]);
      else serving.push(worker);
    }
    return worker;
  }

  remove(worker: Worker, why: string, now: number): void {
    this.#byKey.delete(worker.key);
    for (const queue of worker.queues) {
      const rest = this.serving(queue).filter((other) => other !== worker);
      if (rest.length > 0) this.#serving.set(queue, rest);
      else {
        this.#serving.delete(queue);
        this.#expectedMs.delete(queue);
      }
    }
    // The supervisor says which tasks of the engine there are, also while no worker serves them.
    for (const task of worker.ready.supervised === true ? [] : worker.policies.keys()) {
      if (this.serving(taskQueue(task)).length > 0) continue;
      this.#gone.delete(task);
      this.#gone.set(task, { worker: worker.ready.id, why, at: now });
    }
    for (const task of this.#gone.keys()) if (this.#gone.size > workerTasksMax) this.#gone.delete(task);
  }

  /**
   * A source worker that leaves has no sources any more, unless another one has taken its place.
   */
  forgetSources(ready: ReadyHeader): void {
    const language = languageOf(ready);
    if (this.#sources.get(language) === ready) this.#sources.delete(language);
  }

  /**
   * The topics of sources that must have a value each `staleMs`. Those of a worker that has died go
   * stale.
   */
  get staleness(): { readonly topic: string; readonly staleMs: number }[] {
    return [...this.#sources.values()].flatMap(({ sources = [] }) =>
      sources.flatMap(({ topic, staleMs }) => (staleMs === undefined ? [] : [{ topic, staleMs }])),
    );
  }

  goneOf(task: string): GoneWorker | undefined {
    return this.#gone.get(task);
  }

  get hasGone(): boolean {
    return this.#gone.size > 0;
  }

  /**
   * After a reload of the task files: a task that no worker serves is none of this engine any more.
   */
  forgetGone(): void {
    this.#gone.clear();
  }

  /** Names of the tasks that a worker serves, or that one served until it was gone. */
  get tasks(): string[] {
    return [...[...this].flatMap(({ policies }) => [...policies.keys()]), ...this.#gone.keys()];
  }

  serving(queue: string): readonly Worker[] {
    return this.#serving.get(queue) ?? [];
  }

  /** Returns true if a worker will take from this queue as soon as it has time. */
  canServe(queue: string): boolean {
    return this.serving(queue).some(isTaking);
  }

  /** The worker for this job that is expected to be idle first. @param reserved take none */
  nearestFor(job: Job, reserved: ReadonlySet<Worker>): Worker | undefined {
    let best: Worker | undefined;
    for (const worker of this.serving(job.queue)) {
      if (!isTaking(worker) || reserved.has(worker)) continue;
      if (best === undefined || worker.expectedMs < best.expectedMs) best = worker;
    }
    return best;
  }

  /** The worker that may take this job now and holds the fewest. @param reserved take none */
  freeFor(job: Job, reserved: ReadonlySet<Worker> = noWorkers): Worker | undefined {
    const expectedMs = this.#expected(job);
    let best: Worker | undefined;
    for (const worker of this.serving(job.queue)) {
      if (!isTaking(worker) || reserved.has(worker)) continue;
      const count = worker.held.size;
      const fits = count === 0 || (count < workerCreditMax && worker.expectedMs + expectedMs <= workerCreditMs);
      if (fits && (best === undefined || count < best.held.size)) best = worker;
    }
    return best;
  }

  /**
   * Expected ms of a job that is to begin at this worker, after what waits for that already; null
   * if that is enough for now.
   */
  claimMs(worker: Worker, job: Job, waiting: { readonly count: number; readonly expectedMs: number }): number | null {
    const expectedMs = this.#expected(job);
    const count = worker.held.size + waiting.count;
    const fits = worker.expectedMs + waiting.expectedMs + expectedMs <= workerCreditMs && count < workerCreditMax;
    return count === 0 || fits ? expectedMs : null;
  }

  assign(worker: Worker, job: Job): void {
    const expectedMs = this.#expected(job);
    worker.held.set(job.id, { job, expectedMs });
    worker.expectedMs += expectedMs;
    job.state = "dispatched";
    job.worker = worker;
  }

  /** Takes a job from its worker; undefined if that worker does not hold it. */
  release(worker: Worker, id: number): Job | undefined {
    const held = worker.held.get(id);
    if (held === undefined) return undefined;
    worker.held.delete(id);
    // A job of unknown length is held alone, so nothing infinite is subtracted.
    worker.expectedMs = worker.held.size === 0 ? 0 : worker.expectedMs - held.expectedMs;
    held.job.worker = null;
    return held.job;
  }

  /** Learns the run time of a job of this queue. */
  learn(queue: string, ms: number): void {
    const known = this.#expectedMs.get(queue);
    this.#expectedMs.set(queue, known === undefined ? ms : known + (ms - known) * newestShare);
  }

  #expected(job: Job): number {
    // A job that has killed a worker is kept apart from other jobs.
    return job.kills > 0 || runsAlone(job) ? unknownMs : (this.#expectedMs.get(job.queue) ?? unknownMs);
  }
}

const isTaking = ({ retired, givenUp }: Worker): boolean => retired === null && givenUp.size === 0;

const noWorkers: ReadonlySet<Worker> = new Set();
const noReports: ReadonlyMap<string, SourceReport> = new Map();

const queuesOf = ([name, { onStop }]: readonly [string, Policy]): string[] =>
  onStop === true ? [taskQueue(name), safeQueue(name)] : [taskQueue(name)];
