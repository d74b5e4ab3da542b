/**
 * The jobs that no worker has: one queue for each thing that a worker can serve, bounded as a whole. A job that no worker
 * can take so holds up none behind it in another queue. Those that wait for their next try count too.
 *
 * Within a queue the order is by rank: when a job was accepted, less a head start for each step of priority. Among equals
 * that is first in, first out; a job of low priority is overtaken by those of higher priority that come within their head
 * start, and by no later ones, so that none waits for ever.
 */
import { priorityHeadStartMs, queueBytesMax, queueJobsMax } from "../limits.ts";
import type { Policy } from "../protocol/policy.ts";
import { Fifo } from "./fifo.ts";
import { type Job, urgentPriority, waitingPriority } from "./job.ts";

/** ms. Longer than anything waits: what is urgent is before all that is not, and what makes safe before that. */
const urgentHeadStartMs = 1e12;

export const rankOf = (job: Job): number => {
  const priority = waitingPriority(job);
  const urgency = Math.floor(priority / urgentPriority);
  return job.place.at - priority * priorityHeadStartMs - urgency * urgentHeadStartMs;
};

class PriorityQueue {
  /** By priority, the highest first; most are never needed. */
  readonly #levels: { readonly priority: number; readonly jobs: Fifo<Job> }[] = [];
  length = 0;

  push(job: Job): void {
    this.#levelOf(job).push(job);
    this.length++;
  }

  /** To its place: before all that were accepted later, whose ids are higher. */
  putBack(job: Job): void {
    this.#levelOf(job).insert(job, ({ place }) => place.id > job.place.id);
    this.length++;
  }

  get first(): Job | undefined {
    return this.#firstLevel()?.first;
  }

  remove(job: Job): void {
    if (this.#levelOf(job).remove(job)) this.length--;
  }

  #levelOf(job: Job): Fifo<Job> {
    const priority = waitingPriority(job);
    for (const level of this.#levels) if (level.priority === priority) return level.jobs;
    const jobs = new Fifo<Job>();
    this.#levels.push({ priority, jobs });
    this.#levels.sort((a, b) => b.priority - a.priority);
    return jobs;
  }

  #firstLevel(): Fifo<Job> | undefined {
    let best: Fifo<Job> | undefined;
    let bestRank = Number.POSITIVE_INFINITY;
    // Of equal ranks the higher priority is first.
    for (const { jobs } of this.#levels) {
      const job = jobs.first;
      if (job === undefined) continue;
      const rank = rankOf(job);
      if (rank < bestRank) {
        best = jobs;
        bestRank = rank;
      }
    }
    return best;
  }
}

export class JobQueues {
  readonly #queues = new Map<string, PriorityQueue>();
  readonly #jobs = new Set<Job>();
  /** The newest publication of each topic, of those that wait. */
  readonly #publications = new Map<string, Job>();
  #bytes = 0;

  get jobs(): number {
    return this.#jobs.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  [Symbol.iterator](): IterableIterator<Job> {
    return this.#jobs.values();
  }

  /** Whether so much more may wait. */
  hasRoom(jobs: number, bytes: number): boolean {
    return this.jobs + jobs <= queueJobsMax && this.#bytes + bytes <= queueBytesMax;
  }

  push(job: Job): void {
    this.#add(job, "queued");
    this.#queue(job).push(job);
    if (job.publisher !== undefined) this.#publications.set(job.name, job);
  }

  /** Puts a job to a place that was there before, its own or the one that it has taken, so the bounds do not turn it away. */
  putBack(job: Job): void {
    this.#add(job, "queued");
    this.#queue(job).putBack(job);
  }

  /** Keeps a job that is not to be handed out before it is put back. It had its place, too. */
  park(job: Job): void {
    this.#add(job, "waiting");
  }

  /** The names of the queues from which something could be handed out. */
  *names(): Generator<string, void, undefined> {
    yield* this.#queues.keys();
  }

  /** The newest one of a topic that waits; undefined for none. */
  publicationOf(topic: string): Job | undefined {
    return this.#publications.get(topic);
  }

  first(name: string): Job | undefined {
    return this.#queues.get(name)?.first;
  }

  /** False where it was neither queued nor parked. */
  remove(job: Job): boolean {
    // What a worker has, and what has ended, is not here.
    if (job.state === "held" || job.state === "ended" || !this.#jobs.delete(job)) return false;
    this.#bytes -= job.bytes;
    if (job.publisher !== undefined && this.#publications.get(job.name) === job) this.#publications.delete(job.name);
    const queue = job.state === "queued" ? this.#queues.get(job.queue) : undefined;
    queue?.remove(job);
    // An empty queue must not stay: names come from workers, and workers come and go.
    if (queue?.length === 0) this.#queues.delete(job.queue);
    return true;
  }

  /** The tasks' definitions have been read anew: what waits needs what they say now, and is made safe as they say now. */
  revise(policyOf: (task: string) => Policy | undefined): void {
    for (const job of [...this.#jobs]) {
      const policy = job.kind === "task" ? policyOf(job.name) : undefined;
      if (policy === undefined || JSON.stringify(policy) === JSON.stringify(job.policy)) continue;
      const isParked = job.state === "waiting";
      // Its place among the others may depend on it.
      this.remove(job);
      job.policy = policy;
      if (isParked) this.park(job);
      else this.putBack(job);
    }
  }

  depth(name: string): number {
    return this.#queues.get(name)?.length ?? 0;
  }

  #add(job: Job, state: "queued" | "waiting"): void {
    if (!this.#jobs.has(job)) this.#bytes += job.bytes;
    this.#jobs.add(job);
    job.state = state;
  }

  #queue(job: Job): PriorityQueue {
    let queue = this.#queues.get(job.queue);
    if (queue === undefined) {
      queue = new PriorityQueue();
      this.#queues.set(job.queue, queue);
    }
    return queue;
  }
}
