import { describe, expect, test } from "bun:test";
import type { ArgsDef } from "citty";
import { asksForHelp, listOf, parseArgs } from "../../src/commands/args.ts";
import { UsageError } from "../../src/commands/command.ts";

const definitions: ArgsDef = {
  task: { type: "positional" },
  "args...": { type: "positional", required: false },
  "worker-port": { type: "string", alias: "p" },
  verbose: { type: "boolean" },
};

/** What a verb finds, without what was not given. */
const parse = (line: string): object => ({ ...parseArgs(line.split(" "), definitions) });
const complaint = (line: string, known: ArgsDef = definitions): string => {
  try {
    parseArgs(line === "" ? [] : line.split(" "), known);
  } catch (error) {
    if (error instanceof UsageError) return error.message;
    throw error;
  }
  throw new Error("it was accepted");
};

test.each([
  ["count 2 3", { task: "count", "args...": "2", _: ["count", "2", "3"] }],
  ["count -2 3 -.5 -1e3", { task: "count", "args...": "-2", _: ["count", "-2", "3", "-.5", "-1e3"] }],
  ["count - 3", { task: "count", "args...": "-", _: ["count", "-", "3"] }],
  ["--verbose count 2", { verbose: true, task: "count", "args...": "2", _: ["count", "2"] }],
  ["count --worker-port 5 2", { "worker-port": "5", task: "count", "args...": "2", _: ["count", "2"] }],
  ["count --worker-port=5=6", { "worker-port": "5=6", task: "count", _: ["count"] }],
  ["count --worker-port -5", { "worker-port": "-5", task: "count", _: ["count"] }],
  ["count -p 5", { "worker-port": "5", task: "count", _: ["count"] }],
  ["count -- --verbose --help", { task: "count", "args...": "--verbose", _: ["count", "--verbose", "--help"] }],
  ["-- count -- x", { task: "count", "args...": "--", _: ["count", "--", "x"] }],
])("%s is understood as %j", (line, understood) => {
  expect(parse(line)).toEqual(understood);
});

test("a flag that is not given has its default, where its verb has one", () => {
  const known: ArgsDef = { grace: { type: "string", default: "100" }, speed: { type: "string" } };
  expect({ ...parseArgs([], known) }).toEqual(expect.objectContaining({ grace: "100" }));
  expect({ ...parseArgs(["--grace", "5"], known) }).toEqual(expect.objectContaining({ grace: "5" }));
});

test.each([
  ["count --foo", "unknown flag --foo"],
  ["count --no-verbose", "unknown flag --no-verbose"],
  ["count --constructor", "unknown flag --constructor"],
  ["count -v", "unknown flag -v"],
  ["count -Infinity", "unknown flag -Infinity"],
  ["count --verbose --verbose", "--verbose is given twice"],
  ["count -p 1 --worker-port 2", "--worker-port is given twice"],
  ["count --verbose=true", "--verbose takes no value"],
  ["count --worker-port", "--worker-port needs a value"],
  ["count --worker-port --verbose", "--worker-port needs a value"],
  ["count --worker-port -- 5", "--worker-port needs a value"],
  ["--verbose", "TASK is missing"],
])("%s is wrong usage: %s", (line, message) => {
  expect(complaint(line)).toStartWith(message);
});

describe("arguments beyond those that are taken", () => {
  test("are wrong usage, and the first is named", () => {
    expect(complaint("a b c", { topic: { type: "positional" } })).toBe('argument "b" is too many: there can be 1');
    expect(complaint("a", {})).toBe('argument "a" is too many: none is taken');
  });
});

test("a flag whose hint says so may be given again, and all its values are found", () => {
  const args = parseArgs(["--on-stop", "a", "--on-stop=b=c", "--on-stop", "", "--", "--on-stop=d"], {
    "args...": { type: "positional", required: false },
    "on-stop": { type: "string", valueHint: "task..." },
  });
  expect(listOf(args, "on-stop")).toEqual(["a", "b=c", ""]);
  expect(listOf(args, "on")).toEqual([]);
});

test("a required flag that is missing is named", () => {
  expect(complaint("", { host: { type: "string", required: true } })).toBe("--host is required");
});

test("help is asked for by --help and -h, but not behind --", () => {
  expect(asksForHelp(["count", "--help"])).toBe(true);
  expect(asksForHelp(["-h"])).toBe(true);
  expect(asksForHelp(["count", "--", "--help"])).toBe(false);
});
