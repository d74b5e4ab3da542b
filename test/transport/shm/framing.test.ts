import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { localBytesMax } from "../../../src/limits.ts";
import { Budget, MessageReader, MessageWriter } from "../../../src/transport/shm/framing.ts";
import { encodeMessage } from "../../support/local-router.ts";

setDefaultTimeout(60_000); // on a busy machine

const frame = fc.oneof(fc.uint8Array({ maxLength: 300 }), fc.string({ unit: "grapheme", maxLength: 100 }));
const message = fc.array(frame, { maxLength: 8 });

const asBytes = (frames: readonly (Uint8Array | string)[]): Buffer[] =>
  frames.map((part) => Buffer.from(part as string));

const sizes = (...values: number[]): Buffer => Buffer.from(new Uint32Array(values).buffer);

/** As a ring does it: into the room that there is. */
const feed = (reader: MessageReader, bytes: Buffer): void => {
  for (let at = 0; at < bytes.length; ) at += reader.fill((into, to) => bytes.copy(into, to, at));
};

/** bytes that there is room for. */
const roomOf = (reader: MessageReader): number => {
  let room = 0;
  reader.fill((into, to) => {
    room = into.length - to;
    return 0;
  });
  return room;
};

test("messages arrive as they were, however the stream is cut", () => {
  fc.assert(
    fc.property(
      fc.array(message, { maxLength: 20 }),
      fc.infiniteStream(fc.integer({ min: 1, max: 400 })),
      (messages, cuts) => {
        const stream = Buffer.concat(messages.map((frames) => Buffer.from(encodeMessage(frames))));
        const reader = new MessageReader(localBytesMax);
        const read: Buffer[][] = [];
        for (let at = 0; at < stream.length; ) {
          const piece = stream.subarray(at, at + (cuts.next().value ?? 1));
          feed(reader, piece);
          at += piece.length;
          for (let next = reader.next(); next !== null; next = reader.next()) read.push(asBytes(next));
        }
        expect(read).toEqual(messages.map(asBytes));
        expect(reader.unread).toBe(0);
        expect(reader.isBroken).toBe(false);
      },
    ),
  );
});

test("what is written waits in its order, however little of it is taken at a time", () => {
  const long = fc.string({ unit: "grapheme", minLength: 30_000, maxLength: 40_000 });
  const rarelyLong = fc.oneof(
    { weight: 20, arbitrary: message },
    { weight: 1, arbitrary: fc.array(long, { maxLength: 3 }) },
  );
  fc.assert(
    fc.property(
      fc.array(rarelyLong, { maxLength: 40 }),
      fc.infiniteStream(fc.nat({ max: 50_000 })),
      (messages, sizes) => {
        const writer = new MessageWriter();
        const taken: Buffer[] = [];
        const take = (): void => {
          const piece = Buffer.from(writer.first().subarray(0, 1 + (sizes.next().value ?? 0)));
          taken.push(piece);
          writer.took(piece.length);
        };
        for (const [index, frames] of messages.entries()) {
          writer.add(frames);
          if (index % 3 === 0) take();
        }
        while (writer.size > 0) take();
        expect(Buffer.concat(taken).equals(Buffer.concat(messages.map(encodeMessage)))).toBe(true);
        expect(writer.first().length).toBe(0);
      },
    ),
    { numRuns: 30 },
  );
});

test("what has waited leaves no more memory behind than before", () => {
  const writer = new MessageWriter();
  writer.add(["short"]);
  const usual = writer.first().buffer.byteLength;
  writer.add([Buffer.alloc(8 * 1024 * 1024)]);
  while (writer.size > 0) writer.took(writer.first().length);
  writer.add(["short"]);
  expect(writer.first().buffer.byteLength).toBe(usual);
});

test("of a message with too many frames only so many are kept, and the next one is whole", () => {
  const reader = new MessageReader(localBytesMax);
  feed(reader, Buffer.concat([encodeMessage(["1", "2", "3", "4"]), encodeMessage(["5", "6"])]));
  expect(reader.next(2)?.map(String)).toEqual(["1", "2"]);
  expect(reader.next(2)?.map(String)).toEqual(["5", "6"]);
});

test("a frame is text, or bytes where it may be no UTF-8, or was sent with the mark of that", () => {
  const reader = new MessageReader(localBytesMax);
  const broken = Buffer.from([0x61, 0xff, 0x62]);
  feed(reader, encodeMessage(["a", "żółw 🐢", "\ufeffbegins with a byte order mark", broken, "\ufffd", ""]));
  expect(reader.next()).toEqual([
    "a",
    "żółw 🐢",
    "\ufeffbegins with a byte order mark",
    broken,
    Buffer.from("\ufffd"),
    "",
  ]);
});

test("frames are their reader's no more: what comes later does not change them", () => {
  const reader = new MessageReader(localBytesMax);
  feed(reader, encodeMessage(["first"]));
  const first = reader.next();
  feed(reader, encodeMessage(["other"]));
  reader.next();
  expect(String(first?.[0])).toBe("first");
});

test("a message is not begun to be given before it is whole", () => {
  const reader = new MessageReader(localBytesMax);
  const bytes = Buffer.from(encodeMessage(["one", "two"]));
  feed(reader, bytes.subarray(0, bytes.length - 1));
  expect(reader.hasMessage).toBe(false);
  expect(reader.next()).toBeNull();
  feed(reader, bytes.subarray(bytes.length - 1));
  expect(reader.hasMessage).toBe(true);
  expect(reader.next()?.map(String)).toEqual(["one", "two"]);
});

for (const [what, bytes] of [
  ["a frame that is longer than its message", Buffer.concat([sizes(8, 100), Buffer.alloc(4)])],
  ["a message that ends within the size of a frame", Buffer.concat([sizes(6, 0), Buffer.alloc(2)])],
  ["a message of more bytes than any has", sizes(localBytesMax + 1)],
] as const) {
  test(`${what} is the end of what can be read`, () => {
    const reader = new MessageReader(localBytesMax);
    feed(reader, bytes);
    expect(reader.next()).toBeNull();
    expect(reader.isBroken).toBe(true);
    feed(reader, encodeMessage(["too late"]));
    expect(reader.next()).toBeNull();
  });
}

test("a size alone makes the reader take hardly more memory, and after a long message it gives back what it took", () => {
  const reader = new MessageReader(localBytesMax);
  const room = roomOf(reader);
  feed(reader, sizes(localBytesMax));
  expect(roomOf(reader)).toBeLessThanOrEqual(2 * room);
  const long = new MessageReader(localBytesMax);
  feed(long, encodeMessage([Buffer.alloc(8 * 1024 * 1024)]));
  expect(long.next()?.[0]?.length).toBe(8 * 1024 * 1024);
  expect(roomOf(long)).toBe(room);
});

test("unfinished long messages of several readers share one budget: the one that finds no room in it is broken, and what it had is given back", () => {
  const budget = new Budget(4 * 1024 * 1024);
  const size = 3 * 1024 * 1024;
  const readers = [0, 1, 2].map(() => new MessageReader(size, budget));
  /** Gives all of a message but its last byte, as far as the reader takes it. */
  const begin = (reader: MessageReader): boolean => {
    const message = Buffer.alloc(4 + size - 1);
    message.writeUInt32LE(size, 0);
    for (let at = 0; at < message.length && !reader.isBroken; ) {
      at += reader.fill((into, start) => message.copy(into, start, at));
    }
    return !reader.isBroken;
  };
  const [first, second, third] = readers;
  expect(first && begin(first)).toBe(true);
  expect(second && begin(second)).toBe(false);
  expect(third && begin(third)).toBe(false);
  first?.close();
  const next = new MessageReader(size, budget);
  expect(begin(next)).toBe(true);
  expect(next.kept).toBeLessThanOrEqual(4 * 1024 * 1024);
});
