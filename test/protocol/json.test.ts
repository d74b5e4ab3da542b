import { describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { jsonDepthMax } from "../../src/limits.ts";
import { type Json, JsonError, parseJson } from "../../src/protocol/json.ts";
import { jsonText } from "../../src/protocol/json-encode.ts";

setDefaultTimeout(60_000); // a busy machine computes slowly

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

  test.each([
    ...["NaN", "[Infinity]", "[-Infinity]", "undefined", "{'a': 1}", "", " ", "[1,]", '{"a":1,}', "{a:1}", "/**/1"],
    ...[
      "01",
      "-01",
      "1.",
      ".5",
      "+5",
      "0x10",
      "1e",
      "1e+",
      "--1",
      "- 1",
      "1_000",
      "True",
      "None",
      "nul",
      "1 2",
      "[1]]",
    ],
    ...[
      "\ufeff{}",
      "{}\ufeff",
      "{}\0",
      "\0{}",
      "{}\x00\x00",
      "\v1",
      "\u00a0 1",
      "1;",
      '"\n"',
      '"\t"',
      '"\0"',
      '"\x1f"',
    ],
    ...['"\\x41"', '"\\u12"', '"\\\'"', "'a'", '"a', "[", '{"a"', '{"a":}', '{"a" 1}', "{1:2}", '{"a":1 "b":2}'],
  ])("%p is not JSON", (text) => {
    expect(() => parse(text)).toThrow("not JSON");
  });

  test.each<[string, number[]]>([
    ["an overlong slash", [0xc0, 0xaf]],
    ["an overlong NUL", [0xc0, 0x80]],
    ["an overlong quote of three bytes", [0xe0, 0x80, 0xa2]],
    ["half of a surrogate pair", [0xed, 0xa0, 0x80]],
    ["a surrogate pair as CESU-8 has it", [0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80]],
    ["a character that is cut off", [0xf0, 0x9f, 0x98]],
    ["a continuation alone", [0x80]],
    ["a character beyond U+10FFFF", [0xf4, 0x90, 0x80, 0x80]],
    ["a letter of Latin-1", [0xe9]],
    ["the mark of UTF-16", [0xff, 0xfe]],
  ])("%s is not UTF-8", (_what, bytes) => {
    expect(() => parseJson(Buffer.from([0x22, ...bytes, 0x22]))).toThrow("not UTF-8");
    expect(() => parseJson(Buffer.from([0x7b, 0x22, ...bytes, 0x22, 0x3a, 0x31, 0x7d]))).toThrow("not UTF-8");
  });

  test.each<[string, Json]>([
    ["-0", -0],
    ["1E5", 100_000],
    ["1e-999", 0],
    ["0.1000000000000000055511151231257827", 0.1],
    ['"\\ud800"', "\ud800"],
    ['"\\ud83d\\ude00"', "\u{1f600}"],
    ['"\\u0000\x7f\u2028"', "\0\x7f\u2028"],
    [' \t\r\n{ "a" : [ 1 , 2 ] } \n', { a: [1, 2] }],
  ])("%p means the same to all who read it", (text, value) => {
    expect(parse(text)).toEqual(value);
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

/** JSON text, written with or without spaces, of objects some of which may have a key twice, each perhaps escaped. */
const written = fc.letrec<{ value: { text: string; isRepeated: boolean } }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    fc
      .oneof(fc.string(), fc.integer(), fc.constantFrom(1e300, 0.5, true, null, 'a":1', '{"a":1,"a":2}', '::\\"', "\\"))
      .map((value) => ({ text: JSON.stringify(value), isRepeated: false })),
    fc.array(tie("value"), { maxLength: 3 }).map((items) => ({
      text: `[${items.map(({ text }) => text)}]`,
      isRepeated: items.some((item) => item.isRepeated),
    })),
    fc
      .tuple(
        fc.array(fc.tuple(fc.constantFrom("a", "b", "task", ":", '"', "\\", "__"), fc.boolean(), tie("value")), {
          maxLength: 4,
        }),
        fc.constantFrom("", " ", "\n\t"),
      )
      .map(([entries, space]) => ({
        text: `{${entries.map(([key, isEscaped, { text }]) => `${space}${isEscaped ? escaped(key) : JSON.stringify(key)}${space}:${space}${text}${space}`)}}`,
        isRepeated:
          new Set(entries.map(([key]) => key)).size < entries.length ||
          entries.some(([, , { isRepeated }]) => isRepeated),
      })),
  ),
})).value;

const escaped = (key: string): string =>
  `"${[...key].map((letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`).join("")}"`;

describe("a key that is there twice", () => {
  test.each([
    ['{"task":"drive","task":"grip"}', 'value: the key "task" is there twice'],
    ['{"task":"drive","t\\u0061sk":"grip"}', 'value: the key "task" is there twice'],
    ['{"task":1,"task":1}', 'value: the key "task" is there twice'],
    ['{"a":{"b":[1,{"c":1,"d":{},"c":2}]}}', 'a.b[1]: the key "c" is there twice'],
    ['[0,{"":1,"":2}]', '[1]: the key "" is there twice'],
    ['{"0":1,"0":2}', 'value: the key "0" is there twice'],
    ['{"a":":","a" : ":"}', 'value: the key "a" is there twice'],
    ['{"a":1e300,"a":2}', 'value: the key "a" is there twice'],
    ['{"\u00e9":1,"\\u00e9":2}', 'value: the key "\u00e9" is there twice'],
    ['{"toString":1,"toString":2}', 'value: the key "toString" is there twice'],
    ['{"__proto__":1,"__proto__":2}', "value: the key __proto__ is not allowed"],
    ['{"a":1,"b":2,"a":[{"c":"\\"a\\":"}]}', 'value: the key "a" is there twice'],
  ])("%s is refused, with the path to it", (text, message) => {
    expect(() => parse(text)).toThrow(message);
  });

  test.each([
    '{"a":{"a":{"a":1}},"b":{"a":1}}',
    '[{"a":1},{"a":1}]',
    '{"a":"a","b":"\\"a\\":1,\\"a\\":2"}',
    '{"url":"tcp://127.0.0.1:9000","time":"12:30:00"}',
    '{"task":1,"Task":2,"t\\u0061sks":3}',
    '{"a":1e300,"b":1e300}',
  ])("%s has none", (text) => {
    expect(parse(text)).toEqual(JSON.parse(text));
  });

  test("is found in any text, and only where there is one", () => {
    fc.assert(
      fc.property(written, ({ text, isRepeated }) => {
        if (isRepeated) expect(() => parse(text)).toThrow("is there twice");
        else expect(parse(text)).toEqual(JSON.parse(text));
      }),
      { numRuns: 5000 },
    );
  });

  test("does not make a frame full of colons, quotes or keys take long", () => {
    const texts = [
      `{"a":"${":".repeat(2_000_000)}"}`,
      `{"a":"${'\\":'.repeat(600_000)}","b":1e300}`,
      `[${Array(200_000).fill('{"a":1e300}')}]`,
      `{${Array.from({ length: 100_000 }, (_, index) => `"${index}":1`)},"0":2}`,
    ];
    const [colons = "", quotes = "", objects = "", keys = ""] = texts;
    for (const text of [colons, quotes, objects]) expect(parse(text)).toBeObject();
    expect(() => parse(keys)).toThrow('the key "0" is there twice');
  });
});
