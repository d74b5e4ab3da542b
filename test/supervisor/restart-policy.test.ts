import { expect, test } from "bun:test";
import fc from "fast-check";
import { restartCalmMs, restartDelayMs, restartDelayMsMax } from "../../src/limits.ts";
import { afterDeath, noDeaths, type RestartDecision, type RestartRules } from "../../src/supervisor/restart-policy.ts";

const rules: RestartRules = { restartsMax: 5, restartWindowMs: 60_000 };

/** The decisions about deaths of these processes at these times. */
const decisions = (deaths: readonly (readonly [name: string, atMs: number])[], by = rules): RestartDecision[] => {
  let history = noDeaths;
  return deaths.map(([name, atMs]) => {
    const next = afterDeath(history, name, atMs, by);
    history = next.history;
    return next.decision;
  });
};
const delays = (made: readonly RestartDecision[]) =>
  made.map((one) => (one.type === "restart" ? one.delayMs : one.type));

test("each death in a row doubles the wait, and the sixth within the window is the last", () => {
  const deaths = [0, 1000, 2000, 3000, 4000, 5000].map((atMs) => ["router", atMs] as const);
  expect(delays(decisions(deaths))).toEqual([100, 200, 400, 800, 1600, "give up"]);
  expect(decisions(deaths).at(-1)).toEqual({ type: "give up" });
});

test("deaths that the window has left behind do not count", () => {
  const deaths = [0, 1, 2, 3, 4, 60_002.5].map((atMs) => ["router", atMs] as const);
  expect(delays(decisions(deaths)).at(-1)).toBe(100);
});

test("the wait is each process's own, the count is the engine's", () => {
  const deaths = ["a", "b", "c", "a", "b", "c"].map((name, index) => [name, index] as const);
  expect(delays(decisions(deaths))).toEqual([100, 100, 100, 200, 200, "give up"]);
});

test("after a calm time the wait begins anew, and it has its limit", () => {
  const many: RestartRules = { restartsMax: 1000, restartWindowMs: 1 };
  const flapping = Array.from({ length: 20 }, (_, index) => ["a", index * 10] as const);
  expect(delays(decisions(flapping, many)).at(-1)).toBe(restartDelayMsMax);
  expect(delays(decisions([...flapping, ["a", 190 + restartCalmMs]], many)).at(-1)).toBe(restartDelayMs);
});

test("no restart is ever allowed at all if the limit is 0", () => {
  expect(decisions([["a", 5]], { restartsMax: 0, restartWindowMs: 1 })).toEqual([{ type: "give up" }]);
});

test("whatever dies when, no window sees more restarts than the limit, and no wait is out of bounds", () => {
  const anyRules = fc.record({
    restartsMax: fc.integer({ min: 0, max: 8 }),
    restartWindowMs: fc.integer({ min: 1, max: 1000 }),
  });
  const anyDeaths = fc.array(fc.tuple(fc.constantFrom("a", "b", "c"), fc.integer({ min: 0, max: 300 })), {
    maxLength: 60,
  });
  fc.assert(
    fc.property(anyRules, anyDeaths, (by, gaps) => {
      let nowMs = 0;
      const deaths = gaps.map(([name, gapMs]) => {
        nowMs += gapMs;
        return [name, nowMs] as const;
      });
      const made = decisions(deaths, by);
      for (const [index, decision] of made.entries()) {
        const atMs = deaths[index]?.[1] ?? 0;
        const within = deaths.slice(0, index + 1).filter(([, otherMs]) => otherMs > atMs - by.restartWindowMs);
        expect(decision.type).toBe(within.length > by.restartsMax ? "give up" : "restart");
        if (decision.type === "give up") return;
        expect(decision.delayMs).toBeGreaterThanOrEqual(restartDelayMs);
        expect(decision.delayMs).toBeLessThanOrEqual(restartDelayMsMax);
      }
    }),
  );
});

test("the history stays as small as the limit, however long the engine runs", () => {
  let history = noDeaths;
  for (let nowMs = 0; nowMs < 100_000; nowMs += 7) {
    const next = afterDeath(history, `process ${nowMs % 3}`, nowMs, { restartsMax: 1000, restartWindowMs: 100 });
    history = next.history;
  }
  expect(history.deathsMs.length).toBeLessThanOrEqual(15);
  expect(history.streaks.size).toBe(3);
});
