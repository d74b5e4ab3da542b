/**
 * Durable jobs that have failed for good: they stay until somebody retries or discards them, or
 * there are too many newer ones.
 */
import { deadLettersBytesMax, deadLettersMax } from "../limits.ts";
import { sizeOf } from "../protocol/frame.ts";
import { endedJob } from "./job-history.ts";
import type { JobOutcome } from "./outcome.ts";
import type { BrokerState, DeadLetter, EndedJob, Job } from "./state.ts";

export class DeadLetters {
  /** The oldest first. */
  readonly #letters: BrokerState["dead"] = new Map();
  #bytes = 0;

  get size(): number {
    return this.#letters.size;
  }

  /** The newest first. */
  *[Symbol.iterator](): Generator<EndedJob, void, undefined> {
    for (const { ended, successor } of [...this.#letters.values()].reverse()) if (successor === null) yield ended;
  }

  /** The oldest first, those that are being retried included. */
  get letters(): IterableIterator<DeadLetter> {
    return this.#letters.values();
  }

  /** Finds a dead letter by the job's number. */
  find(id: number): DeadLetter | undefined {
    return this.#letters.get(id);
  }

  /** @param worker META's id of the one that has answered, `ms` its run time */
  add(job: Job, outcome: JobOutcome, worker: string | null, ms: number, now: number): void {
    const ended = endedJob(job, outcome, worker, ms, now);
    this.delete(job.id);
    this.#letters.set(job.id, { job, ended, successor: null });
    this.#bytes += sizeOf(job.body) + sizeOf(outcome.body);
  }

  delete(id: number): void {
    const letter = this.#letters.get(id);
    if (letter === undefined || !this.#letters.delete(id)) return;
    this.#bytes -= sizeOf(letter.job.body) + (letter.ended.outcome === null ? 0 : sizeOf(letter.ended.outcome.body));
  }

  /** The oldest ones, which have to go. */
  get excess(): Job[] {
    let [count, bytes] = [this.#letters.size, this.#bytes];
    const excess: Job[] = [];
    for (const { job } of this.#letters.values()) {
      if (count <= deadLettersMax && bytes <= deadLettersBytesMax) break;
      excess.push(job);
      count--;
      bytes -= sizeOf(job.body);
    }
    return excess;
  }
}
