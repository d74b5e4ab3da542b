/**
 * The limits of the job that runs in a worker: its `timeoutMs`, the grace after its abort signal,
 * and the time of its `onStop`. Each is one timer that dies with the run.
 */
import { abortGraceMs } from "../limits.ts";
import type { Effect } from "./events.ts";
import { graceOf, headOf, isStoppable, onStopLimitOf, tighter } from "./job.ts";
import type { EndReason, HeldJob, Job, Worker } from "./state.ts";
import type { Tables } from "./tables.ts";

/** Ends a job that has run too long. */
type OnTimeout = (job: Job, reason: EndReason, now: number) => Effect[];

/**
 * Ends the worker of a job that was told to end and does not. `what` follows the name of its task.
 */
export type OnOverrun = (worker: Worker, job: Job, what: string, now: number) => Effect[];

export class RunLimits {
  /** @param stopGraceMs ms from the abort signal of an emergency stop to the kill */
  constructor(
    private readonly tables: Pick<Tables, "blocks" | "events" | "timers">,
    private readonly stopGraceMs: number,
    private readonly onTimeout: OnTimeout,
    private readonly onOverrun: OnOverrun,
  ) {}

  /** The first job that the worker holds runs now: its limits begin to count. */
  startHead(worker: Worker, now: number): void {
    const head = headOf(worker);
    if (head === worker.head) return;
    worker.head = head;
    if (head === undefined) return;
    const { job } = head;
    job.state = "running";
    job.startedAt = now;
    if (this.tables.events.watchesJobs) this.tables.events.running(job, worker);
    if (job.kind === "safe") return this.#limitOnStop(worker, head, now);
    if (job.stop !== null) return this.startGrace(worker, head, now);
    const limit = tighter(worker.policies.get(job.name)?.timeoutMs, job.options.timeoutMs);
    if (limit === Number.POSITIVE_INFINITY) return;
    this.tables.timers.add({
      at: now + limit,
      isAlive: () => worker.head === head && job.state === "running" && job.stop === null,
      fire: (at) => this.onTimeout(job, { code: "TIMEOUT", message: `it ran longer than ${limit} ms` }, at),
    });
  }

  /** running ─► safing: the task has let go, and `onStop` has its own time from now on. */
  safing(worker: Worker, id: number, now: number): void {
    const { head } = worker;
    if (head?.job.id !== id || head.job.state !== "running" || head.job.policy.onStop !== true) return;
    head.job.state = "safing";
    this.#limitOnStop(worker, head, now);
  }

  /** From the abort signal to the kill. */
  startGrace(worker: Worker, head: HeldJob, now: number): void {
    const { job } = head;
    const reason = (isStoppable(job) ? this.tables.blocks.stopReason : null) ?? job.stop;
    const graceMs = Math.min(
      graceOf(worker, job),
      reason?.code === "STOPPED" ? this.stopGraceMs : Number.POSITIVE_INFINITY,
    );
    this.tables.timers.add({
      at: now + graceMs,
      isAlive: () => job.state === "running" && isWatched(worker, head),
      fire: (at) => this.onOverrun(worker, job, `did not let go after ${reason?.code ?? "its abort signal"}`, at),
    });
  }

  #limitOnStop(worker: Worker, head: HeldJob, now: number): void {
    const limit = onStopLimitOf(head.job);
    this.tables.timers.add({
      // The worker aborts its signal at the limit.
      at: now + limit + abortGraceMs,
      isAlive: () => isWatched(worker, head),
      fire: (at) => this.onOverrun(worker, head.job, `did not end its onStop within ${limit} ms`, at),
    });
  }
}

/** A worker that is dead, or soon will be, need not be killed. */
const isWatched = (worker: Worker, head: HeldJob): boolean =>
  worker.head === head && worker.retired !== "killed" && worker.retired !== "lost";
