/**
 * Tasks that run by themselves, each minute by the wall clock. A time that is missed is made up for once, by the journal's word; none
 * is due twice, in all lives of the engine together.
 */
import type { ScheduleDefinition, ScheduleReport } from "../../../src/protocol/schedules.ts";
import { check } from "./ledger.ts";
import type { ListedJob } from "./router.ts";
import type { World } from "./world.ts";

const minuteMs = 60_000;

/** Tasks of schedules by the schedules' names. */
const tasks: Readonly<Record<string, string>> = { album: "photo", rounds: "patrol", backup: "upload" };

const scheduleNames = Object.keys(tasks);

export class Timetable {
  readonly definitions: readonly ScheduleDefinition[];
  /** Names of schedules by the uid of their runs. */
  readonly #names = new Map<number, string>();
  /** Numbers of the jobs of this router that were handed over, by the schedule. */
  #runs = new Map<string, Set<number>>();
  /** ms since 1970, when this router has begun. */
  #begunAt = 0;
  /** Times up to which the due times of each schedule were done, in the file, when this router began. */
  #done: ReadonlyMap<string, number> = new Map();

  constructor(private readonly world: World) {
    const { ledger, random, requestors } = world;
    this.definitions = scheduleNames
      .filter(() => random.chance(0.5))
      .map((name) => {
        const task = tasks[name] ?? "";
        const part = requestors.part(task);
        ledger.adopt(part, `schedule ${name}`, "", 0, false);
        ledger.repeated.add(part.uid);
        this.#names.set(part.uid, name);
        return { name, task, args: [part.uid], kwargs: {}, when: { cron: "* * * * *", zone: "UTC", misfire: "once" } };
      });
  }

  /** A router begins. */
  begin(): void {
    this.#runs = new Map();
    this.#begunAt = this.world.wallMs;
    this.#done = new Map(this.world.journal.due);
  }

  /** The router hands a job over. */
  handOver(uid: number, job: number): void {
    const name = this.#names.get(uid);
    // A durable run of an earlier router is a job of this one, too.
    if (name === undefined || name === "backup") return;
    const runs = this.#runs.get(name) ?? new Set();
    this.#runs.set(name, runs.add(job));
    const lastBefore = Math.floor(this.#begunAt / minuteMs) * minuteMs;
    const isMissed = (this.#done.get(name) ?? Number.POSITIVE_INFINITY) < lastBefore;
    const due = Math.floor(this.world.wallMs / minuteMs) - lastBefore / minuteMs + (isMissed ? 1 : 0);
    check(runs.size <= due, `${name} runs ${runs.size} times by this router, and was due ${due} times`);
  }

  /** Of jobs as the router lists them: no run begins before the last one of its schedule has ended. */
  compare(jobs: readonly ListedJob[]): void {
    for (const { name } of this.definitions) {
      const open = jobs.filter(({ requestor, ended }) => requestor === `schedule ${name}` && ended === null);
      check(open.length <= 1, `${open.length} runs of ${name} wait or run at a time`);
    }
  }

  /** More than a minute has passed since: each schedule has run, or was left out for a reason. */
  compareProgress(before: readonly ScheduleReport[], now: readonly ScheduleReport[]): void {
    for (const { name, last, skipped, why } of now) {
      const old = before.find((schedule) => schedule.name === name);
      check(last !== old?.last || skipped !== old.skipped, `${name} has not run for a minute: ${why}`);
    }
  }
}
