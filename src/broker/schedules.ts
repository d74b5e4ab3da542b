/**
 * The schedules: tasks that run by themselves. They have the runs of a task's definition and those
 * of the file of settings; `runDueSchedules` makes those that are due into jobs.
 */
import type { Paused } from "../protocol/blocked.ts";
import type { CronTimes, Interval, ScheduleDefinition, ScheduleReport } from "../protocol/schedules.ts";
import { type DueTimes, dueTimesOf, type Moment } from "./due-times.ts";
import type { EngineEvents } from "./engine-events.ts";
import type { NamedPolicy } from "./events.ts";
import type { JobOutcome } from "./outcome.ts";
import type { BrokerState, Schedule } from "./state.ts";

export class Schedules {
  readonly #schedules: BrokerState["schedules"] = new Map();
  readonly #paused: BrokerState["pausedSchedules"] = new Map();
  /** Cron waits for it. */
  #isClockKnown = false;

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
    for (const schedule of this) schedule.due ??= dueTimesOf(schedule.definition.when, moment);
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
        why: obstacleOf(schedule) ?? (due === null ? clockUnknown : why),
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
    const due = this.#dueTimes(definition.when, moment);
    return { definition, due, isRunning: false, last: null, code: null, skipped: 0, why: null };
  }

  #dueTimes(when: CronTimes | Interval, moment: Moment): DueTimes | null {
    return "cron" in when && !this.#isClockKnown ? null : dueTimesOf(when, moment);
  }
}

const clockUnknown = "it waits until the clock of this machine is synchronised";
