import { describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { ProtocolError } from "../../src/protocol/errors.ts";
import { decodeMeta, metaText } from "../../src/protocol/frames.ts";
import { MetaCache } from "../../src/protocol/meta-cache.ts";
import { spoiled, spoilings } from "../support/spoiled.ts";

setDefaultTimeout(60_000); // a busy machine computes slowly

/** Bytes are always parsed. */
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

/** A cache that has seen these texts. */
const cacheOf = (...seen: string[]): MetaCache<number> => {
  const cache = new MetaCache<number>();
  for (const text of seen) {
    const meta = parsed(text);
    if (meta instanceof ProtocolError) throw meta;
    cache.add(text, meta);
  }
  return cache;
};

describe("a META with a cached beginning", () => {
  test("decodes as if it were parsed, in any order of keys and after any others", () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(texts, usual), { maxLength: 20 }), (several) => {
        for (const text of [...several, ...several]) expect(decodeMeta(text)).toEqual(parsed(text));
      }),
      { numRuns: 1_000 },
    );
  });

  test("decodes as if it were parsed where it is spoiled, too", () => {
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

  test("is one of the engine's own, or one as Python writes it, from the second on", () => {
    const own = (serial: string): string => metaText("CLIENT-1", "requestor", 0.2, "REQ", serial);
    const foreign = (serial: string): string =>
      `{"id": "arm", "role": "requestor", "version": 0.2, "type": "REQ", "pack": 17.25, "serial": "${serial}"}`;
    for (const write of [own, foreign]) {
      expect(cacheOf(write("1")).find(write("2"))).toMatchObject({ type: "REQ", serial: "2" });
    }
  });

  test("is none with a serial before `pack`, which could stand a second time in the rest", () => {
    const text = (end: string): string =>
      `{"serial":"a","id":"i","role":"r","version":0.2,"type":"REQ","pack":1${end}}`;
    const meta = decodeMeta(text(""));
    expect(meta).toMatchObject({ serial: "a" });
    expect(cacheOf(text("")).find(text(""))).toBeUndefined();
    expect(decodeMeta(text(',"serial":"b"'))).toMatchObject({ code: "BAD_FRAME" });
    expect(decodeMeta(text(""))).toMatchObject({ serial: "a" });
  });

  test("is none with an escaped key, which could stand a second time in the rest", () => {
    const text = (key: string, end: number): string =>
      `{"pack":1,"id":"i","role":"r","version":0.2,"type":"REQ","${key}":${end}}`;
    for (const key of ['\\"pack', "\\u0070ack", "se\\u0072ial"])
      for (const end of [1, 2, 3]) expect(decodeMeta(text(key, end))).toEqual(parsed(text(key, end)));
    expect(decodeMeta(text("\\u0070ack", 1))).toMatchObject({ code: "BAD_FRAME" });
  });

  test("leaves the cache once enough others have come", () => {
    const text = (id: string): string => metaText(id, "requestor", 0.2, "REQ", "1");
    expect(cacheOf(text("first")).find(text("first"))).toBeDefined();
    const others = Array.from({ length: 100 }, (_, count) => text(`other-${count}`));
    expect(cacheOf(text("first"), ...others).find(text("first"))).toBeUndefined();
  });
});
