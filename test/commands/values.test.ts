import { expect, test } from "bun:test";
import { UsageError } from "../../src/commands/command.ts";
import { nameFrom, objectFrom, plainText, valueFrom } from "../../src/commands/values.ts";
import type { Json } from "../../src/protocol/json.ts";

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
  ["007", "007"],
  ["1.", "1."],
  ["+5", "+5"],
  ["-", "-"],
  ["-5", -5],
  [" 3 ", 3],
  ["True", "True"],
  ["None", "None"],
  ["it's", "it's"],
  ["a[1]", "a[1]"],
  ['say "hi"', 'say "hi"'],
  ['"[1,2"', "[1,2"],
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

test.each([
  ["[1,2", `'"[1,2"'`],
  ["{a:1}", `'"{a:1}"'`],
  ["{'a':1}", `'"{'\\''a'\\'':1}"'`],
  [' "hello', `'" \\"hello"'`],
  ['"two" words', `'"\\"two\\" words"'`],
  ["[INFO] up", `'"[INFO] up"'`],
  ["[1,]", `'"[1,]"'`],
  ["[NaN]", `'"[NaN]"'`],
  ['{"a":1,"a":2}', `'"{\\"a\\":1,\\"a\\":2}"'`],
])("%s begins like JSON and is none that is taken: wrong usage, which says how to send it as text", (text, typed) => {
  expect(() => valueFrom(text, "argument 1")).toThrow(UsageError);
  expect(() => valueFrom(text, "argument 1")).toThrow(/^argument 1: .*; to send it as text write /);
  expect(() => valueFrom(text, "argument 1")).toThrow(`write ${typed}`);
  const { stdout } = Bun.spawnSync(["sh", "-c", `printf %s ${typed}`]);
  expect(valueFrom(stdout.toString(), "argument 1")).toBe(text);
});

test("a long one that begins like JSON is not said again as a whole", () => {
  expect(() => valueFrom(`[${"1,".repeat(1000)}`, "argument 1")).toThrow(/write it as a JSON string, '"…"'$/);
});

test.each([
  ["", "TASK is empty"],
  [" ", "TASK is blank"],
  ["\u00a0\t", "TASK is blank"],
  ["x".repeat(129), "TASK is longer than 128 characters"],
])("%j is no name", (text, message) => {
  expect(() => nameFrom(text, "TASK")).toThrow(UsageError);
  expect(() => nameFrom(text, "TASK")).toThrow(message);
});

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
  expect([plainText("two\nlines"), plainText(5), plainText(null), plainText({ a: ["b"] })]).toEqual([
    "two\nlines",
    "5",
    "null",
    '{"a":["b"]}',
  ]);
});
