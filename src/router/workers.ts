/**
 * The workers that have said READY, what each of them holds, and who gets the next job.
 * Flow goes by credit: a worker holds one job, or several that are expected to be done within `workerCreditMs` together.
 * Short tasks so stream without a round trip between them, and a long one never has others piled up behind it.
 */
import { workerCreditMax, workerCreditMs } from "../limits.ts";
import type { ReadyHeader } from "../wire/backend.ts";
import { dataQueue, type Job, taskQueue } from "./job.ts";

export interface Worker {
  /** Its routing id at the backend, as a string. */
  readonly key: string;
  readonly ready: ReadyHeader;
  readonly queues: readonly string[];
  /** What it was handed and has not answered, in that order, with the ms that each was expected to take then. */
  readonly jobs: Map<number, { readonly job: Job; readonly expectedMs: number }>;
  expectedMs: number;
  heardAt: number;
}

/** How much the newest run counts in a queue's expected run time. */
const newestShare = 0.2;

export class Workers {
  readonly #byKey = new Map<string, Worker>();
  readonly #byQueue = new Map<string, Worker[]>();
  readonly #expectedMs = new Map<string, number>();

  get size(): number {
    return this.#byKey.size;
  }

  [Symbol.iterator](): IterableIterator<Worker> {
    return this.#byKey.values();
  }

  get(key: string): Worker | undefined {
    return this.#byKey.get(key);
  }

  add(key: string, ready: ReadyHeader, now: number): Worker {
    const queues = ready.role === "data" ? [dataQueue(ready.endpoint)] : ready.tasks.map(taskQueue);
    const worker: Worker = { key, ready, queues, jobs: new Map(), expectedMs: 0, heardAt: now };
    this.#byKey.set(key, worker);
    for (const queue of queues) {
      const serving = this.#byQueue.get(queue);
      if (serving === undefined) this.#byQueue.set(queue, [worker]);
      else serving.push(worker);
    }
    return worker;
  }

  remove(worker: Worker): void {
    this.#byKey.delete(worker.key);
    for (const queue of worker.queues) {
      const rest = (this.#byQueue.get(queue) ?? []).filter((other) => other !== worker);
      if (rest.length > 0) this.#byQueue.set(queue, rest);
      else {
        this.#byQueue.delete(queue);
        this.#expectedMs.delete(queue);
      }
    }
  }

  serving(queue: string): readonly Worker[] {
    return this.#byQueue.get(queue) ?? [];
  }

  /** The worker that holds the least of those that may take one more job of this queue. */
  free(queue: string): Worker | undefined {
    const expectedMs = this.#expectedMs.get(queue) ?? Number.POSITIVE_INFINITY;
    let best: Worker | undefined;
    for (const worker of this.serving(queue)) {
      const held = worker.jobs.size;
      const fits = held === 0 || (held < workerCreditMax && worker.expectedMs + expectedMs <= workerCreditMs);
      if (fits && (best === undefined || held < best.jobs.size)) best = worker;
    }
    return best;
  }

  assign(worker: Worker, job: Job): void {
    const expectedMs = this.#expectedMs.get(job.queue) ?? Number.POSITIVE_INFINITY;
    worker.jobs.set(job.id, { job, expectedMs });
    worker.expectedMs += expectedMs;
  }

  /** Takes a job that has ended, after `ms`, from its worker; undefined where that worker does not hold it. */
  finish(worker: Worker, id: number, ms: number): Job | undefined {
    const held = worker.jobs.get(id);
    if (held === undefined) return undefined;
    worker.jobs.delete(id);
    // A job of unknown length is only ever held alone, so nothing infinite is subtracted; rounding errors end with the last job.
    worker.expectedMs = worker.jobs.size === 0 ? 0 : worker.expectedMs - held.expectedMs;
    const { queue } = held.job;
    const known = this.#expectedMs.get(queue);
    this.#expectedMs.set(queue, known === undefined ? ms : known + (ms - known) * newestShare);
    return held.job;
  }
}
