import { expect, test } from "bun:test";
import fc from "fast-check";
import { localBytesMax } from "../../src/limits.ts";
import { MessageReader } from "../../src/local/framing.ts";
import { encodeMessage } from "../support/local-router.ts";

const frame = fc.oneof(fc.uint8Array({ maxLength: 300 }), fc.string({ unit: "grapheme", maxLength: 100 }));
const message = fc.array(frame, { maxLength: 8 });

const asBytes = (frames: readonly (Uint8Array | string)[]): Buffer[] =>
  frames.map((part) => Buffer.from(part as string));

const sizes = (...values: number[]): Buffer => Buffer.from(new Uint32Array(values).buffer);

/** As the kernel writes it: into the room that there is. */
const feed = (reader: MessageReader, bytes: Uint8Array): void => {
  for (let at = 0; at < bytes.length; ) {
    const room = reader.room();
    const piece = bytes.subarray(at, at + room.length);
    room.set(piece);
    reader.took(piece.length);
    at += piece.length;
  }
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
          for (let next = reader.next(); next !== null; next = reader.next()) read.push(next);
        }
        expect(read).toEqual(messages.map(asBytes));
        expect(reader.unread).toBe(0);
        expect(reader.isBroken).toBe(false);
      },
    ),
  );
});

test("frames are bytes of their own: what comes later does not change them", () => {
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
  const room = reader.room().length;
  feed(reader, sizes(localBytesMax));
  expect(reader.room().length).toBeLessThanOrEqual(2 * room);
  const long = new MessageReader(localBytesMax);
  feed(long, encodeMessage([Buffer.alloc(8 * 1024 * 1024)]));
  expect(long.next()?.[0]?.length).toBe(8 * 1024 * 1024);
  expect(long.room().length).toBe(room);
});
