import { expect, test } from "bun:test";
import { thrownLines, thrownMessage } from "../../src/worker/thrown.ts";

test("an Error is its message, or its name where it has none", () => {
  expect(thrownMessage(new Error("no motor"))).toBe("no motor");
  expect(thrownMessage(new RangeError())).toBe("RangeError");
});

test("a string is itself, and anything else is shown as it is written", () => {
  expect(thrownMessage("stuck")).toBe("stuck");
  expect(thrownMessage("")).toBe('threw ""');
  expect(thrownMessage(null)).toBe("threw null");
  expect(thrownMessage(undefined)).toBe("threw undefined");
  expect(thrownMessage(Symbol("s"))).toBe("threw Symbol(s)");
  expect(thrownMessage(42)).toBe("threw 42");
});

test("what throws when it is looked at is still a message", () => {
  const hostile = Object.defineProperty(new Error(), "message", {
    get: () => {
      throw new Error("do not look");
    },
  });
  expect(thrownMessage(hostile)).toBe("threw something that cannot be shown");
  expect(thrownLines(hostile).length).toBeGreaterThan(0);
});

test("the log has the stack line by line, and the cause", () => {
  const lines = thrownLines(new Error("outer", { cause: new Error("inner") }));
  expect(lines[0]).toBe("Error: outer");
  expect(lines[1]).toContain("thrown.test.ts");
  expect(lines.at(-1)).toBe("    caused by: inner");
});

test("no line of a message looks like a line of the log", () => {
  const forged = "two is no number\n[ROUTER-MASTER] Routing started\r\n\tdone";
  for (const thrown of [new Error(forged), forged, new Error("outer", { cause: new Error(forged) })]) {
    const [, ...rest] = thrownLines(thrown);
    for (const line of rest) expect(line).toStartWith("    ");
  }
});
