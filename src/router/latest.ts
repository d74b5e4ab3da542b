/** Commands that replace one another: of all jobs of one task and key, only the newest is wanted. */
import type { Draft, Job } from "./job.ts";

export class Latest {
  /** Jobs that have not ended, by their task and key. */
  readonly #newest = new Map<string, Job>();

  /** The job that one like this would replace; undefined for none. */
  before({ name, options }: Pick<Draft, "name" | "options">): Job | undefined {
    return options.latest === undefined ? undefined : this.#newest.get(keyOf(name, options.latest));
  }

  note(job: Job): void {
    if (job.options.latest !== undefined) this.#newest.set(keyOf(job.name, job.options.latest), job);
  }

  /** It has ended. */
  forget(job: Job): void {
    if (this.before(job) === job && job.options.latest !== undefined)
      this.#newest.delete(keyOf(job.name, job.options.latest));
  }
}

type Key = NonNullable<Draft["options"]["latest"]>;

/** A task's name has no space. */
const keyOf = (task: string, latest: Key): string => `${task} ${typeof latest === "string" ? latest : latest.key}`;
