import { expect, test } from "bun:test";
import { Lateness } from "../../src/worker/lateness.ts";

test("a message is late by how much longer than the quickest it took, whatever the two clocks say", () => {
  const lateness = new Lateness();
  expect(lateness.of(5_000, 1_003)).toBe(0);
  expect(lateness.of(6_000, 2_000)).toBe(0);
  expect(lateness.of(7_000, 3_400)).toBeCloseTo(400, 0);
  expect(lateness.of(7_500, 3_500)).toBeCloseTo(0, 0);
});

test("clocks that drift apart make no message late", () => {
  const lateness = new Lateness();
  for (let second = 0; second < 86_400; second += 3) {
    const sentAt = second * 1_000;
    expect(lateness.of(sentAt, sentAt * 1.00005)).toBeLessThan(1);
  }
});

test("another router has another clock", () => {
  const lateness = new Lateness();
  lateness.of(1_000_000, 1_000);
  lateness.reset();
  expect(lateness.of(10, 60_000)).toBe(0);
  expect(lateness.of(20, 60_510)).toBeCloseTo(500, 0);
});
