/**
 * The workers that have said READY, what each of them holds, and who gets the next job.
 *
 * Flow goes by credit: a worker holds one job, or several that are expected to be done within `workerCreditMs` together.
 * Short tasks so stream without a round trip between them, and a long one never has others piled up behind it. A worker
 * runs what it holds in the order in which it got it, so only the first of them runs.
 */
import { abortGraceMs, workerCreditMax, workerCreditMs, workerTasksMax } from "../limits.ts";
import type { ReadyHeader } from "../protocol/backend.ts";
import type { Policy } from "../protocol/policy.ts";
import { dataQueue, type Job, safeQueue, taskQueue } from "./job.ts";

/** One hand-over of one job; a job that comes back and is handed over again has another. */
export interface Held {
  readonly job: Job;
  readonly expectedMs: number;
  /** It has let go, and its task's `onStop` runs. */
  isSafing: boolean;
}

export interface Worker {
  /** Its routing id at the backend, as a string. */
  readonly key: string;
  /** The name that its key is known by; null where nobody is known. */
  readonly user: string | null;
  readonly ready: ReadyHeader;
  readonly queues: readonly string[];
  readonly policies: ReadonlyMap<string, Policy>;
  /** What it was handed and has not answered, in that order, with the ms that each was expected to take then. */
  readonly held: Map<number, Held>;
  expectedMs: number;
  /** The one whose limits count already: the first of `held`, which runs, by what the router knows. */
  head: Held | undefined;
  heardAt: number;
  isConnected: boolean;
  /** Why it gets no more: it is leaving, its process has died or is to be killed, its connection is gone. */
  retired: "leaving" | "killed" | "lost" | null;
  /**
   * Jobs, by their ids, that were answered in its place, since it did not let go of them: until it has of all, it gets no other, and
   * what they hold stays held.
   */
  readonly givenUp: Map<number, Job>;
  /** Why it is told REFUSED in place of GOODBYE when it has left; null where it wanted to leave. */
  dismissal: string | null;
  /** What the supervisor said at its death: the last job it had begun, 0 for none. */
  begun: number | null;
}

/** How much the newest run counts in a queue's expected run time. */
const newestShare = 0.2;
/** Nothing is known of a task that has never run: it is handed over alone. */
const unknownMs = Number.POSITIVE_INFINITY;

/** Who has served a task last. */
export interface Gone {
  readonly worker: string;
  readonly why: string;
  readonly at: number;
}

export class Workers {
  readonly #byKey = new Map<string, Worker>();
  readonly #byQueue = new Map<string, Worker[]>();
  readonly #expectedMs = new Map<string, number>();
  /** Tasks that nobody serves any more, those first that were lost first. */
  readonly #gone = new Map<string, Gone>();

  /** There was one that the engine has started, and starts again where it dies. */
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

  add(key: string, user: string | null, ready: ReadyHeader, now: number): Worker {
    const tasks = ready.tasks.map((task) => (typeof task === "string" ? { name: task } : task));
    const policies = new Map<string, Policy>(tasks.map(({ name, ...policy }) => [name, policy]));
    const worker: Worker = {
      key,
      user,
      ready,
      queues: ready.role === "data" ? [dataQueue(ready.endpoint)] : [...policies].flatMap(queuesOf),
      policies,
      held: new Map(),
      expectedMs: 0,
      head: undefined,
      heardAt: now,
      isConnected: true,
      retired: null,
      givenUp: new Map(),
      dismissal: null,
      begun: null,
    };
    this.#byKey.set(key, worker);
    this.hasOwn ||= ready.supervised === true && ready.role === "task";
    for (const task of policies.keys()) this.#gone.delete(task);
    for (const queue of worker.queues) {
      const serving = this.#byQueue.get(queue);
      if (serving === undefined) this.#byQueue.set(queue, [worker]);
      else serving.push(worker);
    }
    return worker;
  }

  remove(worker: Worker, why: string, now: number): void {
    this.#byKey.delete(worker.key);
    for (const queue of worker.queues) {
      const rest = (this.#byQueue.get(queue) ?? []).filter((other) => other !== worker);
      if (rest.length > 0) this.#byQueue.set(queue, rest);
      else {
        this.#byQueue.delete(queue);
        this.#expectedMs.delete(queue);
      }
    }
    // Of the engine's own tasks the supervisor says which there are, be it that nobody serves them at present.
    for (const task of worker.ready.supervised === true ? [] : worker.policies.keys()) {
      if (this.serving(taskQueue(task)).length > 0) continue;
      this.#gone.delete(task);
      this.#gone.set(task, { worker: worker.ready.id, why, at: now });
    }
    for (const task of this.#gone.keys()) if (this.#gone.size > workerTasksMax) this.#gone.delete(task);
  }

  goneOf(task: string): Gone | undefined {
    return this.#gone.get(task);
  }

  get hasGone(): boolean {
    return this.#gone.size > 0;
  }

  goneTasks(): IterableIterator<string> {
    return this.#gone.keys();
  }

  /** The task files were read anew: what nobody serves then is none of this engine's any more. */
  forgetGone(): void {
    this.#gone.clear();
  }

  serving(queue: string): readonly Worker[] {
    return this.#byQueue.get(queue) ?? [];
  }

  /** Whether somebody will take from this queue as soon as there is time. */
  canServe(queue: string): boolean {
    return this.serving(queue).some(isTaking);
  }

  /** The worker that is expected to be idle first of those that serve this job. @param kept these are for others */
  nearestFor(job: Job, kept: ReadonlySet<Worker>): Worker | undefined {
    let best: Worker | undefined;
    for (const worker of this.serving(job.queue)) {
      if (!isTaking(worker) || kept.has(worker)) continue;
      if (best === undefined || worker.expectedMs < best.expectedMs) best = worker;
    }
    return best;
  }

  /** Names of all tasks that some worker serves. */
  *tasks(): Generator<string, void, undefined> {
    for (const worker of this) yield* worker.policies.keys();
  }

  /** The worker that holds the least of those that may take this job now. @param kept these are for others */
  freeFor(job: Job, kept: ReadonlySet<Worker> = nobody): Worker | undefined {
    const expectedMs = this.#expected(job);
    let best: Worker | undefined;
    for (const worker of this.serving(job.queue)) {
      if (!isTaking(worker) || kept.has(worker)) continue;
      const count = worker.held.size;
      const fits = count === 0 || (count < workerCreditMax && worker.expectedMs + expectedMs <= workerCreditMs);
      if (fits && (best === undefined || count < best.held.size)) best = worker;
    }
    return best;
  }

  assign(worker: Worker, job: Job): void {
    const expectedMs = this.#expected(job);
    worker.held.set(job.id, { job, expectedMs, isSafing: false });
    worker.expectedMs += expectedMs;
    job.state = "held";
    job.worker = worker;
  }

  /** Takes a job from its worker; undefined where that worker does not hold it. */
  release(worker: Worker, id: number): Job | undefined {
    const held = worker.held.get(id);
    if (held === undefined) return undefined;
    worker.held.delete(id);
    // A job of unknown length is only ever held alone, so nothing infinite is subtracted; rounding errors end with the last job.
    worker.expectedMs = worker.held.size === 0 ? 0 : worker.expectedMs - held.expectedMs;
    held.job.worker = null;
    return held.job;
  }

  /** Learns how long a job of this queue takes. */
  learn(queue: string, ms: number): void {
    const known = this.#expectedMs.get(queue);
    this.#expectedMs.set(queue, known === undefined ? ms : known + (ms - known) * newestShare);
  }

  #expected(job: Job): number {
    // What has killed a worker is kept from the rest.
    return job.kills > 0 || runsAlone(job) ? unknownMs : (this.#expectedMs.get(job.queue) ?? unknownMs);
  }
}

/**
 * Whether it is handed to an idle worker only: what makes safe must not wait behind others, nor must others wait behind what may
 * have to be made safe. Until that is, no job of its task may begin.
 */
export const runsAlone = ({ kind, policy }: Job): boolean => kind === "safe" || policy.onStop === true;

const isTaking = ({ retired, givenUp }: Worker): boolean => retired === null && givenUp.size === 0;

const nobody: ReadonlySet<Worker> = new Set();

const queuesOf = ([name, { onStop }]: readonly [string, Policy]): string[] =>
  onStop === true ? [taskQueue(name), safeQueue(name)] : [taskQueue(name)];

/** ms from the abort signal of one of its jobs until it is killed. */
export const graceOf = ({ policies }: Worker, { name }: Job): number => policies.get(name)?.graceMs ?? abortGraceMs;

/** What runs, by what the router knows: the first that its worker holds. */
export const headOf = (worker: Worker): Held | undefined => worker.held.values().next().value;

/** What a worker holds, in the order in which it got it. */
export const jobsOf = (worker: Worker): Job[] => [...worker.held.values()].map(({ job }) => job);
