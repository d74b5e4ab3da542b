import { expect, setDefaultTimeout, test } from "bun:test";
import { Pulse, untilPulse } from "../../src/transport/pulse.ts";

setDefaultTimeout(60_000); // on a busy machine

test("a pulse falls on the multiples of its interval, wherever it is begun", () => {
  for (const now of [0, 1, 1_499, 1_501, 2_999, 1_700_000_000_123]) {
    expect((now + untilPulse(now, 3_000)) % 3_000).toBe(0);
  }
});

test("a timer that rings early does not make two pulses of one", () => {
  expect(untilPulse(2_999, 3_000)).toBe(3_001);
  expect(untilPulse(3_001, 3_000)).toBe(2_999);
});

test("no two pulses are further apart than one and a half intervals, whatever the clock is set to", () => {
  for (let now = 0; now < 6_000; now += 7) expect(untilPulse(now, 3_000)).toBeWithin(1_500, 4_501);
});

test("two that are begun at different times are called in the same turn, and not after their end", async () => {
  const calls: string[] = [];
  const bothTwice = Promise.withResolvers<void>();
  const note = (name: string) => () => {
    calls.push(name);
    if (calls.length >= 4) bothTwice.resolve();
  };
  using _early = new Pulse(100, note("early"));
  await Bun.sleep(30);
  using _late = new Pulse(100, note("late"));
  // A pulse alone keeps no process alive.
  const patience = setTimeout(bothTwice.reject, 30_000);
  await bothTwice.promise;
  clearTimeout(patience);
  expect(new Set(calls.slice(-2))).toEqual(new Set(["early", "late"]));
  {
    using _ended = new Pulse(20, note("ended"));
  }
  await Bun.sleep(100);
  expect(calls).not.toContain("ended");
});
