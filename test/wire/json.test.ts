import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { jsonDepthMax } from "../../src/limits.ts";
import { type Json, JsonError, jsonText, parseJson } from "../../src/wire/json.ts";

const parse = (text: string) => parseJson(Buffer.from(text));

/** Any JSON value that the engine carries: no key that reaches into other objects, no whole number that loses digits. */
const carriedJson = fc
  .json()
  .map((text): Json => JSON.parse(text))
  .filter((value) => {
    try {
      jsonText(value);
      return true;
    } catch {
      return false;
    }
  });

describe("JSON in", () => {
  test("any bytes give a value or a JsonError, and never another exception", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ maxLength: 200 }),
          fc.json().map((text) => Buffer.from(text)),
        ),
        (bytes) => {
          try {
            parseJson(bytes);
          } catch (error) {
            expect(error).toBeInstanceOf(JsonError);
          }
        },
      ),
      { numRuns: 2000 },
    );
  });

  test("encoding then decoding gives the same value", () => {
    fc.assert(
      fc.property(carriedJson, (value) => expect(parseJson(jsonText(value))).toEqual(value)),
      { numRuns: 2000 },
    );
  });

  test("minus zero arrives as zero", () => {
    expect(parseJson(jsonText([-0]))).toEqual([0]);
  });

  test("bytes that are not UTF-8 are refused, and a replacement character that was really sent is kept", () => {
    expect(() => parseJson(new Uint8Array([0x22, 0xff, 0x22]))).toThrow("not UTF-8");
    expect(parse('"\ufffd"')).toBe("\ufffd");
  });

  test.each(["NaN", "[Infinity]", "undefined", "{'a': 1}", "", "[1,]"])("%p is not JSON", (text) => {
    expect(() => parse(text)).toThrow("not JSON");
  });

  test.each(["9007199254740992", "[1, -9007199254740993]", '{"a": {"b": 123456789012345678901234567890}}'])(
    "a whole number that a double cannot hold exactly is refused: %s",
    (text) => {
      expect(() => parse(text)).toThrow("would lose digits; send it as a string");
    },
  );

  test("the largest exact whole number, and large numbers that are not written as whole ones, are kept", () => {
    expect(parse("[9007199254740991, 1e300, 1.5e+20]")).toEqual([9007199254740991, 1e300, 1.5e20]);
  });

  test("digits in a string do not count as a number", () => {
    expect(parse('["123456789012345678901", 1e20]')).toEqual(["123456789012345678901", 1e20]);
  });

  test("digits that are lost are found behind a string of megabytes, however it is escaped", () => {
    const strings = ["x".repeat(2_000_000), "\\n".repeat(800_000), '\\"'.repeat(800_000), "\\\\".repeat(800_000)];
    for (const string of strings) {
      expect(() => parse(`["${string}", 12345678901234567890]`)).toThrow("would lose digits");
      expect(parse(`["${string}", 1e20, "12345678901234567890"]`)).toHaveLength(3);
    }
  });

  test("of any numbers in any strings exactly those are refused that lose digits", () => {
    const part = fc.oneof(
      fc.bigInt({ min: -(2n ** 60n), max: 2n ** 60n }).map(String),
      fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => JSON.stringify(value)),
      fc.string().map((text) => JSON.stringify(`${text}\\12345678901234567890"`)),
    );
    fc.assert(
      fc.property(fc.array(part), (parts) => {
        const isLost = parts.some((text) => /^-?\d+$/.test(text) && !Number.isSafeInteger(Number(text)));
        if (isLost) expect(() => parse(`[${parts}]`)).toThrow("would lose digits");
        else expect(parse(`[${parts}]`)).toHaveLength(parts.length);
      }),
      { numRuns: 2000 },
    );
  });

  test("a frame full of large numbers is looked through once, not once a number", () => {
    // Looked through once a number, it takes hours.
    const count = 400_000;
    expect(parse(`[${Array(count).fill("1e300").join()}]`)).toHaveLength(count);
  });

  test("a number beyond what a double holds is refused", () => {
    expect(() => parse("[1e999]")).toThrow("[0]: a number beyond what a double holds");
  });

  test.each(["__proto__", "constructor", "prototype"])("the key %s is refused, with the path to it", (key) => {
    expect(() => parse(`{"a": [{"${key}": {"x": 1}}]}`)).toThrow(`a[0]: the key ${key} is not allowed`);
    expect(({} as { x?: number }).x).toBeUndefined();
  });

  test("nesting up to the limit is taken, and one level more is refused", () => {
    const nested = (depth: number) => "[".repeat(depth) + "]".repeat(depth);
    expect(Array.isArray(parse(nested(jsonDepthMax)))).toBe(true);
    expect(() => parse(nested(jsonDepthMax + 1))).toThrow(`nested deeper than ${jsonDepthMax}`);
  });
});

describe("JSON out", () => {
  test.each<[unknown, string]>([
    [Number.NaN, "value is NaN, which JSON cannot say"],
    [[1, Number.POSITIVE_INFINITY], "value[1] is Infinity"],
    [[undefined], "value[0] is undefined"],
    [{ a: { b: () => 1 } }, "value.a.b is a function"],
    [10n, "value is a bigint"],
    [{ a: Symbol("x") }, "value.a is a symbol"],
    [new Date(), "value is a Date, not a plain object"],
    [new Map(), "value is a Map, not a plain object"],
    [2 ** 53, "loses digits; send it as a string"],
    [{ constructor: 1 }, "the key constructor is not allowed"],
  ])("%p cannot travel, and the error says where it stands", (value, message) => {
    expect(() => jsonText(value)).toThrow(message);
  });

  test("a value that contains itself cannot travel", () => {
    const circle: unknown[] = [];
    circle.push(circle);
    expect(() => jsonText(circle)).toThrow("in a circle");
  });

  test("a property that is undefined is left out", () => {
    expect(jsonText({ a: undefined, b: 1 })).toBe('{"b":1}');
  });
});
