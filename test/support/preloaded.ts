/**
 * A copy of a program of Bun that loads another library before libc, in all processes of an engine: these get no LD_PRELOAD. A library that Bun
 * names and glibc has left empty gives its place in the list of needed ones.
 */
import { chmodSync, copyFileSync, readFileSync, writeFileSync } from "node:fs";

const place = "libpthread.so.0";

/** Entries of the dynamic section, elf(5). */
const needed = 1n;
const strings = 5n;
const entryBytes = 16;

/**
 * Writes the copy of `program` to `path`. The library is copied to where its name is as short as it must be; the caller removes it.
 * Returns its path there.
 */
export const writePreloaded = (library: string, program: string, path: string): string => {
  const short = `/dev/shm/${Math.random().toString(36).slice(2, 5).padEnd(3, "x")}.so`;
  if (short.length !== place.length) throw new Error(`${short} has not the length of ${place}`);
  copyFileSync(library, short);
  const image = readFileSync(program);
  const headers = Number(image.readBigUInt64LE(32));
  const segments = Array.from({ length: image.readUInt16LE(56) }, (_, index) => {
    const at = headers + index * image.readUInt16LE(54);
    const [offset, address, size] = [8, 16, 32].map((field) => Number(image.readBigUInt64LE(at + field)));
    return { type: image.readUInt32LE(at), offset: offset ?? 0, address: address ?? 0, size: size ?? 0 };
  });
  const dynamic = segments.find(({ type }) => type === 2);
  if (dynamic === undefined) throw new Error(`${program} is linked statically`);
  const entries = Array.from({ length: dynamic.size / entryBytes }, (_, index) => dynamic.offset + index * entryBytes);
  const table = entries.find((at) => image.readBigInt64LE(at) === strings) ?? 0;
  const address = Number(image.readBigUInt64LE(table + 8));
  const segment = segments.find((it) => it.type === 1 && address >= it.address && address < it.address + it.size);
  const names = address - (segment?.address ?? 0) + (segment?.offset ?? 0);
  const nameAt = (at: number): number => names + Number(image.readBigUInt64LE(at + 8));
  const libraries = entries.filter((at) => image.readBigInt64LE(at) === needed);
  const ours = libraries.find((at) => image.toString("latin1", nameAt(at), nameAt(at) + place.length) === place);
  const [first] = libraries;
  if (first === undefined || ours === undefined) throw new Error(`${program} does not need ${place}`);
  image.write(short, nameAt(ours), "latin1");
  const value = image.readBigUInt64LE(ours + 8);
  image.writeBigUInt64LE(image.readBigUInt64LE(first + 8), ours + 8);
  image.writeBigUInt64LE(value, first + 8);
  writeFileSync(path, image);
  chmodSync(path, 0o755);
  return short;
};
