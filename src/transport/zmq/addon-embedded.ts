/**
 * Finds libzmq in the executable; `build.ts` replaces `addon.ts` by a call of this.
 *
 * dlopen(3) needs a file, and a person who can choose that file controls this process. Bun unpacks
 * to `/tmp/.bun-<uid>-<hash>.so` and checks the owner and size of an existing file, not its
 * content, and passes a path, whose file may be replaced before it is loaded. So this module
 * unpacks to a folder and file that only this user can write, compares a digest, which finds a
 * damaged file, and loads the descriptor that it read. All processes share the pages of that file.
 * Without such a folder (full, read-only, noexec, missing or taken), each process has a sealed file
 * in memory, which costs it 2 MB.
 */
import { dlopen } from "bun:ffi";
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  type Stats,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { StartError } from "../../transport/start-error.ts";
import { temporaryFolder } from "../fs.ts";
import { cString, libc } from "../libc.ts";

const othersBits = 0o077;

interface EmbeddedLibrary {
  /** Where it is in the executable, compressed by Zstandard. */
  readonly path: string;
  /** `digestOf` what comes out of it. */
  readonly digest: string;
}

const unpack = (path: string): Buffer => Bun.zstdDecompressSync(readFileSync(path));

/** Returns a path for dlopen, valid until this process ends. Throws StartError if there is none. */
export const unpackedAddon = (library: EmbeddedLibrary): string => fileOnDisk(library) ?? fileInMemory(library);

const fileOnDisk = ({ path: embeddedPath, digest }: EmbeddedLibrary): string | null => {
  try {
    const path = join(privateFolder(), `libzmq-${digest}.so`);
    return loadable(path, digest) ?? loadable(written(path, unpack(embeddedPath)), digest);
  } catch {
    return null; // If the other way fails too, its error is reported.
  }
};

/** Returns this user's private folder in the temporary folder. Throws if its name is taken. */
const privateFolder = (): string => {
  const folder = join(temporaryFolder(), `task-engine-${process.geteuid?.()}`);
  try {
    mkdirSync(folder, { mode: 0o700 });
  } catch (failure) {
    // Another process may have made it just now.
    if ((failure as NodeJS.ErrnoException).code !== "EEXIST") throw failure;
  }
  const stats = lstatSync(folder);
  if (!stats.isDirectory() || !isOnlyOurs(stats)) throw new Error(`${folder} is not this user's alone`);
  return folder;
};

const isOnlyOurs = ({ uid, mode }: Stats): boolean => uid === process.geteuid?.() && (mode & othersBits) === 0;

/** Writes the library atomically, so that no process reads half of it; an existing file stays. */
const written = (path: string, library: Buffer): string => {
  const draft = `${path}.${process.pid}`;
  rmSync(draft, { force: true });
  try {
    writeFileSync(draft, library, { mode: 0o600, flag: "wx" });
    linkSync(draft, path);
  } catch (failure) {
    if (!existsSync(path)) throw failure;
  } finally {
    rmSync(draft, { force: true });
  }
  return path;
};

/**
 * Opens `path` and returns its descriptor's path if it is owned by this user, is the library and
 * can be loaded. A wrong file is removed.
 */
const loadable = (path: string, digest: string): string | null => {
  try {
    const descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const stats = fstatSync(descriptor);
    if (stats.isFile() && isOnlyOurs(stats) && digestOf(descriptor) === digest) {
      return canBeLoaded(descriptor) ? pathOf(descriptor) : null;
    }
    closeSync(descriptor);
    rmSync(path);
  } catch (failure) {
    // A link is not followed.
    if ((failure as NodeJS.ErrnoException).code === "ELOOP") rmSync(path);
    else if ((failure as NodeJS.ErrnoException).code !== "ENOENT") throw failure;
  }
  return null;
};

/**
 * Returns the digest of a file in hexadecimal. It is made at each start: 2 MB take BLAKE2b 4 ms
 * here, xxHash3 under 1 ms. It finds damage, not attacks: an attacker who can write this file can
 * write the executable. It reads in pieces, since a whole copy would stay in memory.
 */
export const digestOf = (descriptor: number): string => {
  const piece = Buffer.alloc(64 * 1024);
  let digest = 0n;
  for (let at = 0, length = -1; length !== 0; at += length) {
    length = readSync(descriptor, piece, 0, piece.length, at);
    if (length > 0) digest = Bun.hash.xxHash3(piece.subarray(0, length), digest);
  }
  return digest.toString(16).padStart(16, "0");
};

/** It stays open: the path is only good for as long as the descriptor is. */
const pathOf = (descriptor: number): string => `/proc/self/fd/${descriptor}`;

/** Loading is the only test that says whether loading works; libzmq is loaded once all the same. */
const canBeLoaded = (descriptor: number): boolean => {
  try {
    dlopen(pathOf(descriptor), { zmq_errno: { args: [], returns: "int" } });
    return true;
  } catch {
    return false; // A temporary folder that is mounted noexec, most likely.
  }
};

const memfdFlags = 1 | 2; // MFD_CLOEXEC | MFD_ALLOW_SEALING, memfd_create(2)
const addSeals = 1033; // F_ADD_SEALS, fcntl(2)
const allSeals = 1 | 2 | 4 | 8; // F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE

const fileInMemory = ({ path }: EmbeddedLibrary): string => {
  const descriptor = libc.memfd_create(cString("libzmq"), memfdFlags);
  if (descriptor < 0) {
    throw new StartError(
      "libzmq cannot be unpacked to the temporary folder, nor into memory; set TMPDIR to a usable folder",
    );
  }
  writeFileSync(descriptor, unpack(path));
  if (libc.fcntl(descriptor, addSeals, allSeals) < 0) throw new StartError("libzmq in memory cannot be sealed");
  return pathOf(descriptor);
};
