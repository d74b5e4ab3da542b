import { expect, test } from "bun:test";
import { thrownLines, thrownMessage } from "../../src/tasks/thrown.ts";

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

test("the log has the stack line by line, and those of the causes", () => {
  const lines = thrownLines(new Error("outer", { cause: new Error("inner", { cause: "a stone" }) }));
  expect(lines[0]).toBe("Error: outer");
  expect(lines[1]).toContain("thrown.test.ts");
  const inner = lines.indexOf("    caused by: Error: inner");
  expect(lines[inner + 1]).toContain("thrown.test.ts");
  expect(lines.at(-1)).toBe("    caused by: a stone");
});

const caused = (message: string, cause: unknown): Error => new Error(message, { cause });
const circle = new Error("circle");
circle.cause = caused("round", circle);
const changed = new Error("before");
changed.message = "after";
const revoked = Proxy.revocable({}, {});
revoked.revoke();
const hostile = new Proxy(
  {},
  {
    get: () => {
      throw new Error("do not look");
    },
    getPrototypeOf: () => {
      throw new Error("do not ask");
    },
  },
);
const throwing = (key: string, error = new Error("outer")): Error =>
  Object.defineProperty(error, key, {
    get: () => {
      throw new Error("do not look");
    },
  });
const many = Array.from({ length: 10_000 }, (_, index) => new Error(`e${index}`));

test.each<[what: string, thrown: unknown, message: string]>([
  [
    "the reasons of Promise.any",
    new AggregateError([new Error("left: stuck"), "right"], "none"),
    "none (left: stuck; right)",
  ],
  ["an AggregateError without a message", new AggregateError([new Error("a"), null]), "AggregateError (a; threw null)"],
  ["an AggregateError without reasons", new AggregateError([]), "AggregateError"],
  ["reasons within reasons", new AggregateError([new AggregateError(["a", "b"], "in")], "out"), "out (in (a; b))"],
  ["equal reasons", new AggregateError(["late", "late"], "none"), "none (late; late)"],
  ["many reasons", new AggregateError(many, "none"), "none (e0; e1; e2; e3; e4; e5; e6; e7; …)"],
  ["a cause", caused("outer", new Error("inner")), "outer (caused by: inner)"],
  ["a cause that is no Error", caused("outer", { code: 7 }), "outer (caused by: threw { code: 7, })"],
  ["a chain of causes", caused("a", caused("b", "c")), "a (caused by: b (caused by: c))"],
  ["a cause that the message has already", caused("cannot drive: stuck", new Error("stuck")), "cannot drive: stuck"],
  ["a circle of causes", circle, "circle (caused by: round (…))"],
  [
    "what ends `using`",
    new SuppressedError(new Error("end"), new Error("body"), "both"),
    "both (end; suppressed: body)",
  ],
  ["an abort", new DOMException("The operation was aborted.", "AbortError"), "The operation was aborted."],
  ["a message of several lines", new Error("no motor\r\n  at pin 4"), "no motor at pin 4"],
  ["a message that was changed", changed, "after"],
  ["a revoked proxy", revoked.proxy, "threw <Revoked Proxy>"],
  ["a proxy that throws", hostile, "threw {}"],
  ["a cause that throws", throwing("cause"), "outer"],
  ["a cause that is hostile", caused("outer", hostile), "outer (caused by: threw {})"],
  ["errors that throw", throwing("errors", new AggregateError(["a"], "outer")), "outer"],
])("%s: the message is one line that says what the log says at length", (_, thrown, message) => {
  expect(thrownMessage(thrown)).toBe(message);
  const [first, ...rest] = thrownLines(thrown);
  expect(first).not.toBe("");
  for (const line of rest) expect(line).toStartWith("    ");
});

test("what is huge is cut, in the message and in the log", () => {
  const huge = "y".repeat(1_000_000);
  const lines = "y\n".repeat(100_000);
  for (const thrown of [huge, lines, new Error(huge), new Error(lines), caused("a", new Error(huge)), { huge }]) {
    expect(thrownMessage(thrown).length).toBeLessThan(4_000);
    const shown = thrownLines(thrown);
    expect(shown.length).toBeLessThan(110);
    expect(shown.join("").length).toBeLessThan(20_000);
    expect(shown.at(-1)).toMatch(/^ {4}… and \d+ more characters, not shown$/);
  }
});

test("no line of a message looks like a line of the log", () => {
  const forged = "two is no number\n[ROUTER-MASTER] Routing started\r\n\tdone";
  for (const thrown of [new Error(forged), forged, new Error("outer", { cause: new Error(forged) })]) {
    const [, ...rest] = thrownLines(thrown);
    for (const line of rest) expect(line).toStartWith("    ");
  }
});
