/**
 * Where libzmq is in the executable, which carries the addon inside itself; `build.ts` puts a call of this in the place of
 * `addon.ts`.
 *
 * dlopen(3) wants a file, so Bun unpacks an embedded library to `.bun-<uid>-<hash>.so` in the temporary folder. The name
 * can be foreseen, but nobody else can use that: Bun takes only a regular file of its own user and of the right size,
 * follows no link, and in a folder like /tmp no other user can exchange it; otherwise it unpacks anew. One file
 * serves all processes: each maps the same pages. A file in memory (memfd) of each process's own would cost
 * every one 2 MB on top of its 17 and 10 ms of its start, so it is kept for where the temporary folder is of no use:
 * full, read-only, mounted noexec, not there at all, or with a copy that a power cut has spoilt.
 */
import { dlopen, ptr } from "bun:ffi";
import { readFileSync, writeFileSync } from "node:fs";

const closeOnExec = 1; // MFD_CLOEXEC, memfd_create(2)

/** The path under which dlopen finds the embedded library. Throws if there is none to be had. */
export const unpackedAddon = (embeddedPath: string): string =>
  canBeLoaded(embeddedPath) ? embeddedPath : copyInMemory(embeddedPath);

/** Loading is the only test that says whether loading works; libzmq is loaded once all the same. */
const canBeLoaded = (path: string): boolean => {
  try {
    dlopen(path, { zmq_errno: { args: [], returns: "int" } });
    return true;
  } catch {
    return false; // Whatever the reason: if there is one against the other copy too, that one is told.
  }
};

const copyInMemory = (embeddedPath: string): string => {
  const { symbols: libc } = dlopen("libc.so.6", { memfd_create: { args: ["ptr", "u32"], returns: "int" } });
  const name = Buffer.from("libzmq\0");
  const descriptor = libc.memfd_create(ptr(name), closeOnExec);
  if (descriptor < 0) {
    throw new Error(
      "libzmq cannot be unpacked to the temporary folder, nor into memory; set TMPDIR to a usable folder",
    );
  }
  writeFileSync(descriptor, readFileSync(embeddedPath));
  // It stays open: the path is only good for as long as the descriptor is.
  return `/proc/self/fd/${descriptor}`;
};
