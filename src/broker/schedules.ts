/**
 * The schedules: tasks that run by themselves. They have the runs of a task's definition and those
 * of the file of settings; `runDueSchedules` makes those that are due into jobs.
 */
import { journalAbsentMs } from "../limits.ts";
import type { Paused } from "../protocol/blocked.ts";
import type { KeptSchedule } from "../protocol/journal.ts";
import type { CronTimes, Interval, ScheduleDefinition, ScheduleReport } from "../protocol/schedules.ts";
import { dueTimesOf, type Moment } from "./due-times.ts";
import type { EngineEvents } from "./engine-events.ts";
import type { NamedPolicy } from "./events.ts";
import type { JobOutcome } from "./outcome.ts";
import type { BrokerState, Schedule } from "./state.ts";

export class Schedules {
  readonly #schedules: BrokerState["schedules"] = new Map();
  readonly #paused: BrokerState["pausedSchedules"] = new Map();
  /** Cron waits for it. */
  #isClockKnown = false;
  /**
   * How an earlier router has left them, by name. Those that make up for a missed run wait for it.
   */
  #kept: Map<string, KeptSchedule> | null = null;
  /** ms, when the first of these began to wait. */
  #keptWantedAt: number | null = null;
  /** An emergency stop held while they waited: what was due until then is left out. */
  #hasStopped = false;

  get isClockKnown(): boolean {
    return this.#isClockKnown;
  }

  get isEmpty(): boolean {
    return this.#schedules.size === 0;
  }

  [Symbol.iterator](): IterableIterator<Schedule> {
    return this.#schedules.values();
  }

  find(name: string): Schedule | undefined {
    return this.#schedules.get(name);
  }

  /**
   * Takes the schedules from the definitions of tasks and those of the settings, in place of the
   * earlier ones. Those of the settings come first where two have one name.
   */
  set(tasks: readonly NamedPolicy[], ofSettings: readonly ScheduleDefinition[], moment: Moment): void {
    const ofTasks = tasks.flatMap(({ name, schedule, everyMs }) => {
      const when = schedule ?? (everyMs === undefined ? undefined : { everyMs });
      return when === undefined ? [] : [{ name, task: name, args: [], kwargs: {}, when }];
    });
    this.#update([...ofTasks, ...ofSettings], moment);
  }

  /** The wall time is right, or nothing better will come: cron goes by it from now on. */
  trustClock(moment: Moment): void {
    if (this.#isClockKnown) return;
    this.#isClockKnown = true;
    this.#beginWaiting(moment);
  }

  /** RECOVERED: what an earlier router has left. */
  takeKept(kept: readonly KeptSchedule[], moment: Moment): void {
    if (this.#kept !== null) return;
    this.#kept = new Map(kept.map((it) => [it.schedule, it]));
    this.#beginWaiting(moment);
  }

  /** To be called with each tick: a journal that does not come is not waited for. */
  goOnWithoutKept(moment: Moment): void {
    if (this.#kept !== null || !this.#isClockKnown || ![...this].some(({ due }) => due === null)) return;
    this.#keptWantedAt ??= moment.now;
    if (moment.now - this.#keptWantedAt > journalAbsentMs) this.takeKept([], moment);
  }

  /** An emergency stop holds. */
  noteStop(): void {
    this.#hasStopped = true;
  }

  /** A run of an earlier router has ended. @param last its begin in seconds since 1970 */
  ranBefore(name: string, last: number, code: string | null): void {
    const schedule = this.#schedules.get(name);
    if (schedule === undefined || schedule.isRunning || last < (schedule.last ?? 0)) return;
    schedule.last = last;
    schedule.code = code ?? "done";
  }

  /** A run of an earlier router has not ended. @param last its begin in seconds since 1970 */
  goesOn(name: string, last: number): void {
    const schedule = this.#schedules.get(name);
    if (schedule === undefined) return;
    schedule.isRunning = true;
    schedule.last = last;
    schedule.code = null;
  }

  #beginWaiting(moment: Moment): void {
    for (const schedule of this) if (schedule.due === null) this.#begin(schedule, moment);
  }

  #begin(schedule: Schedule, moment: Moment): void {
    const { when, name } = schedule.definition;
    if (!this.#canBegin(when)) return;
    const kept = makesUp(when) ? this.#kept?.get(name) : undefined;
    // It is right once: a reload that changes the schedule begins anew.
    this.#kept?.delete(name);
    // Another rule than before was not due while the engine was off.
    const doneUpTo = kept !== undefined && kept.rule === ruleOf(schedule) ? kept.at * 1000 : null;
    const due = dueTimesOf(when, moment, doneUpTo);
    schedule.due = due;
    if (!this.#hasStopped || doneUpTo === null) return;
    schedule.due = dueTimesOf(when, moment);
    if (due.take(moment) === null) return;
    schedule.skipped++;
    schedule.why = duringStop;
  }

  #canBegin(when: CronTimes | Interval): boolean {
    return !("cron" in when) || (this.#isClockKnown && (this.#kept !== null || !makesUp(when)));
  }

  get waitsForClock(): boolean {
    return !this.#isClockKnown && [...this].some(({ due }) => due === null);
  }

  get paused(): IterableIterator<Paused> {
    return this.#paused.values();
  }

  /** @param since null ends the pause */
  setPaused(name: string, since: number | null): void {
    if (since === null) this.#paused.delete(name);
    else this.#paused.set(name, { name, since });
  }

  isPaused({ definition }: Schedule): boolean {
    return this.#paused.has(definition.name);
  }

  /** ms until the next run that is due; null for none. */
  waitMs(moment: Moment): number | null {
    const waits = [...this].flatMap(({ due }) => due?.waitMs(moment) ?? []);
    return waits.length === 0 ? null : Math.min(...waits);
  }

  /** A job of a schedule, which may be gone meanwhile, has ended. */
  ended(name: string, outcome: JobOutcome, events: EngineEvents): void {
    const schedule = this.#schedules.get(name);
    if (schedule === undefined) return;
    schedule.isRunning = false;
    schedule.code = outcome.code ?? "done";
    events.schedule("ended", schedule);
  }

  /** For CONTROL `schedules`. @param obstacleOf why it cannot run at all; null if it can */
  report(moment: Moment, obstacleOf: (schedule: Schedule) => string | null): ScheduleReport[] {
    return [...this].map((schedule) => {
      const { definition, due, last, code, skipped, why } = schedule;
      const next = due?.nextWall(moment) ?? null;
      return {
        name: definition.name,
        task: definition.task,
        when: "cron" in definition.when ? definition.when.cron : `every ${definition.when.everyMs} ms`,
        zone: "cron" in definition.when ? (definition.when.zone ?? null) : null,
        next: next === null ? null : next / 1000,
        last,
        code,
        skipped,
        why: obstacleOf(schedule) ?? (due !== null ? why : this.#isClockKnown ? journalUnknown : clockUnknown),
        paused: this.isPaused(schedule),
      };
    });
  }

  /** A schedule that stays as it was keeps its times and its last run. */
  #update(definitions: readonly ScheduleDefinition[], moment: Moment): void {
    const before = new Map(this.#schedules);
    this.#schedules.clear();
    for (const definition of definitions) {
      const old = before.get(definition.name);
      const isSame = JSON.stringify(old?.definition) === JSON.stringify(definition);
      this.#schedules.set(definition.name, old !== undefined && isSame ? old : this.#newSchedule(definition, moment));
    }
  }

  #newSchedule(definition: ScheduleDefinition, moment: Moment): Schedule {
    const start = { due: null, isRunning: false, last: null, code: null, skipped: 0, why: null, written: null };
    const schedule: Schedule = { definition, ...start };
    this.#begin(schedule, moment);
    return schedule;
  }
}

/** It runs once for the times at which it was due while the engine was off. */
const makesUp = (when: CronTimes | Interval): boolean => "cron" in when && when.misfire === "once";

/** The time up to which its due times are done is for the journal: it makes up for a missed run. */
export const isKept = ({ definition }: Schedule): boolean => makesUp(definition.when);

/** As the journal has it. */
export const ruleOf = ({ definition: { when } }: Schedule): string =>
  "cron" in when
    ? [when.cron, ...(when.zone === undefined ? [] : [when.zone])].join(" in ")
    : `every ${when.everyMs} ms`;

const duringStop = "it was due during an emergency stop";
const journalUnknown = "it waits for the journal, which knows whether a run was missed";

const clockUnknown = "it waits until the clock of this machine is synchronised";
