/** The calls of sources, by a clock that stands still between two events. */
import { beforeEach, expect, test } from "bun:test";
import { sourceErrorsMax } from "../../src/limits.ts";
import { type SourceClock, SourceLoop } from "../../src/worker/sources.ts";

/** A clock that a test sets. Its timers ring late by `lateMs`. */
class TestClock implements SourceClock {
  nowMs = 1000;
  lateMs = 0;
  #timers: { at: number; handler: () => void }[] = [];

  now(): number {
    return this.nowMs;
  }

  after(ms: number, handler: () => void): void {
    if (!Number.isInteger(ms)) throw new Error(`a timer has steps of 1 ms, and was set to ${ms}`);
    this.#timers.push({ at: this.nowMs + ms + this.lateMs, handler });
  }

  /** Goes on to that time, from one event to the next. */
  async runTo(ms: number): Promise<void> {
    for (;;) {
      // A call that has ended is known to have only after some turns of promises.
      for (let turns = 0; turns < 10; turns++) await Promise.resolve();
      const next = this.#timers.toSorted((a, b) => a.at - b.at)[0];
      if (next === undefined || next.at > ms) break;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.nowMs = Math.max(this.nowMs, next.at);
      next.handler();
    }
    this.nowMs = Math.max(this.nowMs, ms);
  }
}

let clock: TestClock;
let calledAt: number[];
let published: unknown[];
let logged: string[];
beforeEach(() => {
  clock = new TestClock();
  calledAt = [];
  published = [];
  logged = [];
});

/** Its first call is at 1000. */
const start = (everyMs: number, run: () => unknown): SourceLoop => {
  const source = { name: "gyro", file: "a.ts", topic: "arm/gyro", everyMs };
  const publisher = {
    publish: (topic: string, value: unknown, name: string): void => {
      if (value === "bad") throw new Error("result is bad");
      published.push([topic, value, name]);
    },
  };
  const noted = (): unknown => {
    calledAt.push(clock.nowMs);
    return run();
  };
  return new SourceLoop({ ...source, run: noted }, 1000, { publisher, clock, log: (line) => logged.push(line) });
};

test("a source is called at its rate, at once for the first time, and its results are published", async () => {
  let value = 0;
  const loop = start(20, () => ++value);
  await clock.runTo(1060);
  expect(calledAt).toEqual([1000, 1020, 1040, 1060]);
  expect(published).toEqual([1, 2, 3, 4].map((result) => ["arm/gyro", result, "gyro"]));
  expect(loop.report()).toEqual({ name: "gyro", hz: 50, jitterMs: 0, overruns: 0, errors: 0 });
});

test("late timers, and rates between two of their steps, add up to no drift", async () => {
  clock.lateMs = 0.2;
  const loop = start(12.3, () => 1);
  await clock.runTo(1000 + 12.3 * 1000 + 1);
  expect(calledAt).toHaveLength(1001);
  for (const [turn, at] of calledAt.entries()) expect(Math.abs(at - (1000 + turn * 12.3))).toBeLessThan(0.8);
  const { hz, jitterMs, overruns } = loop.report();
  expect(hz).toBeCloseTo(1000 / 12.3, 1);
  expect(jitterMs).toBeLessThan(0.8);
  expect(overruns).toBe(0);
});

test("a call that takes longer than a period leaves out those that are due meanwhile, and counts them", async () => {
  const loop = start(10, () => {
    clock.nowMs += 25;
    return 1;
  });
  await clock.runTo(1069);
  expect(calledAt).toEqual([1000, 1030, 1060]);
  expect(loop.report()).toMatchObject({ overruns: 6, errors: 0 });
});

test("while an async call has not ended no other begins, and what is due is counted meanwhile", async () => {
  const { promise, resolve } = Promise.withResolvers<number>();
  const loop = start(10, () => promise);
  await clock.runTo(1034);
  expect(calledAt).toEqual([1000]);
  expect(published).toEqual([]);
  expect(loop.report()).toMatchObject({ overruns: 3 });
  resolve(7);
  await clock.runTo(1040);
  expect(published[0]).toEqual(["arm/gyro", 7, "gyro"]);
  expect(calledAt).toEqual([1000, 1040]);
  expect(loop.report()).toMatchObject({ overruns: 3 });
});

test("a process that was held up calls once, not once for each call that was due", async () => {
  const loop = start(10, () => 1);
  await clock.runTo(1010);
  clock.nowMs = 1054;
  await clock.runTo(1060);
  expect(calledAt).toEqual([1000, 1010, 1054, 1060]);
  expect(loop.report()).toMatchObject({ overruns: 3 });
});

test("a value that is undefined is not published, and null is", async () => {
  const values = [undefined, null, 0];
  start(10, () => values.shift());
  await clock.runTo(1025);
  expect(published.map((it) => (it as unknown[])[1])).toEqual([null, 0]);
});

test("an error is counted, its kind is logged once, and the next call comes in time", async () => {
  const results: (() => unknown)[] = [
    () => {
      throw new Error("no echo");
    },
    () => Promise.reject(new Error("no echo")),
    () => "bad",
    () => "good",
    () => ({
      // biome-ignore lint/suspicious/noThenProperty: a source may return anything
      get then() {
        throw new Error("no echo");
      },
    }),
  ];
  const loop = start(10, () => results.shift()?.());
  await clock.runTo(1045);
  expect(calledAt).toEqual([1000, 1010, 1020, 1030, 1040]);
  expect(published).toEqual([["arm/gyro", "good", "gyro"]]);
  expect(loop.report()).toMatchObject({ errors: 4, overruns: 0 });
  expect(logged.filter((line) => !line.startsWith(" "))).toEqual([
    "The source gyro has failed (the same again is only counted): Error: no echo",
    "The source gyro has failed (the same again is only counted): Error: result is bad",
  ]);
});

test("a source whose errors all differ is silent after some of them", async () => {
  let count = 0;
  const loop = start(10, () => {
    throw new Error(`failure ${++count}`);
  });
  await clock.runTo(2000);
  expect(loop.report()).toMatchObject({ errors: 101 });
  const first = logged.filter((line) => !line.startsWith(" "));
  expect(first).toHaveLength(sourceErrorsMax);
  expect(first.at(-1)).toContain("all further errors of it are only counted");
});

test("a report has the rate and the lateness since the one before", async () => {
  const loop = start(100, () => 1);
  await clock.runTo(1050);
  expect(loop.report()).toMatchObject({ hz: null, jitterMs: 0 });
  clock.lateMs = 3;
  await clock.runTo(1450);
  expect(loop.report()).toMatchObject({ hz: 9.926, jitterMs: 3 });
  expect(loop.report()).toMatchObject({ hz: 9.926, jitterMs: 3 });
  clock.lateMs = 0;
  await clock.runTo(1750);
  expect(loop.report()).toMatchObject({ jitterMs: 3 });
});

test("a source that is called less often than it is reported keeps its rate, and one that hangs loses it", async () => {
  let isHanging = false;
  const loop = start(60_000, () => (isHanging ? Promise.withResolvers().promise : 1));
  await clock.runTo(1000 + 60_000);
  expect(loop.report()).toMatchObject({ hz: 0.017 });
  await clock.runTo(1000 + 119_000);
  expect(loop.report()).toMatchObject({ hz: 0.017 });
  isHanging = true;
  await clock.runTo(1000 + 120_000);
  loop.report();
  await clock.runTo(1000 + 240_001);
  expect(loop.report()).toMatchObject({ hz: 0, overruns: 2 });
});
