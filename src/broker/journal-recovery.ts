/**
 * The jobs that an earlier router has left in the journal. What had not begun is queued again in
 * its place; what may have begun ends as INTERRUPTED, unless its task is idempotent.
 */
import type { WorkerHeader } from "../protocol/backend.ts";
import { type ErrorCode, errorCodes, ProtocolError } from "../protocol/errors.ts";
import { type Frame, sizeOf } from "../protocol/frame.ts";
import type { KeptJob, KeptSchedule } from "../protocol/journal.ts";
import { decodeAcceptedTask } from "../protocol/requests.ts";
import { rewriteKnown } from "./durable-rewrite.ts";
import { type Effect, toWorker } from "./events.ts";
import { createJob, noOptions, retryPolicyOf } from "./job.ts";
import type { JobLifecycle } from "./lifecycle.ts";
import { failure } from "./outcome.ts";
import type { EndReason, Job, RequestSender, Worker } from "./state.ts";
import type { Tables } from "./tables.ts";
import { mayBeginUnattended } from "./unattended.ts";
import { hashOfArguments } from "./unique-jobs.ts";

type FromJournal = Extract<WorkerHeader, { type: "COMMITTED" | "RECOVERED" | "LOGGED" | "JOURNAL" }>;

export class JournalRecovery {
  /** The first answer has come. */
  #hasBegun = false;
  /** Jobs with a limit by the wall clock, which wait until that is synchronised. */
  #untimed: { readonly job: Job; readonly row: KeptJob }[] = [];

  constructor(
    private readonly tables: Tables,
    private readonly lifecycle: JobLifecycle,
  ) {}

  /** READY of the journal: it is asked for its jobs, once in a router's life. */
  joined(key: string): Effect[] {
    const { journal, workers } = this.tables;
    if (workers.get(key)?.ready.role !== "journal") return [];
    journal.join(key);
    return journal.isRecovered ? [] : [toWorker(key, { type: "RECOVER", from: 0 })];
  }

  /** Jobs wait for the event `clock`, or may have to. */
  get waitsForClock(): boolean {
    return !this.tables.schedules.isClockKnown && (this.#untimed.length > 0 || this.tables.directory.hasDurable);
  }

  /** The wall clock is right, or there is nothing better. */
  trustClock(now: number): Effect[] {
    return this.#untimed.splice(0).flatMap(({ job, row }) => {
      if (job.state !== "delayed") return [];
      job.acceptedAt = this.#at(row.accepted, now);
      return this.#resume(job, now);
    });
  }

  hear({ key, ready }: Worker, header: FromJournal, bodies: readonly Frame[], now: number): Effect[] {
    const { journal } = this.tables;
    if (ready.role !== "journal") return [];
    switch (header.type) {
      case "COMMITTED":
        return journal.confirm(header.through, header.failure, now);
      case "RECOVERED":
        this.#takeSchedules(header.schedules, now);
        return this.#take(key, header.kept, bodies, header.next, now);
      case "LOGGED":
        return this.tables.journalLogs.answered(header.request, bodies[0] ?? "");
      case "JOURNAL": {
        const { type: _, ...report } = header;
        const isAnother = report.damaged !== (journal.report?.damaged ?? null);
        journal.report = report;
        if (isAnother && report.damaged !== null) rewriteKnown(this.tables, now);
        // It could not be read before.
        return journal.isRecovered || this.#hasBegun ? [] : this.joined(key);
      }
    }
  }

  /** @param bodies of each job its TASK frame and the DATA frame of its reply */
  #take(key: string, kept: readonly KeptJob[], bodies: readonly Frame[], next: number | null, now: number): Effect[] {
    const { journal } = this.tables;
    if (journal.isRecovered) return [];
    this.#hasBegun = true;
    const effects = kept.flatMap((row, index) =>
      this.#restore(row, bodies[2 * index] ?? "", bodies[2 * index + 1] ?? "", now),
    );
    if (next !== null) return [...effects, toWorker(key, { type: "RECOVER", from: next })];
    journal.isRecovered = true;
    return effects;
  }

  #restore(row: KeptJob, body: Frame, reply: Frame, now: number): Effect[] {
    const { dead, history, ids } = this.tables;
    // It came to this router, while that was still reading.
    if (ids.numberOf(row.job) !== null) return [];
    const job = this.#jobOf(row, body, now);
    // The file was checked; a frame that was valid when it came is none only after a change here.
    if (job === null) return [{ to: "log", line: `the journal has a job ${row.job} that is no TASK frame any more` }];
    const { unique } = this.tables;
    if (row.ended === null) return this.#goOn(job, row, now);
    if (row.schedule !== null) this.tables.schedules.ranBefore(row.schedule, row.begun ?? row.accepted, row.code);
    job.state = "ended";
    unique.end(job, now);
    const code = codeOf(row.code);
    const by = row.by ?? this.tables.requests.routerId;
    const outcome =
      code === null
        ? ({ type: "ACK", by, code, body: reply } as const)
        : sizeOf(reply) > 0
          ? ({ type: "ERR", by, code, body: reply } as const)
          : failure(by, code, "its message was not kept");
    const endedAt = this.#at(row.ended, now);
    history.add(job, outcome, row.by, row.ms ?? 0, endedAt);
    if (row.isDead) dead.add(job, outcome, row.by, row.ms ?? 0, endedAt);
    return [];
  }

  #goOn(job: Job, row: KeptJob, now: number): Effect[] {
    const { blocks, queues, statistics } = this.tables;
    statistics.accepted++;
    if (row.schedule !== null) this.tables.schedules.goesOn(row.schedule, row.begun ?? row.accepted);
    queues.park(job, "delayed");
    const stop = (reason: EndReason): Effect[] => this.lifecycle.stop(job, reason, now);
    if (row.state !== "queued") {
      const retry = retryPolicyOf(job.policy);
      const message = `the engine ended while ${job.name} may have been running`;
      if (retry === null || job.tries >= retry.tries) return stop({ code: "INTERRUPTED", message });
      statistics.retried++;
    }
    const known = this.tables.directory.find(job.name);
    if (known === undefined) return stop(this.tables.directory.whyMissing(job.name));
    if (!mayBeginUnattended(known.policy)) {
      return stop({ code: "NOT_DURABLE", message: `${job.name} may move something by now; retry it` });
    }
    const { user = null } = job.origin ?? {};
    const { access } = this.tables;
    const mayAsk = user === null ? null : access.refusal(user, "send", job.name);
    const refusal = mayAsk ?? (row.onBehalf === null ? null : access.refusal(user, "delegate"));
    if (refusal !== null) return stop({ code: "UNAUTHORIZED", message: refusal });
    const reason = blocks.endOf(job);
    if (reason !== null) return stop(reason);
    const isTimed = job.options.notBefore !== undefined || job.expiresAt < Number.POSITIVE_INFINITY;
    if (!isTimed || this.tables.schedules.isClockKnown) return this.#resume(job, now);
    this.#untimed.push({ job, row });
    return [];
  }

  #resume(job: Job, now: number): Effect[] {
    this.tables.queues.remove(job);
    const dueAt = this.lifecycle.delays.dueAt(job, now);
    // One that has been tried was due, whatever the wall clock says now.
    return this.lifecycle.resume(job, job.tries === 0 ? dueAt : Math.min(dueAt, now), now);
  }

  #jobOf(row: KeptJob, body: Frame, now: number): Job | null {
    const task = decodeAcceptedTask(body);
    if (task instanceof ProtocolError) return null;
    const { directory, ids } = this.tables;
    const known = directory.find(row.task);
    const options = row.schedule === null ? (task.options ?? noOptions) : { detach: true };
    const { queue, policy } = known ?? { queue: "", policy: {} };
    const draft = { kind: "task", name: row.task, queue, body, bytes: sizeOf(body), options, policy } as const;
    const schedule = row.schedule ?? undefined;
    const id = this.tables.nextJobId();
    ids.adopt(id, row.job);
    const acceptedAt = this.#at(row.accepted, now);
    const origin: RequestSender | null = schedule === undefined ? this.#originOf(row) : null;
    const job: Job = { ...createJob({ ...draft, schedule }, id, { request: null, part: 0 }, acceptedAt), origin };
    job.place = { id: row.place, at: acceptedAt };
    job.tries = row.tries;
    job.startedAt = row.begun === null ? 0 : this.#at(row.begun, now);
    if (options.unique !== undefined) this.tables.unique.add(job, hashOfArguments({ task }));
    // A run of a schedule that was not durable has ended.
    job.durable = { id: row.job, claims: row.claims, isCleared: false, isAccepted: true, end: null, waiters: [] };
    return job;
  }

  #originOf(row: KeptJob): RequestSender {
    return {
      requestor: { peer: "", envelope: [] },
      user: row.user,
      meta: {
        version: 0.3,
        ...(row.serial !== null && { serial: row.serial }),
        ...(row.requestor !== null && { id: row.requestor }),
        ...(row.onBehalf !== null && { onBehalf: row.onBehalf }),
      },
    };
  }

  /** The first answer has them. */
  #takeSchedules(kept: readonly KeptSchedule[], now: number): void {
    if (!this.#hasBegun) this.tables.schedules.takeKept(kept, { now, wall: this.tables.wallSeconds() * 1000 });
  }

  /** A time of the wall clock on the broker's; one that is yet to come is now, since it is past. */
  #at(seconds: number, now: number): number {
    return now - Math.max(0, this.tables.wallSeconds() - seconds) * 1000;
  }
}

const codeOf = (code: string | null): ErrorCode | null => {
  if (code === null) return null;
  return Object.hasOwn(errorCodes, code) ? (code as ErrorCode) : "TASK_ERROR";
};
