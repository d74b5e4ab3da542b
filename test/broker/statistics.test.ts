import { expect, test } from "bun:test";
import fc from "fast-check";
import { Histogram } from "../../src/broker/statistics.ts";

test("a quantile is at most a tenth above the true one", () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 0.002, max: 1e6, noNaN: true }), { minLength: 1 }),
      fc.constantFrom(0.5, 0.99, 1),
      (times, share) => {
        const histogram = new Histogram();
        for (const ms of times) histogram.add(ms);
        const truth = times.sort((a, b) => a - b)[Math.ceil(share * times.length) - 1] ?? 0;
        const quantile = histogram.quantile(share) ?? 0;
        // Its three digits are rounded.
        expect(quantile).toBeGreaterThanOrEqual(truth * 0.994);
        expect(quantile).toBeLessThanOrEqual(truth * 1.11);
      },
    ),
  );
});

test("there is no quantile of nothing", () => {
  expect(new Histogram().quantile(0.5)).toBeNull();
});

test("any time has a bucket", () => {
  const histogram = new Histogram();
  for (const ms of [0, -1, 1e-9, 1e300]) histogram.add(ms);
  expect(histogram.count).toBe(4);
  expect(histogram.quantile(1)).toBeGreaterThan(1e6);
});
