import { expect, setDefaultTimeout, test } from "bun:test";
import { fstatSync, openSync, readFileSync, truncateSync } from "node:fs";
import { cString, libc } from "../../../src/transport/libc.ts";
import { makeMemory, mapMemory } from "../../../src/transport/shm/memory.ts";
import { tempFolder } from "../../support/temp-folder.ts";

setDefaultTimeout(60_000); // on a busy machine

const mappings = (): number => readFileSync("/proc/self/maps", "utf8").split("memfd:task-engine").length - 1;

test("memory is seen by all that map it, as zeroes first, until they unmap it", () => {
  const before = mappings();
  const descriptor = makeMemory() ?? -1;
  const [one, other] = [mapMemory(descriptor), mapMemory(descriptor)];
  libc.close(descriptor);
  if (one === null || other === null) throw new Error("no memory");
  expect(other.rings[1].subarray(0, 4)).toEqual(Buffer.alloc(4));
  one.rings[1].write("shown");
  one.control[7] = 42;
  expect(other.rings[1].toString("utf8", 0, 5)).toBe("shown");
  expect(other.control[7]).toBe(42);
  expect(mappings()).toBeGreaterThan(before);
  one.unmap();
  other.unmap();
  expect(mappings()).toBe(before);
});

test("nobody can make memory shorter that somebody reads", () => {
  const descriptor = makeMemory() ?? -1;
  expect(() => truncateSync(`/proc/self/fd/${descriptor}`, 0)).toThrow();
  expect(libc.ftruncate(descriptor, 0)).toBe(-1);
  expect(mapMemory(descriptor)?.unmap()).toBeUndefined();
  libc.close(descriptor);
});

test("memory that could be taken away while it is read is not mapped, nor anything else that has a descriptor", () => {
  using folder = tempFolder({ file: "x" });
  const right = makeMemory() ?? -1;
  const { size } = fstatSync(right);
  const unsealed = libc.memfd_create(cString("unsealed"), 2);
  libc.ftruncate(unsealed, size);
  const short = libc.memfd_create(cString("short"), 2);
  libc.ftruncate(short, size - 1);
  libc.fcntl(short, 1033, 2 | 4);
  const file = openSync(folder.at("file"), "r+");
  libc.ftruncate(file, size);
  const unwritable = libc.memfd_create(cString("unwritable"), 2);
  libc.ftruncate(unwritable, size);
  libc.fcntl(unwritable, 1033, 2 | 4 | 8);
  const before = mappings();
  for (const descriptor of [unsealed, short, file, unwritable, openSync("/dev/null", "r+"), -1]) {
    expect(mapMemory(descriptor)).toBeNull();
    libc.close(descriptor);
  }
  expect(mappings()).toBe(before);
  expect(mapMemory(right)?.unmap()).toBeUndefined();
  libc.close(right);
});
