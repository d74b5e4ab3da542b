/**
 * The jobs that no worker has: one queue for each name that a worker can serve, so that a job that
 * no worker can take holds up none in other queues. The bounds are for all queues together; jobs
 * that are delayed or wait for their next try count too.
 *
 * Within a queue the order is by rank: the time of acceptance, less a head start for each step of
 * priority. Equals are first in, first out. A job is overtaken only by jobs of higher priority that
 * come within their head start, so that none waits for ever.
 */
import { priorityHeadStartMs, queueBytesMax, queueJobsMax } from "../limits.ts";
import type { Policy } from "../protocol/policy.ts";
import { Fifo, Multimap } from "./collections.ts";
import { urgentPriority, waitingPriority } from "./job.ts";
import type { BrokerState, Draft, Job, QueueLevel } from "./state.ts";

/** ms, longer than any job waits: safe stops are first, then jobs that preempt. */
const urgentHeadStartMs = 1e12;

export const rankOf = (job: Job): number => {
  const priority = waitingPriority(job);
  const urgency = Math.floor(priority / urgentPriority);
  return job.place.at - priority * priorityHeadStartMs - urgency * urgentHeadStartMs;
};

export class JobQueues {
  readonly #queues: BrokerState["queues"] = new Map();
  readonly #waiting: BrokerState["waiting"] = new Map();
  readonly #publications: BrokerState["publications"] = new Map();
  #bytes = 0;

  get jobs(): number {
    return this.#waiting.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  [Symbol.iterator](): IterableIterator<Job> {
    return this.#waiting.values();
  }

  /** A waiting job by its number. */
  get(id: number): Job | undefined {
    return this.#waiting.get(id);
  }

  /** Returns true if so many more may wait. */
  hasRoom(jobs: number, bytes: number): boolean {
    return this.jobs + jobs <= queueJobsMax && this.#bytes + bytes <= queueBytesMax;
  }

  push(job: Job): void {
    this.#add(job, "queued");
    this.#levelOf(job).push(job);
    if (job.publisher !== undefined) this.#publications.set(job.name, job);
  }

  /** Puts a job to its place, before all that were accepted later, whatever the bounds. */
  putBack(job: Job): void {
    this.#add(job, "queued");
    this.#levelOf(job).insert(job, ({ place }) => place.id > job.place.id);
  }

  /** Keeps a job that must not be dispatched before it is pushed or put back. */
  park(job: Job, state: "delayed" | "retrying"): void {
    this.#add(job, state);
  }

  /** Names of the queues that have jobs to dispatch. */
  names(): IterableIterator<string> {
    return this.#queues.keys();
  }

  /** The newest waiting publication of a topic. */
  publicationOf(topic: string): Job | undefined {
    return this.#publications.get(topic);
  }

  first(name: string): Job | undefined {
    let best: Job | undefined;
    let bestRank = Number.POSITIVE_INFINITY;
    // Equal ranks are ordered by priority, the higher one first.
    for (const { jobs } of this.#queues.get(name) ?? []) {
      const job = jobs.first;
      if (job === undefined) continue;
      const rank = rankOf(job);
      if (rank < bestRank) {
        best = job;
        bestRank = rank;
      }
    }
    return best;
  }

  /** Does nothing if the job does not wait. */
  remove(job: Job): void {
    const isQueued = job.state === "queued";
    if ((!isQueued && !isParked(job)) || !this.#waiting.delete(job.id)) return;
    this.#bytes -= job.bytes;
    if (job.publisher !== undefined && this.#publications.get(job.name) === job) this.#publications.delete(job.name);
    if (!isQueued) return;
    this.#levelOf(job).remove(job);
    // An empty queue must not stay: names come from workers, and workers come and go.
    if (this.#queues.get(job.queue)?.every(({ jobs }) => jobs.length === 0)) this.#queues.delete(job.queue);
  }

  /** After a reload waiting jobs of tasks follow the new policies; safe stops do not. */
  revise(policyOf: (task: string) => Policy | undefined): void {
    for (const job of [...this.#waiting.values()]) {
      const policy = job.kind === "task" ? policyOf(job.name) : undefined;
      if (policy === undefined || JSON.stringify(policy) === JSON.stringify(job.policy)) continue;
      if (isParked(job)) {
        job.policy = policy;
        continue;
      }
      // Its place among the others may depend on the policy.
      this.remove(job);
      job.policy = policy;
      this.putBack(job);
    }
  }

  /** Topics have other data workers: jobs that wait follow them. */
  reroute(queueOf: (topic: string) => string | undefined): void {
    for (const job of [...this.#waiting.values()]) {
      const queue = job.kind === "put" || job.kind === "get" ? queueOf(job.name) : undefined;
      if (queue === undefined || queue === job.queue || job.state !== "queued") continue;
      const isNewest = this.#publications.get(job.name) === job;
      this.remove(job);
      job.queue = queue;
      this.putBack(job);
      if (isNewest) this.#publications.set(job.name, job);
    }
  }

  depth(name: string): number {
    let depth = 0;
    for (const { jobs } of this.#queues.get(name) ?? []) depth += jobs.length;
    return depth;
  }

  #add(job: Job, state: "delayed" | "queued" | "retrying"): void {
    if (!this.#waiting.has(job.id)) this.#bytes += job.bytes;
    this.#waiting.set(job.id, job);
    job.state = state;
  }

  /** Most queues never have more than one level. */
  #levelOf(job: Job): Fifo<Job> {
    let levels = this.#queues.get(job.queue);
    if (levels === undefined) {
      levels = [];
      this.#queues.set(job.queue, levels);
    }
    const priority = waitingPriority(job);
    for (const level of levels) if (level.priority === priority) return level.jobs;
    const level: QueueLevel = { priority, jobs: new Fifo() };
    levels.push(level);
    levels.sort((a, b) => b.priority - a.priority);
    return level.jobs;
  }
}

const isParked = ({ state }: Job): boolean => state === "delayed" || state === "retrying";

/**
 * Jobs with the option `latest` that have not ended: of one task and key only the newest is wanted.
 */
export class LatestJobs {
  readonly #jobs: BrokerState["latest"] = new Multimap();

  /** The jobs that this one supersedes: at most one that waits, and those that workers have. */
  olderThan(draft: Draft): Job[] {
    return draft.options.latest === undefined ? [] : [...this.#jobs.get(latestKeyOf(draft))];
  }

  add(job: Job): void {
    if (job.options.latest !== undefined) this.#jobs.add(latestKeyOf(job), job);
  }

  delete(job: Job): void {
    if (job.options.latest !== undefined) this.#jobs.delete(latestKeyOf(job), job);
  }
}

/** The name of a task has no space. */
const latestKeyOf = ({ name, options: { latest } }: Draft): string =>
  `${name} ${typeof latest === "object" ? latest.key : latest}`;
