/** When schedules are due: ten years of cron in Berlin, jumps of the clock, a boot in 1970. */
import { describe, expect, test } from "bun:test";
import { type Due, dueTimesOf, type Moment } from "../../src/broker/due-times.ts";
import type { CronTimes, Interval } from "../../src/protocol/schedules.ts";

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;
const berlin = "Europe/Berlin";

const at = (text: string): number => Date.parse(text);

/** A machine with both clocks, and a schedule that is asked when its timer rings, and each tick. */
class Machine {
  #now = 5_000;
  readonly runs: number[] = [];
  missed = 0;
  readonly #due;

  constructor(
    when: CronTimes | Interval,
    public wall: number,
    doneUpTo: number | null = null,
  ) {
    this.#due = dueTimesOf(when, this.moment, doneUpTo);
  }

  get moment(): Moment {
    return { now: this.#now, wall: this.wall };
  }

  get next(): number | null {
    return this.#due.nextWall(this.moment);
  }

  look(): Due {
    const due = this.#due.take(this.moment);
    if (due === "run") this.runs.push(this.wall);
    if (due === "missed") this.missed++;
    return due;
  }

  /** Time passes, and the schedule's timer rings whenever it is due. */
  pass(ms: number): this {
    const end = this.#now + ms;
    this.look();
    for (;;) {
      const wait = this.#due.waitMs(this.moment);
      if (wait === null || this.#now + wait > end) break;
      this.#advance(wait);
      this.look();
    }
    this.#advance(end - this.#now);
    return this;
  }

  /** Time passes while the process is halted. */
  halt(ms: number): this {
    this.#advance(ms);
    this.look();
    return this;
  }

  jump(ms: number): this {
    this.wall += ms;
    this.look();
    return this;
  }

  #advance(ms: number): void {
    this.#now += ms;
    this.wall += ms;
  }
}

const localTime = new Intl.DateTimeFormat("sv-SE", { timeZone: berlin, dateStyle: "short", timeStyle: "short" });

describe("cron", () => {
  test("runs once on each day of ten years in Berlin at 07:30 local time", () => {
    const machine = new Machine({ cron: "30 7 * * *", zone: berlin }, at("2026-01-01T00:00:00Z"));
    machine.pass(at("2036-01-01T00:00:00Z") - machine.wall);
    const days = (at("2036-01-01T00:00:00Z") - at("2026-01-01T00:00:00Z")) / day;
    expect(machine.runs).toHaveLength(days);
    expect(new Set(machine.runs.map((wall) => localTime.format(wall).slice(0, 10))).size).toBe(days);
    expect(new Set(machine.runs.map((wall) => localTime.format(wall).slice(11)))).toEqual(new Set(["07:30"]));
    expect(machine.missed).toBe(0);
  });

  test("runs once on each day of ten years at 02:30, which daylight saving leaves out or repeats", () => {
    const machine = new Machine({ cron: "30 2 * * *", zone: berlin }, at("2026-01-01T00:00:00Z"));
    machine.pass(at("2036-01-01T00:00:00Z") - machine.wall);
    const days = machine.runs.map((wall) => localTime.format(wall).slice(0, 10));
    expect(new Set(days).size).toBe(days.length);
    expect(days).toHaveLength(3652);
  });

  test("each ten minutes is due six times an hour through both changes of the clocks", () => {
    for (const start of ["2026-03-28T12:00:00Z", "2026-10-24T12:00:00Z"]) {
      const machine = new Machine({ cron: "*/10 * * * *", zone: berlin }, at(start)).pass(day);
      expect(machine.runs).toHaveLength(6 * 24);
    }
  });

  test("a run late by less than half a minute is made, a later one is left out and counted", () => {
    const machine = new Machine({ cron: "0 * * * *" }, at("2026-05-01T10:59:00Z"));
    expect(machine.halt(80_000).runs).toHaveLength(1);
    machine.halt(day);
    expect(machine.runs).toHaveLength(1);
    expect(machine.missed).toBe(1);
    expect(machine.next).toBe(at("2026-05-02T12:00:00Z"));
  });

  test("misfire `once` makes up for all missed runs by one", () => {
    const machine = new Machine({ cron: "0 * * * *", misfire: "once" }, at("2026-05-01T10:30:00Z")).halt(day);
    expect(machine.runs).toHaveLength(1);
    expect(machine.pass(hour).runs).toHaveLength(2);
  });

  test("misfire `once` makes up for what was due while the engine was off", () => {
    const start = at("2026-05-01T10:30:00Z");
    const when = { cron: "0 9 * * *", zone: "UTC", misfire: "once" } as const;
    expect(new Machine(when, start, start - day).pass(minute).runs).toEqual([start]);
    expect(new Machine(when, start, start - minute).pass(minute).runs).toEqual([]);
    expect(new Machine(when, start).pass(minute).runs).toEqual([]);
  });

  test("a clock that is set back by an hour repeats no run", () => {
    const machine = new Machine({ cron: "*/10 * * * *" }, at("2026-05-01T10:55:00Z")).pass(10 * minute);
    expect(machine.runs).toHaveLength(1);
    machine.jump(-hour).pass(54 * minute);
    expect(machine.runs).toHaveLength(1);
    expect(machine.pass(2 * hour).runs.length).toBeGreaterThan(10);
    const due = machine.runs.map((wall) => Math.floor(wall / minute));
    expect(new Set(due).size).toBe(due.length);
  });

  test("a clock that is set back by a day goes on at once by the new time", () => {
    const machine = new Machine({ cron: "*/10 * * * *" }, at("2026-05-01T10:55:00Z")).pass(10 * minute);
    machine.jump(-day).pass(hour);
    expect(machine.runs).toHaveLength(1 + 6);
  });

  test("a clock that is set forward by an hour or a day leaves out what it jumped over", () => {
    for (const ms of [hour, day]) {
      const machine = new Machine({ cron: "*/10 * * * *" }, at("2026-05-01T10:55:00Z")).jump(ms);
      expect(machine.runs).toHaveLength(0);
      expect(machine.missed).toBe(1);
      expect(machine.pass(hour).runs).toHaveLength(6);
    }
  });

  test("a boot in 1970 with a clock that is then set runs nothing for the years between", () => {
    const machine = new Machine({ cron: "* * * * *" }, 10_000);
    machine.jump(at("2026-05-01T10:00:30Z") - machine.wall);
    expect(machine.runs).toHaveLength(0);
    expect(machine.missed).toBe(1);
    expect(machine.pass(10 * minute).runs).toHaveLength(10);
  });

  test("jumps at random, forward and back, repeat no due time that is less than three hours old", () => {
    let seed = 48213;
    const random = (): number => {
      seed = (seed * 1103515245 + 12345) % 2147483648;
      return seed / 2147483648;
    };
    const machine = new Machine({ cron: "*/15 * * * *", zone: berlin }, at("2026-02-01T00:00:00Z"));
    for (let step = 0; step < 5000; step++) {
      machine.pass(random() * 6 * hour);
      const roll = random();
      if (roll < 0.2) machine.jump(hour);
      else if (roll < 0.3) machine.jump(-hour);
      else if (roll < 0.33) machine.jump(day);
    }
    const slots = machine.runs.map((wall) => Math.floor(wall / (15 * minute)));
    expect(new Set(slots).size).toBe(slots.length);
    expect(slots.length).toBeGreaterThan(5000);
  });

  test("an expression that is never due again waits for ever", () => {
    const machine = new Machine({ cron: "0 0 30 2 *" }, at("2026-05-01T10:00:00Z"));
    expect(machine.next).toBeNull();
    expect(machine.pass(day).runs).toEqual([]);
  });
});

describe("an interval", () => {
  test("is due at whole multiples, whatever the wall clock does", () => {
    const machine = new Machine({ everyMs: 1000 }, at("2026-05-01T10:00:00Z")).pass(10_000);
    expect(machine.runs).toHaveLength(10);
    machine
      .jump(-day)
      .pass(5000)
      .jump(2 * day)
      .pass(5000);
    expect(machine.runs).toHaveLength(20);
  });

  test("is due once after a halt, and then in its old rhythm", () => {
    const machine = new Machine({ everyMs: 1000 }, 0).pass(1500).halt(10_000);
    expect(machine.runs).toHaveLength(2);
    expect(machine.pass(600).runs).toHaveLength(3);
  });
});
