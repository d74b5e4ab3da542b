import { expect, test } from "bun:test";
import fc from "fast-check";
import { Timers } from "../../src/broker/timers.ts";

test("what is due fires in the order of its time, as a sorted list would", () => {
  const step = fc.oneof(fc.record({ add: fc.nat(1000), isAlive: fc.boolean() }), fc.record({ passMs: fc.nat(200) }));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const timers = new Timers();
      let list: { at: number; isAlive: boolean }[] = [];
      let now = 0;
      for (const one of steps) {
        if ("add" in one) {
          const timer = { at: now + one.add, isAlive: one.isAlive };
          list.push(timer);
          timers.add({
            at: timer.at,
            isAlive: () => timer.isAlive,
            fire: () => [{ to: "log", line: String(timer.at) }],
          });
        } else {
          now += one.passMs;
          const due = list.filter(({ at, isAlive }) => at <= now && isAlive).map(({ at }) => at);
          list = list.filter(({ at }) => at > now);
          const fired = timers.fireDue(now).map((effect) => (effect.to === "log" ? Number(effect.line) : Number.NaN));
          expect(fired).toEqual(due.sort((a, b) => a - b));
        }
        expect(timers.nextAt).toBe(list.length === 0 ? null : Math.min(...list.map(({ at }) => at)));
      }
    }),
  );
});

test("one that is set while others fire, and is due, fires too", () => {
  const timers = new Timers();
  const log = (line: string) => ({ to: "log", line }) as const;
  timers.add({
    at: 1,
    isAlive: () => true,
    fire: (now) => {
      timers.add({ at: now, isAlive: () => true, fire: () => [log("second")] });
      return [log("first")];
    },
  });
  expect(timers.fireDue(1)).toEqual([log("first"), log("second")]);
  expect(timers.nextAt).toBeNull();
});

test("the dead are swept out, so that short jobs with long limits do not pile up, and the living stay", () => {
  const timers = new Timers();
  const alive = 700;
  let looks = 0;
  for (let index = 0; index < 100_000; index++) {
    timers.add({
      at: 1_000_000 - index,
      isAlive: () => {
        looks++;
        return index < alive;
      },
      fire: () => [{ to: "log", line: String(index) }],
    });
  }
  looks = 0;
  expect(timers.fireDue(1_000_000)).toHaveLength(alive);
  expect(looks).toBeLessThan(3000);
});
