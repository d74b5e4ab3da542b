/**
 * The jobs that wait: one first-in-first-out queue for each thing that a worker can serve, bounded as a whole.
 * A job that no worker can take holds up none behind it in another queue.
 */
import { queueBytesMax, queueJobsMax } from "../limits.ts";
import { Fifo } from "./fifo.ts";
import type { Job } from "./job.ts";

export class JobQueues {
  readonly #queues = new Map<string, Fifo<Job>>();
  #jobs = 0;
  #bytes = 0;

  get jobs(): number {
    return this.#jobs;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** False, and nothing changed, where the job would go over a limit. */
  push(job: Job): boolean {
    if (this.#jobs >= queueJobsMax || this.#bytes + job.body.length > queueBytesMax) return false;
    let queue = this.#queues.get(job.queue);
    if (queue === undefined) {
      queue = new Fifo();
      this.#queues.set(job.queue, queue);
    }
    queue.push(job);
    this.#jobs++;
    this.#bytes += job.body.length;
    return true;
  }

  /** The names of the queues in which something waits. */
  *waiting(): Generator<string, void, undefined> {
    for (const [name, queue] of this.#queues) if (queue.first !== undefined) yield name;
  }

  first(name: string): Job | undefined {
    return this.#queues.get(name)?.first;
  }

  shift(name: string): Job | undefined {
    const queue = this.#queues.get(name);
    const job = queue?.shift();
    if (job === undefined) return undefined;
    this.#jobs--;
    this.#bytes -= job.body.length;
    // A queue nobody uses any more must not stay: names come from workers, and workers come and go.
    if (queue?.first === undefined) this.#queues.delete(name);
    return job;
  }

  depth(name: string): number {
    return this.#queues.get(name)?.length ?? 0;
  }

  /** Takes out everything. */
  clear(): Job[] {
    const jobs: Job[] = [];
    for (const name of [...this.#queues.keys()]) {
      for (let job = this.shift(name); job !== undefined; job = this.shift(name)) jobs.push(job);
    }
    return jobs;
  }
}
