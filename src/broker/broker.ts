/**
 * The broker: the pure core of the router. It is told events and the time, and returns effects; it
 * knows no socket, clock, file or log; its options give it random numbers and the wall time, which
 * it only reports. After events, `dispatch` hands waiting jobs to workers.
 * `nextAt` is the time of the next call at the latest. The whole state is in state.ts.
 */
import { beatSilenceMs } from "../limits.ts";
import type { BackendMessage, WorkerHeader } from "../protocol/backend.ts";
import { changeAccess } from "./access-change.ts";
import { DataWorkerNews } from "./data-worker-news.ts";
import { dispatch } from "./dispatch.ts";
import { EmergencyHandler } from "./emergency.ts";
import { EventReport } from "./event-report.ts";
import { type BrokerEvent, type Effect, toWorker } from "./events.ts";
import { jobsOf } from "./job.ts";
import { JournalRecovery } from "./journal-recovery.ts";
import { JobLifecycle } from "./lifecycle.ts";
import { PauseHandler } from "./pauses.ts";
import { ReloadRequests } from "./reload-requests.ts";
import { RequestHandler } from "./request-handler.ts";
import { ScheduleRuns } from "./schedule-runs.ts";
import type { EndReason } from "./state.ts";
import type { DropReason } from "./statistics.ts";
import type { SecurityKind } from "./status.ts";
import { Tables } from "./tables.ts";
import { WorkerLoss } from "./worker-loss.ts";
import { WorkerMessages } from "./worker-messages.ts";
import { WorkerRegistration } from "./worker-registration.ts";

interface BrokerOptions {
  /** META's `id` of the router's own answers. */
  readonly id: string;
  /** 0 ≤ random() < 1, spreads the retries. */
  readonly random: () => number;
  /** The wall time in seconds since 1970, for each `since`. */
  readonly wallSeconds: () => number;
  /** For `status`. */
  readonly security: SecurityKind;
  /** ms from the abort signal of an emergency stop to the kill. */
  readonly stopGraceMs: number;
  /**
   * The id of the first job. A router must not repeat the ids of an earlier one, whose jobs a
   * worker may still answer.
   */
  readonly firstJob: number;
}

export class Broker {
  readonly #tables: Tables;
  readonly #lifecycle: JobLifecycle;
  readonly #workerLoss: WorkerLoss;
  readonly #emergency: EmergencyHandler;
  readonly #requestHandler: RequestHandler;
  readonly #workerMessages: WorkerMessages;
  readonly #workerRegistration: WorkerRegistration;
  readonly #eventReport: EventReport;
  readonly #recovery: JournalRecovery;
  readonly #scheduleRuns: ScheduleRuns;
  readonly #pauses: PauseHandler;
  readonly #reloads: ReloadRequests;
  #drainedSaid = false;
  readonly #dataWorkerNews: DataWorkerNews;

  constructor({ id, random, wallSeconds, security, stopGraceMs, firstJob }: BrokerOptions) {
    this.#tables = new Tables(id, firstJob, wallSeconds, random);
    this.#lifecycle = new JobLifecycle(this.#tables, { random, stopGraceMs }, (worker, job, what, now) =>
      this.#workerLoss.overrun(worker, job, what, now),
    );
    this.#dataWorkerNews = new DataWorkerNews(this.#tables);
    this.#recovery = new JournalRecovery(this.#tables, this.#lifecycle);
    this.#workerLoss = new WorkerLoss(this.#tables, this.#lifecycle);
    this.#emergency = new EmergencyHandler(this.#tables, this.#lifecycle);
    this.#scheduleRuns = new ScheduleRuns(this.#tables, this.#lifecycle);
    this.#pauses = new PauseHandler(this.#tables, this.#lifecycle);
    this.#reloads = new ReloadRequests(this.#tables);
    this.#requestHandler = new RequestHandler(
      this.#tables,
      this.#lifecycle,
      this.#emergency,
      this.#scheduleRuns,
      this.#pauses,
      this.#reloads,
      security,
    );
    this.#eventReport = new EventReport(this.#tables, () => this.#emergency.report());
    this.#workerRegistration = new WorkerRegistration(this.#tables, this.#workerLoss, this.#emergency, this.#recovery);
    this.#workerMessages = new WorkerMessages(this.#tables, this.#lifecycle, this.#workerRegistration, this.#recovery);
  }

  /** ms on the clock of `now`: an event, at least a tick, is wanted then; null for no need. */
  get nextAt(): number | null {
    return this.#emergency.isClearing ? Number.NEGATIVE_INFINITY : this.#tables.timers.nextAt;
  }

  /** Tasks with an `onStop` of which a job may be running, or which are not known to be safe. */
  get tasksAtRisk(): readonly string[] {
    const running = [...this.#tables.workers].flatMap(jobsOf).filter(({ policy }) => policy.onStop === true);
    return [...new Set([...running.map(({ name }) => name), ...this.#tables.safeStops.tasks])];
  }

  /** Schedules or durable jobs wait for the event `clock`. */
  get waitsForClock(): boolean {
    return this.#tables.schedules.waitsForClock || this.#recovery.waitsForClock;
  }

  /** Counts messages that came to nothing outside the broker. Returns the count. */
  drop(reason: DropReason, times = 1): number {
    return this.#tables.statistics.drop(reason, times);
  }

  handle(event: BrokerEvent, now: number): Effect[] {
    const effects = this.#handle(event, now);
    if (this.#tables.events.haveDataWorkersNews) effects.push(...this.#dataWorkerNews.tell());
    return this.#tables.events.isActive ? [...effects, ...this.#eventReport.take(now)] : effects;
  }

  #handle(event: BrokerEvent, now: number): Effect[] {
    const { blocks, directory, queues, safeStops, schedules, workers } = this.#tables;
    switch (event.type) {
      case "request":
        return this.#requestHandler.receive(event.requestor, event.user, event.request, now);
      case "worker":
        return this.#fromWorker(event.key, event.user, event.message, now);
      case "access":
        return [
          ...changeAccess(this.#tables, this.#lifecycle, this.#workerRegistration, this.#workerLoss, event.access, now),
          ...this.#endOrphans(now),
        ];
      case "disconnected": {
        const worker = workers.get(event.key);
        return worker === undefined ? [] : this.#workerLoss.disconnected(worker, now);
      }
      case "gone":
        return this.#workerLoss.died(event.pid, event.begun, now);
      case "killed":
        this.#workerLoss.killed(event.pid, event.why);
        return [];
      case "log":
        this.#tables.events.log(event.process, event.lines, event.lost);
        return [];
      case "tasks":
        directory.setOwn(event.tasks, event.unavailable);
        schedules.set(event.tasks, event.schedules ?? [], this.#scheduleRuns.momentAt(now));
        queues.revise((task) => directory.find(task)?.policy);
        if (event.isUnsafe === true) safeStops.startAll(event.tasks, now);
        this.#workerRegistration.dismissConflicting();
        return [
          ...[...workers].flatMap((worker) => this.#workerRegistration.release(worker, now)),
          ...this.#endOrphans(now),
          ...this.#scheduleRuns.begin(now),
        ];
      case "stopped":
        if (event.stopped !== null || blocks.stopped !== null) schedules.noteStop();
        return this.#emergency.hear(event.stopped, now);
      case "latched":
        return this.#emergency.latched(event.request, event.failure);
      case "quarantined":
        blocks.setQuarantine(event.tasks);
        return [...queues].flatMap((job) => {
          const reason = blocks.quarantineOf(job);
          return reason === null ? [] : this.#lifecycle.stop(job, reason, now);
        });
      case "troubles":
        blocks.troubles = event.troubles;
        return [];
      case "paused":
        this.#pauses.hear(event);
        return [];
      case "pauseKept":
        return this.#pauses.kept(event.request, event.failure);
      case "reloaded":
        return this.#reloads.done(event.request, event.tasks, event.failure);
      case "resetRefused":
        return this.#emergency.resetRefused(event.request, event.why);
      case "requestorGone":
        return this.#requestHandler.requestorGone(event.peer, now);
      case "orphaned": {
        const message = "the engine's supervisor has died";
        return [
          ...this.#close({ code: "INTERRUPTED", message }, now),
          ...[...workers].flatMap((worker) => this.#workerLoss.lose(worker, message, now)),
          ...this.#emergency.orphaned(message),
        ];
      }
      case "drain":
        return [
          ...this.#close({ code: "SHUTTING_DOWN", message: "the engine stopped before the job began" }, now),
          ...this.#reloads.refuseAll(),
          ...this.#emergency.refuseResets("SHUTTING_DOWN", "the engine is stopping; the emergency stop stays"),
        ];
      case "abort":
        return [...workers].flatMap((worker) => this.#lifecycle.stopAll(jobsOf(worker), stoppedByEngine, now));
      case "clock":
        schedules.trustClock(this.#scheduleRuns.momentAt(now));
        return [...this.#recovery.trustClock(now), ...this.#scheduleRuns.look(now)];
      case "tick":
        this.#lifecycle.delays.look(now);
        return [
          ...this.#tables.timers.fireDue(now),
          ...this.#scheduleRuns.look(now),
          ...this.#workerLoss.loseSilent(now),
          ...this.#endOrphans(now, beatSilenceMs),
        ];
    }
  }

  /** Hands waiting jobs to the workers that can take them. */
  dispatch(now: number): Effect[] {
    const effects = [...this.#emergency.clear(now), ...dispatch(this.#tables, this.#lifecycle, now)];
    if (this.#tables.blocks.closed !== null && !this.#drainedSaid && this.#isDone) {
      this.#drainedSaid = true;
      effects.push({ to: "supervisor", type: "drained" });
    }
    if (this.#tables.journal.hasUnsent) effects.push(...this.#tables.journal.flush());
    if (this.#tables.events.isActive) effects.push(...this.#eventReport.take(now));
    return effects;
  }

  /** Nothing runs, and no worker can take the jobs that still wait, which are safe stops. */
  get #isDone(): boolean {
    const { journal, queues, workers } = this.#tables;
    if (!journal.isQuiet) return false;
    const isRunning = [...workers].some(({ held }) => held.size > 0);
    return !isRunning && ![...queues].some(({ queue }) => workers.canServe(queue));
  }

  /** From now on nothing is accepted and nothing begins. Ends the jobs that no worker has. */
  #close(reason: EndReason, now: number): Effect[] {
    const cleared = this.#emergency.clear(now, Number.POSITIVE_INFINITY);
    this.#tables.blocks.closed = reason;
    return [...cleared, ...this.#lifecycle.stopAll(this.#tables.queues, reason, now)];
  }

  /* ── Workers ── */

  #fromWorker(key: string, user: string | null, message: BackendMessage<WorkerHeader>, now: number): Effect[] {
    const { header, bodies } = message;
    if (header.type === "READY") return this.#workerRegistration.join(key, user, header, now);
    const { statistics, workers } = this.#tables;
    const worker = workers.get(key);
    // A peer chooses its routing id, which another peer may have had.
    if (worker === undefined || worker.user !== user) {
      if (header.type === "DONE" || header.type === "FAIL") statistics.drop("lateAnswer", header.jobs.length);
      return [toWorker(key, { type: "WHO" })];
    }
    worker.heardAt = now;
    const effects = this.#workerMessages.hear(worker, header, bodies, now);
    const left = this.#workerRegistration.release(worker, now);
    return left.length === 0 ? effects : [...effects, ...left, ...this.#endOrphans(now)];
  }

  /**
   * Ends jobs whose task no worker serves and that is no task of the engine (any more): they would
   * wait for ever.
   * @param absentMs only tasks that no worker has served for so long, because a lost worker may
   * come back
   */
  #endOrphans(now: number, absentMs = 0): Effect[] {
    const { directory, queues, workers } = this.#tables;
    if (absentMs > 0 && !workers.hasGone) return [];
    const isAbsent = (name: string): boolean => (workers.goneOf(name)?.at ?? 0) <= now - absentMs;
    return [...queues]
      .filter(
        ({ kind, name, state }) =>
          kind === "task" && state !== "delayed" && directory.find(name) === undefined && isAbsent(name),
      )
      .flatMap((job) => this.#lifecycle.stop(job, directory.whyMissing(job.name), now));
  }
}

const stoppedByEngine: EndReason = { code: "SHUTTING_DOWN", message: "the engine stopped before the job had ended" };
