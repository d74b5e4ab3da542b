/**
 * Where libzmq is in the executable, which carries the addon inside itself; `build.ts` puts a call of this in the place of
 * `addon.ts`.
 *
 * dlopen(3) wants a file, and who can choose that file can choose what this process is. Bun's own way, to unpack to
 * `/tmp/.bun-<uid>-<hash>.so`, looks at the owner and the size of what is there already, not at its content, and hands
 * dlopen a path, behind which another file may stand by then. So it is done here: in a folder and a file that nobody else can
 * write, which is what keeps strangers out; the file's digest is compared first, which tells a torn or rotten one, and what
 * is loaded is the very descriptor that was read. All processes share that one file's pages. Where there is no such folder (a
 * temporary folder that is full, read-only, mounted noexec or not there at all, or whose place in it somebody else has taken),
 * each has a sealed file in memory of its own, which costs it 2 MB.
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
import { tmpdir } from "node:os";
import { join } from "node:path";
import { StartError } from "../../transport/start-error.ts";
import { cString, libc } from "../libc.ts";

const othersBits = 0o077;

interface EmbeddedLibrary {
  /** Where it is in the executable, compressed by Zstandard. */
  readonly path: string;
  /** `digestOf` what comes out of it. */
  readonly digest: string;
}

const unpack = (path: string): Buffer => Bun.zstdDecompressSync(readFileSync(path));

/** The path under which dlopen finds the embedded library, good for the life of this process. Throws if there is none to be had. */
export const unpackedAddon = (library: EmbeddedLibrary): string => fileOnDisk(library) ?? fileInMemory(library);

const fileOnDisk = ({ path: embeddedPath, digest }: EmbeddedLibrary): string | null => {
  try {
    const path = join(privateFolder(), `libzmq-${digest}.so`);
    return loadable(path, digest) ?? loadable(written(path, unpack(embeddedPath)), digest);
  } catch {
    return null; // Whatever the reason: if there is one against the other way too, that one is told.
  }
};

/** The folder in the temporary folder that is this user's alone. Throws if somebody else has taken its name. */
const privateFolder = (): string => {
  const folder = join(tmpdir(), `task-engine-${process.geteuid?.()}`);
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

/** Puts the library there at one stroke, so that no other process finds half of it, unless another has just done so. */
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

/** The open file behind `path`, if it is ours alone, the library by its digest, and can be loaded. What is not the library goes. */
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
 * The digest of a file's content, in hexadecimal. It is made before each load, so it is a quick one: the library's 2 MB take BLAKE2b 4 ms
 * here, and xxHash3 less than one. It is no defence against whoever can write the file: that one can write the executable, too.
 * In pieces: a whole copy of the library would stay in this process's memory for good.
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
