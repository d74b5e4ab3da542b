/**
 * The emergency stop on the disk: the file `stopped` in the state folder, from the stop until its
 * reset. At a start every name that begins with `stopped` counts as a stop, whatever it is.
 *
 * A full disk has no room for a new file. So each start reserves `stop.spare`; its rename to
 * `stopped` needs no free block, and a reset renames it back. The reason is written in place and
 * only informs a person: a file without one is a stop, too.
 */
import { constants } from "node:fs";
import { lstat, open, readdir, readFile, rename, rmdir, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import type { Stopped } from "../process/messages.ts";

const latchName = "stopped";
const spareName = "stop.spare";

/** bytes of the spare file, which has blocks of its own: no reason is longer. */
const spareBytes = 4096;

const stoppedSchema = v.object({ reason: v.string(), since: v.number() });

export class Latch {
  readonly #folder: string;
  /** Device and inode of the folder, which another one may replace under the same name. */
  readonly #identity: string;
  readonly #latch: string;
  readonly #spare: string;
  /** The stop is known to be on the disk. */
  #isOnDisk = false;

  private constructor(folder: string, identity: string) {
    this.#folder = folder;
    this.#identity = identity;
    this.#latch = join(folder, latchName);
    this.#spare = join(folder, spareName);
  }

  /** Rejects with the error of the file system, as all methods do. */
  static async of(folder: string): Promise<Latch> {
    return new Latch(folder, identityOf(await stat(folder)));
  }

  /** Resolves with the stop of the last engine; with null, the spare file is reserved. */
  async begin(): Promise<Stopped | null> {
    const [name] = await this.#names();
    if (name === undefined) await reserve(this.#spare);
    await this.#sync();
    if (name === undefined) return null;
    this.#isOnDisk = true;
    return this.#read(join(this.#folder, name));
  }

  /** Puts the stop on the disk. A repeated call retries what failed before. */
  async set(stopped: Stopped): Promise<void> {
    try {
      if (this.#isOnDisk && (await isThere(this.#latch))) return await this.#mustBeSame();
      this.#isOnDisk = false;
      await this.#name(stopped);
      await this.#sync();
      this.#isOnDisk = true;
    } catch (failure) {
      // A missing folder explains more than a missing file.
      await this.#mustBeSame();
      throw failure;
    }
  }

  /** Takes the stop from the disk. If it rejects, a start still finds the stop. */
  async clear(): Promise<void> {
    await this.#mustBeSame();
    const names = await this.#names();
    const kept = await firstFile(names.map((name) => join(this.#folder, name)));
    // The next stop has its file before this one is gone.
    await reserve(kept ?? this.#spare);
    this.#isOnDisk = false;
    for (const name of names) if (join(this.#folder, name) !== kept) await remove(join(this.#folder, name));
    if (kept !== null) await rename(kept, this.#spare);
    try {
      await this.#sync();
    } catch (failure) {
      await rename(this.#spare, this.#latch).catch(ignore);
      throw failure;
    }
  }

  async #name(stopped: Stopped): Promise<void> {
    if (await isThere(this.#latch)) {
      // A sync failed before. On a read-only disk a second sync succeeds all the same; a rename
      // fails.
      const other = `${this.#latch}.again`;
      await rename(this.#latch, other);
      await rename(other, this.#latch);
      return writeReason(this.#latch, stopped);
    }
    // Before the rename: a partly written reason never belongs to an earlier stop.
    await writeReason(this.#spare, stopped);
    try {
      await rename(this.#spare, this.#latch);
    } catch {
      // The spare file was removed. An empty file is enough, and often needs no block.
      await (await open(this.#latch, "a", 0o600)).close();
      await writeReason(this.#latch, stopped);
    }
  }

  /** Everything that counts as a stop, `stopped` itself first. */
  async #names(): Promise<string[]> {
    return (await readdir(this.#folder)).filter((name) => name.startsWith(latchName)).sort();
  }

  async #read(path: string): Promise<Stopped> {
    const stats = await lstat(path);
    try {
      if (!stats.isFile() || stats.size > spareBytes) throw new Error("it is not a stop that an engine has written");
      return v.parse(stoppedSchema, JSON.parse(await readFile(path, "utf8")));
    } catch {
      // Its existence is enough; only the reason is unknown.
      return { reason: `${path} is there and cannot be read`, since: stats.mtimeMs / 1000 };
    }
  }

  async #sync(): Promise<void> {
    await syncFolder(this.#folder);
    await this.#mustBeSame();
  }

  /** A start looks up the folder by name: it does not find a stop in a folder that was renamed. */
  async #mustBeSame(): Promise<void> {
    const identity = await stat(this.#folder).then(identityOf, () => null);
    if (identity === this.#identity) return;
    const what = identity === null ? "is gone" : "is another one than at this engine's start";
    throw new Error(`the state folder ${this.#folder} ${what}; put it back, or restart the engine`);
  }
}

/** Puts the names in a folder on the disk: a new, renamed or removed file is there only then. */
export const syncFolder = async (path: string): Promise<void> => {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
};

const identityOf = ({ dev, ino }: { readonly dev: number; readonly ino: number }): string => `${dev}:${ino}`;

const ignore = (): void => undefined;

const isThere = (path: string): Promise<boolean> =>
  lstat(path).then(
    () => true,
    () => false,
  );

const firstFile = async (paths: readonly string[]): Promise<string | null> => {
  for (const path of paths) if ((await lstat(path)).isFile()) return path;
  return null;
};

/** Makes it a file without a reason, but with blocks for any, and syncs it. */
const reserve = (path: string): Promise<void> => overwrite(path, constants.O_CREAT, "");

/** Ignores errors: nothing depends on the reason. */
const writeReason = (path: string, stopped: Stopped): Promise<void> =>
  overwrite(path, 0, JSON.stringify(stopped)).catch(ignore);

/** Writes in place, which needs no free block. White space pads the JSON. */
const overwrite = async (path: string, flags: number, text: string): Promise<void> => {
  const bytes = Buffer.alloc(spareBytes, " ");
  bytes.write(text);
  const file = await open(path, constants.O_WRONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | flags, 0o600);
  try {
    for (let at = 0; at < spareBytes; ) at += (await file.write(bytes, at, spareBytes - at, at)).bytesWritten;
    await file.sync();
  } finally {
    await file.close();
  }
};

const remove = async (path: string): Promise<void> => {
  if ((await lstat(path)).isDirectory()) await rmdir(path);
  else await unlink(path);
};
