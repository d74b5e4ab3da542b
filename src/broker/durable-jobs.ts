/**
 * Durable jobs: what of their life is on the disk before it happens, or before anybody hears of it.
 *
 * - accepted: before ACCEPTED is sent, and before the job is queued.
 * - begun: before a worker gets the job. So a job that may have begun is known as such even after a
 *   power cut, and does not run twice. A worker has other jobs meanwhile.
 * - ended: before its end is told.
 */
import { journalRetryMs } from "../limits.ts";
import type { ErrorBody, ErrorCode } from "../protocol/errors.ts";
import type { Effect } from "./events.ts";
import { retryPolicyOf } from "./job.ts";
import { stateOf } from "./job-states.ts";
import { acceptedEntry, endedEntry, keptReply, ranEntry } from "./journal-entries.ts";
import type { JobOutcome } from "./outcome.ts";
import type { DurableMark, EndReason, Job, RequestSender, Worker } from "./state.ts";
import type { Tables } from "./tables.ts";

/** Answers a request for a new job, once that is on the disk or cannot get there. */
type OnAccepted = (refusal: ErrorBody | null, now: number) => Effect[];

/** Jobs whose beginning waits for the disk, of one worker. */
interface Claims {
  count: number;
  expectedMs: number;
}

export class DurableJobs {
  readonly #claims = new WeakMap<Worker, Claims>();

  /** @param enter lets an accepted job into the queue */
  constructor(
    private readonly tables: Tables,
    private readonly enter: (job: Job, now: number) => Effect[],
  ) {}

  /* ── Accepted ── */

  /** The job waits until it is on the disk. It has room in the queue already. */
  accept(job: Job, onAccepted: OnAccepted = (refusal) => this.#answer(job, refusal)): Effect[] {
    const { ending, ids, journal, queues, statistics, wallSeconds } = this.tables;
    const mark = { id: ids.idOf(job.id), claims: 0, isCleared: false, isAccepted: false, end: null, waiters: [] };
    job.durable = mark;
    queues.park(job, "delayed");
    journal.append(acceptedEntry(job, mark.id, wallSeconds()), job.body, (failure, now) => {
      if (failure !== null) return this.#refuse(job, failure, onAccepted, now);
      mark.isAccepted = true;
      const isOver = job.state === "ended";
      if (!isOver) queues.remove(job);
      // Cancelled meanwhile; one that was left to the next engine is counted there.
      if (ending.has(job.id)) statistics.accepted++;
      const entered = isOver ? [] : this.enter(job, now);
      return [...onAccepted(null, now), ...this.#tellWaiters(job), ...entered];
    });
    return [];
  }

  /** A second request of its `unique` key, before it is on the disk: it gets the same answer. */
  waitFor(job: Job, sender: RequestSender): Effect[] {
    job.durable?.waiters.push(sender);
    return [];
  }

  /** The one reply to the request of a job. */
  #answer(job: Job, refusal: ErrorBody | null): Effect[] {
    const { origin } = job;
    if (origin === null) return [];
    return [refusal === null ? this.#acceptedReply(job, origin, false) : this.tables.requests.refuse(origin, refusal)];
  }

  /** ACCEPTED. */
  #acceptedReply(job: Job, sender: RequestSender, existing: boolean): Effect {
    const state = job.state === "ended" ? "queued" : stateOf(job);
    return this.tables.requests.accepted(sender, { job: job.durable?.id ?? "", state, existing });
  }

  #refuse(job: Job, failure: string, onAccepted: OnAccepted, now: number): Effect[] {
    const { queues, requests, unique } = this.tables;
    const refusal: ErrorBody = { code: "STORE_FULL", message: `the journal cannot take the job: ${failure}` };
    const waiters = job.durable?.waiters ?? [];
    queues.remove(job);
    job.state = "ended";
    unique.forget(job);
    requests.release(job);
    return [...onAccepted(refusal, now), ...waiters.map((sender) => requests.refuse(sender, refusal))];
  }

  #tellWaiters(job: Job): Effect[] {
    const waiters = job.durable?.waiters.splice(0) ?? [];
    return waiters.map((sender) => this.#acceptedReply(job, sender, true));
  }

  /* ── Begun ── */

  /**
   * Returns true if the job may be handed over. Otherwise it is parked until the disk has noted
   * that it may have begun, or stays where it is while so many jobs of this worker wait for that.
   */
  mayBegin(job: Job, worker: Worker): boolean {
    const mark = job.durable;
    if (mark === null || mark.isCleared) return true;
    const claims = this.#claims.get(worker) ?? { count: 0, expectedMs: 0 };
    const expectedMs = this.tables.workers.claimMs(worker, job, claims);
    if (expectedMs === null) return false;
    this.#claims.set(worker, claims);
    claims.count++;
    claims.expectedMs += expectedMs;
    mark.claims++;
    const { journal, queues, wallSeconds } = this.tables;
    queues.remove(job);
    queues.park(job, "retrying");
    const entry = { job: mark.id, at: wallSeconds(), tries: job.tries + 1, claim: mark.claims };
    journal.append({ entry: "begun", ...entry }, "", (failure, at) => {
      claims.count--;
      claims.expectedMs = claims.count === 0 ? 0 : claims.expectedMs - expectedMs;
      if (job.state !== "retrying") return [];
      if (failure === null) {
        this.returned(job, mark);
        queues.putBack(job);
      } else
        this.#later(
          at,
          () => job.state === "retrying",
          () => queues.putBack(job),
        );
      return [];
    });
    return false;
  }

  /** It waits again, and may be handed over: it has not begun, whatever the disk has noted. */
  returned(job: Job, mark: DurableMark): void {
    mark.isCleared = true;
    if (this.tables.blocks.pauseOf(job) !== undefined) this.disclaim(job);
  }

  /** Its task is paused: a job that waits for so long must not count as begun after a crash. */
  disclaim(job: Job): void {
    const mark = job.durable;
    if (mark === null || !mark.isCleared) return;
    mark.isCleared = false;
    if (mark.claims > 0) this.#noteReturn(job, mark);
  }

  #noteReturn({ tries }: Job, { id, claims }: DurableMark): void {
    this.tables.journal.append({ entry: "returned", job: id, tries, claim: claims }, "", () => []);
  }

  /* ── Ended ── */

  /** @param tell what follows once the end is on the disk: nobody hears of it before */
  end(job: Job, outcome: JobOutcome, worker: string | null, ms: number, tell: (now: number) => Effect[]): Effect[] {
    const { ending, wallSeconds } = this.tables;
    ending.set(job.id, job);
    const id = job.durable?.id ?? "";
    const entry = endedEntry(id, outcome, ms, wallSeconds());
    const body = keptReply(outcome);
    if (job.durable !== null) job.durable.end = [entry, body];
    const append = (): void =>
      this.tables.journal.append(entry, body, (failure, at) => {
        // It was refused after its end: nobody waits for that any more.
        if (job.durable?.isAccepted === false) {
          ending.delete(job.id);
          return [];
        }
        if (failure !== null) {
          this.#later(at, () => true, append);
          return [];
        }
        ending.delete(job.id);
        if (entry.isDead) this.#bury(job, outcome, worker, ms, at);
        return tell(at);
      });
    append();
    this.#keepLog(job, id);
    return [];
  }

  /**
   * A run of a schedule has ended. History keeps one that was not durable, as far as it has room.
   */
  runEnded(job: Job, schedule: string, outcome: JobOutcome, ms: number, now: number): void {
    const { events, ids, journal, schedules, wallSeconds } = this.tables;
    schedules.ended(schedule, outcome, events);
    if (job.durable !== null || journal.key === null || journal.whyClosed(job.bytes, now) !== null) return;
    const id = ids.idOf(job.id);
    const begun = job.startedAt === 0 ? null : this.tables.wallAt(job.startedAt, now);
    const times = { accepted: this.tables.wallAt(job.acceptedAt, now), begun, at: wallSeconds() };
    journal.append(ranEntry(job, id, outcome, ms, times), keptReply(outcome), () => []);
    this.#keepLog(job, id);
  }

  #keepLog(job: Job, id: string): void {
    if (job.log !== null) this.tables.journalLogs.keep(id, this.tables.logs.of(job));
  }

  /**
   * The engine ends, and the next one goes on with the job. Returns null for a job that was cut off
   * and must not be tried again, or that has ended in another way.
   * @param ms run time of a job that a worker has answered, 0 for one that has not begun
   */
  leave(job: Job, code: ErrorCode | null, ms: number): Effect[] | null {
    const mark = job.durable;
    if (mark === null || (code !== "SHUTTING_DOWN" && code !== "INTERRUPTED")) return null;
    const hasBegun = ms > 0 || code === "INTERRUPTED";
    if (hasBegun && retryPolicyOf(job.policy) === null) return null;
    const { queues, results, statistics } = this.tables;
    queues.remove(job);
    job.state = "ended";
    if (mark.isAccepted) statistics.accepted--;
    if (mark.claims > 0 && !hasBegun) this.#noteReturn(job, mark);
    return results.leave(job, stopping);
  }

  /* ── Dead letters ── */

  #bury(job: Job, outcome: JobOutcome, worker: string | null, ms: number, now: number): void {
    const { dead } = this.tables;
    dead.add(job, outcome, worker, ms, now);
    for (const oldest of dead.excess) this.discard(oldest, () => []);
  }

  /** @param onDone answers who has asked for it */
  discard(job: Job, onDone: (failure: string | null) => Effect[]): void {
    const { dead, journal, wallSeconds } = this.tables;
    const entry = { entry: "discarded", job: job.durable?.id ?? "", at: wallSeconds() } as const;
    journal.append(entry, "", (failure) => {
      if (failure === null) dead.delete(job.id);
      return onDone(failure);
    });
  }

  #later(now: number, isAlive: () => boolean, then: () => void): void {
    this.tables.timers.add({
      at: now + journalRetryMs,
      isAlive,
      fire: () => {
        then();
        return [];
      },
    });
  }
}

const stopping: EndReason = { code: "SHUTTING_DOWN", message: "the engine stops; the job goes on when it is back" };
