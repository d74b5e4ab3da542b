import { expect, test } from "bun:test";
import { UsageError } from "../../src/commands/exit.ts";
import { objectFrom, plain, valueFrom } from "../../src/commands/values.ts";
import type { Json } from "../../src/wire/json.ts";

test.each<[string, Json]>([
  ["3", 3],
  ["-2.5e3", -2500],
  ["true", true],
  ["null", null],
  ['"3"', "3"],
  ["[1,{}]", [1, {}]],
  ["forward", "forward"],
  ["", ""],
  ["NaN", "NaN"],
  ["-Infinity", "-Infinity"],
  ["undefined", "undefined"],
  ["[1,", "[1,"],
  ["{x}", "{x}"],
  ["12345678901234567890", "12345678901234567890"],
  ["1e999", "1e999"],
  ["__proto__", "__proto__"],
])("%s means %p", (text, value) => {
  expect(valueFrom(text, "argument 1")).toEqual(value);
});

test.each(['{"__proto__":1}', '[{"constructor":1}]', "[12345678901234567890]", `${"[".repeat(65)}${"]".repeat(65)}`])(
  "%s, which the engine refuses and nobody means as text, is wrong usage",
  (text) => {
    expect(() => valueFrom(text, "argument 1")).toThrow(UsageError);
    expect(() => valueFrom(text, "argument 1")).toThrow(/^argument 1: /);
  },
);

test.each(["[1]", "3", "null", "speed=2", '{"__proto__":1}', '{"id":12345678901234567890}', ""])(
  "%p is no object for --kwargs",
  (text) => {
    expect(() => objectFrom(text, "--kwargs")).toThrow(/^--kwargs/);
    expect(() => objectFrom(text, "--kwargs")).toThrow(UsageError);
  },
);

test("an object for --kwargs comes through", () => {
  expect(objectFrom('{"speed": 2}', "--kwargs")).toEqual({ speed: 2 });
});

test("a string is printed as it is, everything else as JSON", () => {
  expect([plain("two\nlines"), plain(5), plain(null), plain({ a: ["b"] })]).toEqual([
    "two\nlines",
    "5",
    "null",
    '{"a":["b"]}',
  ]);
});
