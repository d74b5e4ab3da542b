import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { frameBytesMax, jsonDepthMax } from "../../src/limits.ts";
import { JsonError, parseJson } from "../../src/protocol/json.ts";
import { jsonText, TooLongError } from "../../src/protocol/json-encode.ts";

setDefaultTimeout(60_000); // a busy machine computes slowly

/** Its keys, and how often each was read, by a program that gives another value each time. */
const counting = <Target extends object>(target: Target) => {
  const reads = new Map<string | symbol, number>();
  const proxy = new Proxy(target, {
    get: (from, key) => {
      reads.set(key, (reads.get(key) ?? 0) + 1);
      return Reflect.get(from, key);
    },
  });
  return { proxy, reads };
};
const alternating = (first: unknown, then: unknown) => {
  let reads = 0;
  return {
    get speed(): unknown {
      return reads++ === 0 ? first : then;
    },
  };
};
const withHidden = (value: object, key: string, hidden: unknown): object =>
  Object.defineProperty(value, key, { value: hidden, enumerable: false });
const nested = (depth: number): unknown => (depth === 0 ? 1 : [nested(depth - 1)]);

class Pose {
  x = 1;
}
class Path extends Array<number> {}

describe("every value is read once, and what was checked is what is sent", () => {
  test("of an accessor that gives something else each time", () => {
    expect(jsonText(alternating(1.5, Number.NaN))).toBe('{"speed":1.5}');
    expect(jsonText([alternating("a", undefined), alternating({ a: 1 }, 1n)])).toBe(
      '[{"speed":"a"},{"speed":{"a":1}}]',
    );
    expect(() => jsonText(alternating(Number.NaN, 1.5))).toThrow("value.speed is NaN");
  });

  test("of a Proxy of an object or of a list", () => {
    const object = counting({ a: 1, b: { c: "x" } });
    expect(jsonText(object.proxy)).toBe('{"a":1,"b":{"c":"x"}}');
    expect([object.reads.get("a"), object.reads.get("b")]).toEqual([1, 1]);
    const list = counting([1, "two", [3]]);
    expect(jsonText({ list: list.proxy })).toBe('{"list":[1,"two",[3]]}');
    expect(["0", "1", "2", "length"].map((key) => list.reads.get(key))).toEqual([1, 1, 1, 1]);
  });

  test("of an accessor in a list, and of one behind which the rest changes", () => {
    const list: unknown[] = [0, 1, 2];
    Object.defineProperty(list, 0, { get: () => list.push("more") && "first", enumerable: true });
    expect(jsonText(list)).toBe('["first",1,2]');
    const shrinking: unknown[] = [0, 1, 2];
    Object.defineProperty(shrinking, 0, { get: () => shrinking.splice(1, 2).length });
    expect(() => jsonText(shrinking)).toThrow("value[1] is undefined");
    const losing: Record<string, unknown> = { a: 1, b: 2 };
    Object.defineProperty(losing, "a", { get: () => delete losing.b, enumerable: true });
    expect(() => jsonText(losing)).toThrow("value.b is undefined");
  });

  test("also where an accessor encodes something itself", () => {
    const outer = {
      get inner(): string {
        return jsonText({ a: [1] });
      },
      b: [2],
    };
    expect(jsonText(outer)).toBe('{"inner":"{\\"a\\":[1]}","b":[2]}');
  });

  test("as JSON.stringify writes it, of any value of JSON", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        try {
          const text = jsonText(value);
          expect(text).toBe(JSON.stringify(value));
          expect(parseJson(text)).toEqual(JSON.parse(text));
        } catch (error) {
          expect(error).toBeInstanceOf(JsonError);
          expect((error as Error).message).toMatch(/is not allowed|loses digits/);
        }
      }),
      { numRuns: 2000 },
    );
  });

  test.each<[unknown, string]>([
    [{ b: 1, a: 2, 1: 3 }, '{"1":3,"b":1,"a":2}'],
    [Object.assign(Object.create(null), { a: null }), '{"a":null}'],
    [withHidden({ a: 1 }, "b", Number.NaN), '{"a":1}'],
    [{ toJSON: 1 }, '{"toJSON":1}'],
    [{ toString: null, valueOf: 1, hasOwnProperty: "x" }, '{"toString":null,"valueOf":1,"hasOwnProperty":"x"}'],
    [[-0, 1e300, 5e-324], "[0,1e+300,5e-324]"],
    [["\ud800", "\u2028", "\0"], '["\\ud800","\u2028","\\u0000"]'],
    [nested(jsonDepthMax), `${"[".repeat(jsonDepthMax)}1${"]".repeat(jsonDepthMax)}`],
  ])("of %p", (value, text) => {
    expect(jsonText(value)).toBe(text);
  });
});

describe("what JSON cannot say is refused with its path, and never left out or changed", () => {
  test.each<[unknown, string]>([
    [Number.NaN, "value is NaN, which JSON cannot express"],
    [[1, Number.POSITIVE_INFINITY], "value[1] is Infinity"],
    [undefined, "value is undefined"],
    [[undefined], "value[0] is undefined"],
    [{ a: undefined }, "value.a is undefined"],
    [{ a: [{ b: undefined }] }, "value.a[0].b is undefined"],
    // biome-ignore lint/suspicious/noSparseArray: this is what must not become null
    [[, 1], "value[0] is undefined"],
    [new Array(1e9), "value makes a frame of more than"],
    [{ a: { b: () => 1 } }, "value.a.b is a function"],
    [10n, "value is a bigint"],
    [Symbol("x"), "value is a symbol"],
    [{ a: Symbol("x") }, "value.a is a symbol"],
    [{ [Symbol("x")]: 1 }, "value has a symbol for a key"],
    [new Date(0), "value is a Date, not a plain object"],
    [{ at: new Date(Number.NaN) }, "value.at is a Date, not a plain object"],
    [new Map([["a", 1]]), "value is a Map, not a plain object"],
    [new Set([1]), "value is a Set, not a plain object"],
    [new Uint8Array(2), "value is a Uint8Array, not a plain object"],
    [Buffer.from("x"), "value is a Buffer, not a plain object"],
    [new ArrayBuffer(2), "value is a ArrayBuffer, not a plain object"],
    [Promise.resolve(1), "value is a Promise, not a plain object"],
    [/x/, "value is a RegExp, not a plain object"],
    [new URL("tcp://x"), "value is a URL, not a plain object"],
    [new Number(Number.NaN), "value is a Number, not a plain object"],
    [new Number(1), "value is a Number, not a plain object"],
    [new String("x"), "value is a String, not a plain object"],
    [Object(1n), "value is a BigInt, not a plain object"],
    [new Pose(), "value is a Pose, not a plain object"],
    [Object.create({ inherited: 1 }), "value is a Object, not a plain object"],
    [Object.create(Object.create(null)), "value is a special object, not a plain object"],
    [Path.of(1), "value is a Path, not a plain list"],
    [Object.setPrototypeOf([1], null), "value is a special object, not a plain list"],
    [Object.assign([1], { toJSON: () => undefined }), "value has a toJSON, which is not called"],
    [{ x: Object.assign([1], { toJSON: () => Number.NaN }) }, "value.x has a toJSON"],
    [{ toJSON: () => 1 }, "value has a toJSON"],
    [withHidden({ a: 1 }, "toJSON", () => Number.NaN), "value has a toJSON"],
    [2 ** 53, "loses digits; send it as a string"],
    [{ constructor: 1 }, "value: the key constructor is not allowed"],
    [JSON.parse('[{"__proto__": 1}]'), "value[0]: the key __proto__ is not allowed"],
    [nested(jsonDepthMax + 1), `is nested deeper than ${jsonDepthMax}`],
  ])("%p", (value, message) => {
    const error = thrownBy(() => jsonText(value));
    expect(error).toBeInstanceOf(JsonError);
    expect((error as Error).message).toContain(message);
  });

  test.each<[string, unknown, string]>([
    [
      "an accessor",
      {
        a: [
          {
            get b() {
              throw new Error("the bus is down");
            },
          },
        ],
      },
      "value.a[0].b cannot be read: the bus is down",
    ],
    ["a Proxy that was revoked", { a: revoked() }, "value.a"],
    [
      "a Proxy that does not tell its keys",
      {
        a: new Proxy(
          {},
          {
            ownKeys: () => {
              throw "no";
            },
          },
        ),
      },
      "value.a cannot be read: a string was thrown",
    ],
    [
      "an item",
      Object.defineProperty([0, 1], 1, {
        get: () => {
          throw new TypeError("gone");
        },
      }),
      "value[1] cannot be read: gone",
    ],
    [
      "a list that says it is endless",
      new Proxy([], { get: (_, key) => (key === "length" ? Number.POSITIVE_INFINITY : 0) }),
      "value makes a frame of more than",
    ],
  ])("%s that cannot be read", (_what, value, message) => {
    const error = thrownBy(() => jsonText(value));
    expect(error).toBeInstanceOf(JsonError);
    expect((error as Error).message).toStartWith(message);
  });

  test("a value that contains itself, once or often", () => {
    const circle: unknown[] = [];
    circle.push(circle, circle);
    expect(() => jsonText(circle)).toThrow("in a circle");
    const ring: Record<string, unknown> = {};
    ring.next = { back: ring };
    expect(() => jsonText(ring)).toThrow("in a circle");
  });

  test("a value that no frame can hold, before all of it is written out", () => {
    let doubled: unknown = [1];
    for (let times = 0; times < 50; times++) doubled = [doubled, doubled];
    expect(() => jsonText(doubled)).toThrow(TooLongError);
    const row = Array<number>(100_000).fill(1);
    expect(() => jsonText(Array(1000).fill(row))).toThrow(TooLongError);
    expect(() => jsonText(Array(100_000).fill("x".repeat(1000)))).toThrow(TooLongError);
    expect(() => jsonText({ a: "x".repeat(frameBytesMax + 1) })).toThrow(TooLongError);
    expect(jsonText(["x".repeat(frameBytesMax - 10)])).toHaveLength(frameBytesMax - 6);
  });

  describe("where somebody has changed what all lists and objects inherit", () => {
    afterEach(() => {
      for (const prototype of [Array.prototype, Object.prototype]) Reflect.deleteProperty(prototype, "toJSON");
    });

    test.each([{ prototype: Array.prototype }, { prototype: Object.prototype }])("%p", ({ prototype }) => {
      Object.defineProperty(prototype, "toJSON", { value: () => "forged", configurable: true });
      expect(() => jsonText({ a: [1] })).toThrow("toJSON");
      expect(() => jsonText([1])).toThrow("toJSON");
    });
  });
});

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

function thrownBy(act: () => unknown): unknown {
  try {
    act();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}
