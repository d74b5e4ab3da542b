import { expect, test } from "bun:test";
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { Latch } from "../../src/supervisor/latch.ts";
import { canMount, type SmallDisk, smallDisk } from "../support/small-disk.ts";
import { tempFolder } from "../support/temp-folder.ts";

const smoke = { reason: "smoke", since: 1_700_000_000.5 };

/** What a start finds. */
const found = async (folder: string) => (await Latch.of(folder)).begin();

const spareIn = (folder: string) => statSync(join(folder, "stop.spare"));

test("a stop is found by the next start until it is cleared, and its file is kept for the next one", async () => {
  using folder = tempFolder();
  const latch = await Latch.of(folder.path);
  expect(await latch.begin()).toBeNull();
  expect(spareIn(folder.path)).toMatchObject({ size: 4096, blocks: 8 });
  for (let count = 0; count < 2; count++) {
    await latch.set(smoke);
    await latch.set({ reason: "fire", since: 1 });
    expect(await found(folder.path)).toEqual(smoke);
    await latch.clear();
    await latch.clear();
    expect(spareIn(folder.path)).toMatchObject({ size: 4096, blocks: 8 });
    expect(readFileSync(folder.at("stop.spare"), "utf8").trim()).toBe("");
    expect(await found(folder.path)).toBeNull();
  }
});

test("the longest reason is kept, whatever its characters", async () => {
  using folder = tempFolder();
  const latch = await Latch.of(folder.path);
  await latch.begin();
  for (const reason of ["\0".repeat(200), "\u{1f916}".repeat(100), "€".repeat(200)]) {
    await latch.set({ reason, since: 1 });
    expect(await found(folder.path)).toEqual({ reason, since: 1 });
    await latch.clear();
  }
});

test("every name that begins like the latch's is a stop, whatever has it, and a reset removes them all", async () => {
  const makers = [
    (path: string) => writeFileSync(path, ""),
    (path: string) => writeFileSync(path, JSON.stringify(smoke).slice(0, 12)),
    (path: string) => writeFileSync(path, "x".repeat(10_000)),
    (path: string) => mkdirSync(path),
    (path: string) => symlinkSync("/nowhere", path),
    (path: string) => void Bun.spawnSync(["mkfifo", path]),
  ];
  for (const make of makers) {
    for (const name of ["stopped", "stopped.new", "stopped.again"]) {
      using folder = tempFolder();
      make(folder.at(name));
      const latch = await Latch.of(folder.path);
      const stopped = { reason: `${folder.at(name)} is there and cannot be read`, since: expect.any(Number) };
      expect(await latch.begin()).toEqual(stopped);
      await latch.set(smoke);
      expect(await found(folder.path)).not.toBeNull();
      await latch.clear();
      expect(readdirSync(folder.path)).toEqual(["stop.spare"]);
      expect(spareIn(folder.path).size).toBeGreaterThanOrEqual(4096);
      expect(await found(folder.path)).toBeNull();
    }
  }
});

test("a stop is durable whatever has become of the file that is kept for it", async () => {
  const spoilers = [
    (path: string) => rmSync(path),
    (path: string) => {
      rmSync(path);
      mkdirSync(path);
    },
    (path: string) => {
      rmSync(path);
      symlinkSync("/nowhere", path);
    },
    (path: string) => writeFileSync(path, "no JSON, and longer than it was".repeat(1000)),
  ];
  for (const spoil of spoilers) {
    using folder = tempFolder();
    const latch = await Latch.of(folder.path);
    await latch.begin();
    spoil(folder.at("stop.spare"));
    await latch.set(smoke);
    expect(await found(folder.path)).not.toBeNull();
    await latch.clear();
    expect(await found(folder.path)).toBeNull();
  }
});

test("a stop that somebody has removed from the disk is put there again by the next one", async () => {
  using folder = tempFolder();
  const latch = await Latch.of(folder.path);
  await latch.begin();
  await latch.set(smoke);
  rmSync(folder.at("stopped"));
  await latch.set(smoke);
  expect(await found(folder.path)).toEqual(smoke);
});

test("a folder that is gone, or another one by now, is said", async () => {
  using folder = tempFolder({ "state/x": "" });
  const path = folder.at("state");
  const latch = await Latch.of(path);
  await latch.begin();
  renameSync(path, folder.at("aside"));
  await expect(latch.set(smoke)).rejects.toThrow(`the state folder ${path} is gone; put it back`);
  await expect(latch.clear()).rejects.toThrow("is gone");
  mkdirSync(path);
  await expect(latch.set(smoke)).rejects.toThrow("is another one than at this engine's start");
  rmSync(path, { recursive: true });
  renameSync(folder.at("aside"), path);
  await latch.set(smoke);
  expect(await found(path)).toEqual(smoke);
});

const onDisks = (name: string, work: (disk: SmallDisk) => Promise<void>): void =>
  test.skipIf(!canMount)(name, async () => {
    using disk = smallDisk("size=64k,nr_inodes=16");
    await work(disk);
  });

for (const what of ["blocks", "inodes"] as const) {
  onDisks(`a disk without free ${what} takes a stop, its reason, and its end`, async (disk) => {
    const latch = await Latch.of(disk.path);
    await latch.begin();
    disk.fill(what);
    for (let count = 0; count < 3; count++) {
      await latch.set(smoke);
      expect(await found(disk.path)).toEqual(smoke);
      await latch.clear();
      expect(await found(disk.path)).toBeNull();
    }
  });
}

onDisks("a full disk without the file for it refuses the start", async (disk) => {
  disk.fill("blocks");
  await expect((await Latch.of(disk.path)).begin()).rejects.toThrow("ENOSPC");
});

onDisks("a full disk keeps the stop of an engine that kept no file for it, until there is room", async (disk) => {
  writeFileSync(join(disk.path, "stopped"), "");
  disk.fill("blocks");
  const latch = await Latch.of(disk.path);
  expect(await latch.begin()).not.toBeNull();
  await expect(latch.clear()).rejects.toThrow("ENOSPC");
  expect(await found(disk.path)).not.toBeNull();
  disk.free();
  await latch.clear();
  expect(await found(disk.path)).toBeNull();
});

onDisks(
  "a disk that can only be read keeps what it has: neither a stop nor its end is said to be on it",
  async (disk) => {
    const latch = await Latch.of(disk.path);
    await latch.begin();
    disk.isReadOnly = true;
    await expect(latch.set(smoke)).rejects.toThrow("EROFS");
    await expect(latch.set(smoke)).rejects.toThrow("EROFS");
    disk.isReadOnly = false;
    await latch.set(smoke);
    disk.isReadOnly = true;
    await latch.set(smoke);
    await expect(latch.clear()).rejects.toThrow("EROFS");
    disk.isReadOnly = false;
    expect(await found(disk.path)).not.toBeNull();
  },
);
