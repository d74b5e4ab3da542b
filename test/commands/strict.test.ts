import { describe, expect, test } from "bun:test";
import type { ArgsDef } from "citty";
import { UsageError } from "../../src/commands/exit.ts";
import { asksForHelp, canonicalArgs, valuesOf } from "../../src/commands/strict.ts";

const definitions: ArgsDef = {
  task: { type: "positional" },
  "args...": { type: "positional", required: false },
  "worker-port": { type: "string", alias: "p" },
  mode: { type: "enum", options: ["fast", "slow"] },
  verbose: { type: "boolean" },
};

const parse = (line: string): string[] => canonicalArgs(line.split(" "), definitions);
const complaint = (line: string, known: ArgsDef = definitions): string => {
  try {
    canonicalArgs(line === "" ? [] : line.split(" "), known);
  } catch (error) {
    if (error instanceof UsageError) return error.message;
    throw error;
  }
  throw new Error("it was accepted");
};

test.each([
  ["count 2 3", "-- count 2 3"],
  ["count -2 3 -.5 -1e3", "-- count -2 3 -.5 -1e3"],
  ["count - 3", "-- count - 3"],
  ["--verbose count 2", "--verbose -- count 2"],
  ["count --worker-port 5 2", "--worker-port=5 -- count 2"],
  ["count --worker-port=5=6", "--worker-port=5=6 -- count"],
  ["count --worker-port -5", "--worker-port=-5 -- count"],
  ["count -p 5", "--worker-port=5 -- count"],
  ["count --mode fast", "--mode=fast -- count"],
  ["count -- --verbose --help", "-- count --verbose --help"],
  ["-- count -- x", "-- count -- x"],
])("%s is understood as %s", (line, canonical) => {
  expect(parse(line).join(" ")).toBe(canonical);
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
  ["count --mode quick", '--mode is "quick", which is not one of fast, slow'],
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
  const canonical = canonicalArgs(["--on-stop", "a", "--on-stop=b=c", "--on-stop", "", "--", "--on-stop=d"], {
    "args...": { type: "positional", required: false },
    "on-stop": { type: "string", valueHint: "task..." },
  });
  expect(valuesOf(canonical, "on-stop")).toEqual(["a", "b=c", ""]);
  expect(valuesOf(canonical, "on")).toEqual([]);
});

test("a required flag that is missing is named", () => {
  expect(complaint("", { host: { type: "string", required: true } })).toBe("--host is required");
});

test("help is asked for by --help and -h, but not behind --", () => {
  expect(asksForHelp(["count", "--help"])).toBe(true);
  expect(asksForHelp(["-h"])).toBe(true);
  expect(asksForHelp(["count", "--", "--help"])).toBe(false);
});
