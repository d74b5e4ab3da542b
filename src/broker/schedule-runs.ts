/** Runs of schedules: they become detached jobs, or are left out and counted. */
import { sizeOf } from "../protocol/frame.ts";
import { packText } from "../protocol/frames.ts";
import type { ScheduleReport } from "../protocol/schedules.ts";
import type { Due, Moment } from "./due-times.ts";
import type { Effect } from "./events.ts";
import type { JobLifecycle } from "./lifecycle.ts";
import { isKept, ruleOf } from "./schedules.ts";
import type { Draft, EndReason, Schedule } from "./state.ts";
import type { Tables } from "./tables.ts";
import { refusalOfOptions } from "./unattended.ts";

export class ScheduleRuns {
  /** ms on the broker's clock at which the timer rings; Infinity for no timer. */
  #ringsAt = Number.POSITIVE_INFINITY;

  constructor(
    private readonly tables: Tables,
    private readonly lifecycle: JobLifecycle,
  ) {}

  /**
   * Makes jobs of the runs that are due. To be called with each tick, since the wall clock may have
   * jumped, and after each change of the schedules.
   */
  look(now: number): Effect[] {
    const { blocks, schedules } = this.tables;
    if (schedules.isEmpty) return [];
    const moment = this.momentAt(now);
    const effects: Effect[] = [];
    if (blocks.stopReason !== null) schedules.noteStop();
    schedules.goOnWithoutKept(moment);
    for (const schedule of schedules) {
      const due = schedule.due?.take(moment) ?? null;
      if (isKept(schedule) && schedule.due !== null) effects.push(...this.#takeKept(schedule, due, moment));
      else if (due !== null) effects.push(...this.#take(schedule, due, moment));
    }
    this.#setTimer(moment);
    return effects;
  }

  /** To be called when the schedules have changed. One that can never run is in the log. */
  begin(now: number): Effect[] {
    const lines = [...this.tables.schedules].flatMap((schedule): Effect[] => {
      const draft = this.#possibleDraftOf(schedule);
      if (!("code" in draft)) return [];
      return [{ to: "log", line: `The schedule ${schedule.definition.name} cannot run: ${draft.message}` }];
    });
    return [...lines, ...this.look(now)];
  }

  /**
   * Runs it now, beside its times, and while it is paused, too. Returns why not, or the effects.
   */
  runNow(schedule: Schedule, now: number): Effect[] | EndReason {
    const draft = this.#draftOf(schedule);
    return "code" in draft ? draft : this.#run(schedule, draft, this.momentAt(now));
  }

  report(now: number): ScheduleReport[] {
    const obstacleOf = (schedule: Schedule): string | null => {
      const draft = this.#possibleDraftOf(schedule);
      return "code" in draft ? draft.message : null;
    };
    return this.tables.schedules.report(this.momentAt(now), obstacleOf);
  }

  momentAt(now: number): Moment {
    return { now, wall: this.tables.wallSeconds() * 1000 };
  }

  #take(schedule: Schedule, due: Due, moment: Moment): Effect[] {
    if (due === "run") return this.#runIfPossible(schedule, moment);
    if (due === "missed") this.#skip(schedule, missed);
    return [];
  }

  /**
   * The journal notes that the due times are done before the run begins, so that the next engine
   * does not make up for it. Where the journal cannot, the run begins all the same.
   */
  #takeKept(schedule: Schedule, due: Due, moment: Moment): Effect[] {
    const { journal } = this.tables;
    const isFirst = schedule.written === null;
    if (due === null && !isFirst) return [];
    if (journal.key === null || journal.whyClosed(0, moment.now) !== null) return this.#take(schedule, due, moment);
    const at = moment.wall / 1000;
    schedule.written = at;
    const entry = { entry: "due", schedule: schedule.definition.name, rule: ruleOf(schedule), at } as const;
    journal.append(entry, "", (_, now) => this.#take(schedule, due, this.momentAt(now)));
    return [];
  }

  #runIfPossible(schedule: Schedule, moment: Moment): Effect[] {
    const draft = this.tables.schedules.isPaused(schedule) ? paused : this.#draftOf(schedule);
    if (!("code" in draft)) return this.#run(schedule, draft, moment);
    this.#skip(schedule, draft.message);
    return [];
  }

  #run(schedule: Schedule, draft: Draft, { now }: Moment): Effect[] {
    schedule.isRunning = true;
    schedule.last = this.tables.wallSeconds();
    schedule.code = null;
    this.tables.events.schedule("started", schedule);
    return this.lifecycle.accept(draft, null, 0, now);
  }

  #skip(schedule: Schedule, why: string): void {
    schedule.skipped++;
    schedule.why = why;
    this.tables.events.schedule("skipped", schedule);
  }

  /** The job to be, or why there can be none now. */
  #draftOf(schedule: Schedule): Draft | EndReason {
    const { blocks, queues } = this.tables;
    const draft = this.#possibleDraftOf(schedule);
    if ("code" in draft) return draft;
    const reason = blocks.closed ?? blocks.stopReason ?? blocks.quarantineOf(draft);
    if (reason !== null) return reason;
    if (schedule.isRunning) return overlap;
    return queues.hasRoom(1, draft.bytes) ? draft : queueFull;
  }

  /** The job to be, or why there can never be one. */
  #possibleDraftOf({ definition }: Schedule): Draft | EndReason {
    const { task, args, kwargs } = definition;
    const known = this.tables.directory.find(task);
    if (known === undefined) return this.tables.directory.whyMissing(task);
    const { name, queue, policy } = known;
    const call = JSON.stringify({ task: name, args, kwargs }).slice(0, -1);
    const body = `${call},"pack":${packText()}}`;
    const draft: Draft = {
      kind: "task",
      name,
      queue,
      body,
      bytes: sizeOf(body),
      options: { detach: true },
      policy,
      schedule: definition.name,
    };
    return refusalOfOptions(draft, 1) ?? draft;
  }

  /** One timer for all. A later ring than needed cannot be; an earlier one looks again. */
  #setTimer(moment: Moment): void {
    const wait = this.tables.schedules.waitMs(moment);
    if (this.#ringsAt <= moment.now) this.#ringsAt = Number.POSITIVE_INFINITY;
    if (wait === null || moment.now + wait >= this.#ringsAt) return;
    const at = moment.now + wait;
    this.#ringsAt = at;
    this.tables.timers.add({ at, isAlive: () => this.#ringsAt === at, fire: (now) => this.look(now) });
  }
}

const missed = "it was due while the engine could not run it";
const paused: EndReason = { code: "UNAVAILABLE", message: "it is paused" };
const overlap: EndReason = { code: "UNAVAILABLE", message: "its last run has not ended" };
const queueFull: EndReason = { code: "QUEUE_FULL", message: "the queue of the engine is full" };
