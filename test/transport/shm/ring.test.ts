import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { localRingBytes } from "../../../src/limits.ts";
import { libc } from "../../../src/transport/libc.ts";
import { makeMemory, mapMemory } from "../../../src/transport/shm/memory.ts";
import { type RingReader, ringsOf } from "../../../src/transport/shm/ring.ts";
import { encodeMessage } from "../../support/local-router.ts";

setDefaultTimeout(60_000); // on a busy machine

/** Both ends of one connection, each with the memory mapped for itself, as two processes have it. */
const bothEnds = () => {
  const descriptor = makeMemory() ?? -1;
  const [memory, other] = [mapMemory(descriptor), mapMemory(descriptor)];
  libc.close(descriptor);
  if (memory === null || other === null) throw new Error("no memory");
  return {
    maker: ringsOf(memory, true),
    taker: ringsOf(other, false),
    control: memory.control,
    [Symbol.dispose]: () => {
      memory.unmap();
      other.unmap();
    },
  };
};

const readAll = (reader: RingReader, room = localRingBytes): Buffer => {
  const into = Buffer.alloc(room);
  const size = reader.read(into, 0);
  expect(size).toBeGreaterThanOrEqual(0);
  return into.subarray(0, size);
};

test("what one end writes the other reads, in pieces of any size, over the end of the ring and round it many times", () => {
  using ends = bothEnds();
  const step = fc.record({
    isBack: fc.boolean(),
    write: fc.integer({ min: 0, max: localRingBytes + 1_000 }),
    read: fc.integer({ min: 1, max: localRingBytes }),
  });
  const ways = [
    { writer: ends.maker.writer, reader: ends.taker.reader, written: 0, read: 0 },
    { writer: ends.taker.writer, reader: ends.maker.reader, written: 0, read: 0 },
  ];
  const bytesFrom = (at: number, size: number): Buffer =>
    Buffer.from(Uint8Array.from({ length: size }, (_, index) => (at + index) % 251));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      for (const { isBack, write, read } of steps) {
        const way = ways[isBack ? 1 : 0];
        if (way === undefined) throw new Error("there are two ways");
        const room = localRingBytes - (way.written - way.read);
        const size = way.writer.write(bytesFrom(way.written, write));
        expect(size).toBe(Math.min(write, room));
        way.written += size;
        way.writer.show();
        const piece = readAll(way.reader, read);
        expect(piece.length).toBe(Math.min(read, way.written - way.read));
        expect(piece.equals(bytesFrom(way.read, piece.length))).toBe(true);
        way.read += piece.length;
      }
    }),
    { numRuns: 60 },
  );
  for (const { written } of ways) expect(written).toBeGreaterThan(2 * localRingBytes);
});

test("a message is written whole or not at all, and seen when that is said", () => {
  using ends = bothEnds();
  const { writer } = ends.maker;
  const { reader } = ends.taker;
  expect(writer.add(["first", Buffer.from("frame")])).toBe(true);
  expect(reader.isEmpty).toBe(true);
  writer.show();
  expect(readAll(reader)).toEqual(encodeMessage(["first", "frame"]));
  expect(writer.add([Buffer.alloc(localRingBytes)])).toBe(false);
  let count = 0;
  while (writer.add([Buffer.alloc(10_000, count)])) count++;
  expect(count).toBe(Math.floor(localRingBytes / encodeMessage([Buffer.alloc(10_000)]).length));
  writer.show();
  expect(readAll(reader)).toEqual(
    Buffer.concat(Array.from({ length: count }, (_, index) => encodeMessage([Buffer.alloc(10_000, index)]))),
  );
});

test("who sleeps is to be woken once, and who reads need not be", () => {
  using ends = bothEnds();
  const { writer } = ends.maker;
  const { reader } = ends.taker;
  const write = (): boolean => {
    writer.write(Buffer.from("x"));
    return writer.show();
  };
  expect(write()).toBe(false);
  expect(reader.sleep()).toBe(false);
  expect(write()).toBe(false);
  readAll(reader);
  expect(reader.sleep()).toBe(true);
  expect([write(), write()]).toEqual([true, false]);
  // It has read that before it was woken, and will be.
  readAll(reader);
  expect(reader.sleep()).toBe(true);
  expect(write()).toBe(false);
  readAll(reader);
  reader.wake();
  expect(reader.sleep()).toBe(true);
  expect(write()).toBe(true);
});

test("who finds no room is told of it once somebody has read, and who finds some is not", () => {
  using ends = bothEnds();
  const { writer } = ends.maker;
  const { reader } = ends.taker;
  writer.write(Buffer.alloc(localRingBytes));
  writer.show();
  readAll(reader, 10);
  expect(reader.isAwaited).toBe(false);
  expect(writer.write(Buffer.alloc(11))).toBe(10);
  writer.show();
  expect([reader.isAwaited, reader.isAwaited]).toEqual([true, false]);
});

test("an end that counts what cannot be is not believed: nothing is read from it, and nothing written for it", () => {
  for (const claim of [localRingBytes + 1, -1, 2 ** 31 - 1, -(2 ** 31)]) {
    using ends = bothEnds();
    const { reader, writer } = ends.maker;
    // Every count and mark of both rings.
    ends.control.fill(claim);
    expect(reader.read(Buffer.alloc(10), 0)).toBe(-1);
    expect(writer.write(Buffer.alloc(localRingBytes))).toBeLessThanOrEqual(localRingBytes);
    expect(writer.add([Buffer.alloc(localRingBytes)])).toBe(false);
  }
});
