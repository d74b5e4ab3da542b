/** Commands that replace one another: of all jobs of one task and key, only the newest is wanted. */
import type { Draft, Job, Stop } from "./job.ts";
import { Multimap } from "./multimap.ts";

export const superseded: Stop = { code: "SUPERSEDED", message: "a newer job has taken its place" };

export class Latest {
  /** Jobs that have not ended, by their task and key. */
  readonly #jobs = new Multimap<string, Job>();

  /** How many keys are in use. */
  get size(): number {
    return this.#jobs.size;
  }

  /** The jobs that one like this replaces: one that waits at most, and those that run. */
  before({ name, options }: Pick<Draft, "name" | "options">): Job[] {
    return options.latest === undefined ? [] : [...this.#jobs.get(keyOf(name, options.latest))];
  }

  note(job: Job): void {
    if (job.options.latest !== undefined) this.#jobs.add(keyOf(job.name, job.options.latest), job);
  }

  /** It has ended. */
  forget(job: Job): void {
    if (job.options.latest !== undefined) this.#jobs.delete(keyOf(job.name, job.options.latest), job);
  }
}

type Key = NonNullable<Draft["options"]["latest"]>;

/** A task's name has no space. */
const keyOf = (task: string, latest: Key): string => `${task} ${typeof latest === "string" ? latest : latest.key}`;
