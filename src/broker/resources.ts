/**
 * Who holds what only one job may hold at a time. A job takes all that it needs when it begins, or nothing. What it held is free
 * again once it has ended and is known to be safe; until then what makes it safe holds it, too.
 */
import { type Job, resourcesOf } from "./job.ts";
import { Multimap } from "./multimap.ts";

export class Resources {
  readonly #holders = new Multimap<string, Job>();

  /** Every one that is held, and by whom. */
  [Symbol.iterator](): IterableIterator<[string, ReadonlySet<Job>]> {
    return this.#holders[Symbol.iterator]();
  }

  holdersOf(resource: string): ReadonlySet<Job> {
    return this.#holders.get(resource);
  }

  take(job: Job): void {
    for (const resource of resourcesOf(job)) this.#holders.add(resource, job);
  }

  release(job: Job): void {
    for (const resource of resourcesOf(job)) this.#holders.delete(resource, job);
  }
}
