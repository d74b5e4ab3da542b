/**
 * The jobs that wait: one queue for each thing that a worker can serve, bounded as a whole. A job that no worker can take
 * so holds up none behind it in another queue.
 *
 * Within a queue the order is by rank: when a job was accepted, less a head start for each step of priority. Among equals
 * that is first in, first out; a job of low priority is overtaken by those of higher priority that come within their head
 * start, and by no later ones, so that none waits for ever.
 */
import { priorityHeadStartMs, priorityMax, queueBytesMax, queueJobsMax } from "../limits.ts";
import { Fifo } from "./fifo.ts";
import type { Job } from "./job.ts";

export const rankOf = (acceptedAt: number, priority: number): number => acceptedAt - priority * priorityHeadStartMs;

class PriorityQueue {
  readonly #levels = Array.from({ length: priorityMax + 1 }, () => new Fifo<Job>());
  length = 0;

  push(job: Job): void {
    this.#level(job.priority)?.push(job);
    this.length++;
  }

  /** Back where it was: before all that were accepted later. */
  unshift(job: Job): void {
    this.#level(job.priority)?.unshift(job);
    this.length++;
  }

  get first(): Job | undefined {
    return this.#firstLevel()?.first;
  }

  shift(): Job | undefined {
    const job = this.#firstLevel()?.shift();
    if (job !== undefined) this.length--;
    return job;
  }

  remove(job: Job): boolean {
    if (this.#level(job.priority)?.remove(job) !== true) return false;
    this.length--;
    return true;
  }

  #level(priority: number): Fifo<Job> | undefined {
    return this.#levels[priority];
  }

  #firstLevel(): Fifo<Job> | undefined {
    let best: Fifo<Job> | undefined;
    let bestRank = Number.POSITIVE_INFINITY;
    // From the highest priority down: of equal ranks the higher priority is first.
    for (let priority = priorityMax; priority >= 0; priority--) {
      const level = this.#levels[priority];
      const job = level?.first;
      if (job === undefined) continue;
      const rank = rankOf(job.acceptedAt, priority);
      if (rank < bestRank) {
        best = level;
        bestRank = rank;
      }
    }
    return best;
  }
}

export class JobQueues {
  readonly #queues = new Map<string, PriorityQueue>();
  #jobs = 0;
  #bytes = 0;

  get jobs(): number {
    return this.#jobs;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Whether so much more may wait. */
  hasRoom(jobs: number, bytes: number): boolean {
    return this.#jobs + jobs <= queueJobsMax && this.#bytes + bytes <= queueBytesMax;
  }

  push(job: Job): void {
    this.#queue(job).push(job);
    this.#count(job, 1);
  }

  /** Puts back a job that was taken out and has not begun. It had its place, so the bounds do not turn it away. */
  putBack(job: Job): void {
    this.#queue(job).unshift(job);
    this.#count(job, 1);
  }

  /** The names of the queues in which something waits. */
  *waiting(): Generator<string, void, undefined> {
    yield* this.#queues.keys();
  }

  first(name: string): Job | undefined {
    return this.#queues.get(name)?.first;
  }

  shift(name: string): Job | undefined {
    const queue = this.#queues.get(name);
    const job = queue?.shift();
    if (job !== undefined) this.#removed(job, queue);
    return job;
  }

  remove(job: Job): boolean {
    const queue = this.#queues.get(job.queue);
    if (queue?.remove(job) !== true) return false;
    this.#removed(job, queue);
    return true;
  }

  depth(name: string): number {
    return this.#queues.get(name)?.length ?? 0;
  }

  #queue(job: Job): PriorityQueue {
    let queue = this.#queues.get(job.queue);
    if (queue === undefined) {
      queue = new PriorityQueue();
      this.#queues.set(job.queue, queue);
    }
    return queue;
  }

  #removed(job: Job, queue: PriorityQueue | undefined): void {
    this.#count(job, -1);
    // An empty queue must not stay: names come from workers, and workers come and go.
    if (queue?.length === 0) this.#queues.delete(job.queue);
  }

  #count(job: Job, sign: 1 | -1): void {
    this.#jobs += sign;
    this.#bytes += sign * job.body.length;
  }
}
