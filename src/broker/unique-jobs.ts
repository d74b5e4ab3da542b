/**
 * Jobs with the option `unique`: of one task and key there is one job, until it has ended and its
 * window is over. A second request gets that job.
 */
import { uniqueKeysMax } from "../limits.ts";
import type { TaskPart } from "../protocol/requests.ts";
import type { BrokerState, Draft, Job, UniqueJob } from "./state.ts";

export class UniqueJobs {
  readonly #jobs: BrokerState["unique"] = new Map();

  /** @param now ms: windows that are over by then do not count */
  find({ name, options: { unique } }: Pick<Draft, "name" | "options">, now: number): UniqueJob | undefined {
    const found = unique === undefined ? undefined : this.#jobs.get(tableKey(name, unique));
    return found !== undefined && (found.job !== null || found.until > now) ? found : undefined;
  }

  /** Returns false if there are too many keys. */
  hasRoom(now: number): boolean {
    if (this.#jobs.size < uniqueKeysMax) return true;
    for (const [key, { job, until }] of this.#jobs) if (job === null && until <= now) this.#jobs.delete(key);
    return this.#jobs.size < uniqueKeysMax;
  }

  add(job: Job, args: UniqueJob["args"]): void {
    const { unique } = job.options;
    if (unique === undefined) return;
    const windowMs = typeof unique === "object" ? (unique.windowMs ?? 0) : 0;
    this.#jobs.set(tableKey(job.name, unique), { id: job.id, args, until: job.acceptedAt + windowMs, job });
  }

  /** A job was not accepted after all. */
  forget(job: Job): void {
    const { unique } = job.options;
    const key = unique === undefined ? "" : tableKey(job.name, unique);
    if (this.#jobs.get(key)?.job === job) this.#jobs.delete(key);
  }

  /** A job has ended; its key stays for the rest of its window. */
  end(job: Job, now: number): void {
    const { unique } = job.options;
    if (unique === undefined) return;
    const key = tableKey(job.name, unique);
    const found = this.#jobs.get(key);
    if (found?.job !== job) return;
    if (found.until > now) found.job = null;
    else this.#jobs.delete(key);
  }
}

/** Two requests of one key must have the same, whatever the order of the named ones. */
export const hashOfArguments = ({ task: { args, kwargs } }: Pick<TaskPart, "task">): UniqueJob["args"] =>
  Bun.hash(JSON.stringify([args, Object.entries(kwargs).sort(([a], [b]) => (a < b ? -1 : 1))]));

/** The name of a task has no space. */
const tableKey = (name: string, unique: NonNullable<Draft["options"]["unique"]>): string =>
  `${name} ${typeof unique === "object" ? unique.key : unique}`;
