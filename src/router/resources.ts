/**
 * Who holds what only one job may hold at a time. A job takes all that it needs when it begins, or nothing. What it held is free
 * again once it has ended and is known to be safe; until then what makes it safe holds it, too.
 */
import { type Job, resourcesOf } from "./job.ts";

export class Resources {
  /** No resource has an empty set. */
  readonly #holders = new Map<string, Set<Job>>();

  /** Every one that is held, and by whom. */
  [Symbol.iterator](): IterableIterator<[string, ReadonlySet<Job>]> {
    return this.#holders.entries();
  }

  holdersOf(resource: string): ReadonlySet<Job> {
    return this.#holders.get(resource) ?? nobody;
  }

  take(job: Job): void {
    for (const resource of resourcesOf(job)) {
      const holders = this.#holders.get(resource);
      if (holders === undefined) this.#holders.set(resource, new Set([job]));
      else holders.add(job);
    }
  }

  release(job: Job): void {
    for (const resource of resourcesOf(job)) {
      const holders = this.#holders.get(resource);
      holders?.delete(job);
      if (holders?.size === 0) this.#holders.delete(resource);
    }
  }
}

const nobody: ReadonlySet<Job> = new Set();
