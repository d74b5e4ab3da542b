import { expect, test } from "bun:test";
import { didYouMean, nearest } from "../../src/process/nearest.ts";

test.each([
  ["cuont", "count"],
  ["coun", "count"],
  ["counts", "count"],
  ["Count", "count"],
  ["forwrad", "forward"],
  ["turn-left", "turn_left"],
  ["tu", "turn_left"],
])("%s was probably meant as %s", (given, meant) => {
  expect(nearest(given, ["count", "turn_left", "forward"])).toBe(meant);
});

test.each(["fly", "x", "", "-", "mount-point", "c".repeat(1000)])("%p was meant as nothing that is there", (given) => {
  expect(nearest(given, ["count", "turn_left", "forward"])).toBeNull();
  expect(didYouMean(given, ["count"])).toBe("");
});

test("of several the nearest is named", () => {
  expect(nearest("test2", ["test1x", "test_2", "test22"])).toBe("test_2");
});
