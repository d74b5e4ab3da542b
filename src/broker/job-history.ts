/**
 * The last jobs of tasks that have ended, in two rings: those whose requestor waited for them, of
 * which thousands may end in a second, and detached or unique ones, whose results are kept. The
 * entries are used again, so that a job costs no memory of its own.
 */
import { endedBytesMax, endedJobsMax } from "../limits.ts";
import { type Frame, sizeOf } from "../protocol/frame.ts";
import { isDetached, noOptions, personOf, requestorOf } from "./job.ts";
import type { JobOutcome } from "./outcome.ts";
import type { EndedJob, Job } from "./state.ts";

export class JobHistory {
  readonly #attached = new Ring();
  readonly #detached = new Ring();

  /** The newest first, those of one ring after those of the other. */
  *[Symbol.iterator](): Generator<EndedJob, void, undefined> {
    yield* this.#detached;
    yield* this.#attached;
  }

  find(id: number): EndedJob | undefined {
    for (const ended of this) if (ended.id === id) return ended;
    return undefined;
  }

  /** @param worker META's id of the one that has answered, `ms` its run time as that said it */
  add(job: Job, outcome: JobOutcome, worker: string | null, ms: number, now: number): void {
    const { options } = job;
    const isKept = options !== noOptions && (isDetached(job) || options.unique !== undefined);
    const ring = isKept ? this.#detached : this.#attached;
    const entry = ring.next();
    fill(entry, job, outcome.code, worker, ms, now);
    if (isKept) ring.keep(entry, outcome, job.body);
    else if (outcome.code !== null) ring.keep(entry, outcome, null);
  }
}

/** An ended job by itself, with its outcome. */
export const endedJob = (job: Job, outcome: JobOutcome, worker: string | null, ms: number, now: number): EndedJob => {
  const entry = blank();
  fill(entry, job, outcome.code, worker, ms, now);
  entry.outcome = outcome;
  entry.body = job.body;
  return entry;
};

const fill = (
  entry: EndedJob,
  job: Job,
  code: JobOutcome["code"],
  worker: string | null,
  ms: number,
  now: number,
): void => {
  const { origin } = job;
  const person = origin && personOf(origin);
  entry.id = job.id;
  entry.name = job.name;
  entry.serial = origin?.meta.serial ?? "";
  entry.user = person;
  entry.requestor = person ?? requestorOf(job);
  entry.acceptedAt = job.acceptedAt;
  entry.startedAt = job.startedAt;
  entry.endedAt = now;
  entry.ms = ms;
  entry.worker = worker;
  entry.tries = job.tries;
  entry.code = code;
  entry.isJournaled = job.durable !== null || job.schedule !== undefined;
};

class Ring {
  readonly #entries: EndedJob[] = [];
  /** Number of jobs so far, and of those of which nothing is kept but the entry. */
  #count = 0;
  #emptied = 0;
  #bytes = 0;

  *[Symbol.iterator](): Generator<EndedJob, void, undefined> {
    for (let age = 1; age <= this.#entries.length; age++) yield this.#at(this.#count - age);
  }

  /** The entry of the next job: a new one, or that of the oldest. */
  next(): EndedJob {
    if (this.#entries.length < endedJobsMax) this.#entries.push(blank());
    const entry = this.#at(this.#count++);
    if (entry.bytes > 0) this.#empty(entry);
    return entry;
  }

  keep(entry: EndedJob, outcome: JobOutcome, body: Frame | null): void {
    entry.outcome = outcome;
    entry.body = body;
    entry.bytes = sizeOf(outcome.body) + (body === null ? 0 : sizeOf(body));
    this.#bytes += entry.bytes;
    if (this.#bytes <= endedBytesMax) return;
    this.#emptied = Math.max(this.#emptied, this.#count - endedJobsMax);
    while (this.#bytes > endedBytesMax) this.#empty(this.#at(this.#emptied++));
  }

  #empty(entry: EndedJob): void {
    this.#bytes -= entry.bytes;
    entry.bytes = 0;
    entry.outcome = null;
    entry.body = null;
  }

  #at(count: number): EndedJob {
    const entry = this.#entries[count % endedJobsMax];
    if (entry === undefined) throw new Error(`there is no entry ${count} in the history`);
    return entry;
  }
}

const blank = (): EndedJob => ({
  id: 0,
  name: "",
  serial: "",
  user: null,
  requestor: null,
  acceptedAt: 0,
  startedAt: 0,
  endedAt: 0,
  ms: 0,
  worker: null,
  tries: 0,
  outcome: null,
  code: null,
  body: null,
  isJournaled: false,
  bytes: 0,
});
