import { expect, test } from "bun:test";
import { task_count } from "../../src/tasks/count.ts";
import type { Json, JsonObject, TaskContext } from "../../src/tasks/task.ts";

const context: TaskContext = {
  signal: new AbortController().signal,
  jobSerial: "",
  progress: () => expect.unreachable("count has no progress"),
  log: () => expect.unreachable("count has nothing to say"),
  publish: () => expect.unreachable("count has no data"),
};
const count = (args: Json[], kwargs: JsonObject = {}): unknown => task_count(args, kwargs, context);

test("count adds its arguments", () => {
  expect(count([2, 3])).toBe(5);
  expect(count([1, -0.5, 10])).toBe(10.5);
  expect(count([7])).toBe(7);
});

test("count of nothing is 0", () => {
  expect(count([])).toBe(0);
});

test("count says which argument is not a number, and what it is", () => {
  expect(() => count([1, "2"])).toThrow('count adds numbers, and argument 2 is "2"');
  expect(() => count([null])).toThrow("count adds numbers, and argument 1 is null");
  expect(() => count([[1], 2])).toThrow("count adds numbers, and argument 1 is [1]");
});

test("count does not repeat a long argument in full", () => {
  expect(() => count(["x".repeat(1_000_000)])).toThrow(/^count adds numbers, and argument 1 is "x{58}…$/);
});

test("count refuses keyword arguments", () => {
  expect(() => count([1], { start: 2 })).toThrow('count takes no keyword arguments, and got "start"');
});
