import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { encodeTaskPart } from "../../src/protocol/encode-request.ts";
import { decodeMeta, metaText } from "../../src/protocol/frames.ts";
import { familiarMeta, familiarTaskName, learnMeta } from "../../src/protocol/meta-cache.ts";
import { decodeRequest, decodeTaskFrame } from "../../src/protocol/requests.ts";

/** As bytes it is parsed, whatever is familiar. */
const parsed = (text: string) => decodeMeta(Buffer.from(text));
const withSpaces = (value: unknown): string =>
  JSON.stringify(value, null, 1)
    .replace(/\n */g, " ")
    .replace(/([{[]) | (?=[}\]])/g, "$1");

const word = fc.oneof(
  fc.string({ maxLength: 12 }),
  fc.constantFrom("CLIENT-1", 'a,"pack":1', '","serial":"x', "\u00e9", ""),
);
const metas = fc.record(
  {
    id: word,
    role: word,
    version: fc.constantFrom(0.1, 0.2, "0.2", 0.3),
    type: fc.constantFrom("REQ", "ACK", "ERR"),
    pack: fc.oneof(fc.double({ noNaN: true, noDefaultInfinity: true }), fc.integer({ min: 0 })),
    serial: fc.option(word, { nil: undefined }),
    more: fc.option(fc.record({ pack: fc.integer(), serial: word }), { nil: undefined }),
  },
  { noNullPrototype: true },
);
const texts = fc
  .tuple(
    metas,
    fc.shuffledSubarray(["id", "role", "version", "type", "pack", "serial", "more"], { minLength: 6 }),
    fc.boolean(),
  )
  .map(([meta, keys, isSpaced]) => {
    const ordered = Object.fromEntries(keys.map((key) => [key, meta[key as keyof typeof meta]]));
    return isSpaced ? withSpaces(ordered) : JSON.stringify(ordered);
  });
/** The same in its usual order, of which most begin alike. */
const usual = metas.map((meta) => JSON.stringify(meta));

/** Puts something in the place of something. */
const spoiled = (text: string, at: number, length: number, by: string): string => {
  const start = at % (text.length + 1);
  return text.slice(0, start) + by + text.slice(start + length);
};
const repeated = [',"speed":2', '"speed":1,"speed":2', '"a":1,', ',"id":"x"', ',"t\\u0061sk":"y"', ',"task":"y"'];
const spoilings = fc.tuple(
  fc.nat(),
  fc.nat(3),
  fc.constantFrom(
    ...repeated,
    "",
    '"',
    "}",
    ",",
    "\\",
    "0",
    "-",
    ".",
    "e",
    " ",
    ',"serial":"s"',
    ',"pack":2',
    "\u00e9",
    "\n",
  ),
);

describe("a META that is familiar", () => {
  test("is what it would be if it were parsed, in whatever order, and whatever has come before", () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(texts, usual), { maxLength: 20 }), (several) => {
        for (const text of [...several, ...several]) expect(decodeMeta(text)).toEqual(parsed(text));
      }),
      { numRuns: 1_000 },
    );
  });

  test("is so where somebody has spoiled it, too", () => {
    fc.assert(
      fc.property(fc.oneof(texts, usual), fc.array(spoilings, { maxLength: 20 }), (text, several) => {
        expect(decodeMeta(text)).toEqual(parsed(text));
        for (const [at, length, by] of several) {
          const other = spoiled(text, at, length, by);
          expect(decodeMeta(other)).toEqual(parsed(other));
        }
      }),
      { numRuns: 1_000 },
    );
  });

  test("is one of the engine's own, and one as Python writes it, from the second on", () => {
    const own = (serial: string): string => metaText("CLIENT-1", "requestor", 0.2, "REQ", serial);
    const foreign = (serial: string): string =>
      `{"id": "arm", "role": "requestor", "version": 0.2, "type": "REQ", "pack": 17.25, "serial": "${serial}"}`;
    for (const write of [own, foreign]) {
      decodeMeta(write("1"));
      expect(familiarMeta(write("2"))).toMatchObject({ type: "REQ", serial: "2" });
    }
  });

  test("is none that has a serial before its end, which another text could have there again", () => {
    const text = (end: string): string =>
      `{"serial":"a","id":"i","role":"r","version":0.2,"type":"REQ","pack":1${end}}`;
    const meta = decodeMeta(text(""));
    expect(meta).toMatchObject({ serial: "a" });
    expect(familiarMeta(text(""))).toBeUndefined();
    expect(decodeMeta(text(',"serial":"b"'))).toMatchObject({ code: "BAD_FRAME" });
    expect(decodeMeta(text(""))).toMatchObject({ serial: "a" });
  });

  test("is none of which a key is written with escapes, and could be there again without", () => {
    const text = (key: string, end: number): string =>
      `{"pack":1,"id":"i","role":"r","version":0.2,"type":"REQ","${key}":${end}}`;
    for (const key of ['\\"pack', "\\u0070ack", "se\\u0072ial"])
      for (const end of [1, 2, 3]) expect(decodeMeta(text(key, end))).toEqual(parsed(text(key, end)));
    expect(decodeMeta(text("\\u0070ack", 1))).toMatchObject({ code: "BAD_FRAME" });
  });

  test("is forgotten once enough others have come", () => {
    const text = (id: string): string => metaText(id, "requestor", 0.2, "REQ", "1");
    decodeMeta(text("first"));
    expect(familiarMeta(text("first"))).toBeDefined();
    for (let count = 0; count < 100; count++)
      learnMeta(text(`other-${count}`), {
        id: `other-${count}`,
        role: "requestor",
        version: 0.2,
        type: "REQ",
        pack: 1,
      });
    expect(familiarMeta(text("first"))).toBeUndefined();
  });
});

describe("a TASK that is familiar", () => {
  const item = fc.oneof(
    fc.integer(),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.string(),
    fc.boolean(),
    fc.constant(null),
    fc.jsonValue(),
  );
  const tasks = fc
    .record(
      {
        task: fc.oneof(
          fc.constantFrom("count", "task_count", "TASK_drive", "", "x".repeat(128), "x".repeat(129)),
          fc.string(),
        ),
        args: fc.array(item, { maxLength: 4 }),
        kwargs: fc.dictionary(
          fc.oneof(fc.string(), fc.constantFrom("constructor", "prototype", "speed", "kwargs", ":", "}")),
          item,
          { maxKeys: 3 },
        ),
        pack: fc.oneof(fc.double({ noNaN: true, noDefaultInfinity: true }), fc.integer()),
        options: fc.option(fc.constantFrom({ priority: 3 }, {}), { nil: undefined }),
      },
      { noNullPrototype: true },
    )
    .chain((task) => fc.boolean().map((isSpaced) => (isSpaced ? withSpaces(task) : JSON.stringify(task))));

  const mustAgree = (text: string): void => {
    const name = familiarTaskName(text);
    if (name === undefined) return;
    const whole = decodeTaskFrame(Buffer.from(text));
    expect(whole).toMatchObject({ task: { task: name } });
    const meta = metaText("c", "requestor", 0.2, "REQ", "1");
    const [familiar, strange] = [text, Buffer.from(text)].map((frame) => decodeRequest([meta, frame]));
    expect(familiar).toMatchObject({ kind: "task", parts: [{ task: null, frame: text }] });
    expect(strange).toMatchObject({ kind: "task", parts: [{ name: (whole as { name: string }).name }] });
    expect(JSON.parse(text).options).toBeUndefined();
  };

  test("is right, and has the name that it would have if it were parsed", () => {
    fc.assert(fc.property(tasks, mustAgree), { numRuns: 5_000 });
  });

  test("is right where somebody has spoiled it, too", () => {
    fc.assert(
      fc.property(tasks, fc.array(spoilings, { maxLength: 20 }), (text, several) => {
        for (const [at, length, by] of several) mustAgree(spoiled(text, at, length, by));
      }),
      { numRuns: 2_000 },
    );
  });

  test("is what the client writes, and what Python does", () => {
    expect(familiarTaskName(encodeTaskPart("count", [2, 3], {}))).toBe("count");
    expect(familiarTaskName(encodeTaskPart("count", [-2.5, "a b", true, null], { speed: 1, to: "left" }))).toBe(
      "count",
    );
    expect(familiarTaskName('{"task": "TASK_count", "args": [2, 3], "kwargs": {}, "pack": 1795.25}')).toBe(
      "TASK_count",
    );
  });

  test("has each of its named arguments once", () => {
    const text = (kwargs: string): string => `{"task":"count","args":["kwargs",":{"],"kwargs":{${kwargs}},"pack":1}`;
    for (const kwargs of [
      '"a":1',
      '"a":"a","b":"a"',
      '"kwargs":1,"a":""',
      '"a": "}", "b": "x:"',
      '"a":1,"A":2,"b":null',
    ])
      expect(familiarTaskName(text(kwargs))).toBe("count");
    for (const kwargs of [
      '"a":1,"a":1',
      '"a":1,"b":2,"a":3',
      '"kwargs":1, "kwargs": 2',
      '"}":":","}":":"',
      '"":1,"":2',
    ]) {
      expect(familiarTaskName(text(kwargs))).toBeUndefined();
      expect(decodeTaskFrame(text(kwargs))).toMatchObject({ code: "BAD_FRAME" });
    }
  });

  test.each([
    ["a whole number that loses digits", '{"task":"count","args":[12345678901234567],"kwargs":{},"pack":1}'],
    ["the key __proto__", '{"task":"count","args":[],"kwargs":{"__proto__":1},"pack":1}'],
    ["the key constructor", '{"task":"count","args":[],"kwargs":{"constructor":1},"pack":1}'],
    ["options", '{"task":"count","args":[],"kwargs":{},"pack":1,"options":{"ttlMs":1}}'],
    ["no name", '{"task":"","args":[],"kwargs":{},"pack":1}'],
    ["a long text", `{"task":"count","args":["${"x".repeat(5_000)}"],"kwargs":{},"pack":1}`],
  ])("is none that has %s", (_, text) => {
    expect(familiarTaskName(text)).toBeUndefined();
  });
});
