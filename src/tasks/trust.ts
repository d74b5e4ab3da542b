/**
 * Whose code may run: a file or folder that somebody else can write holds somebody else's code. sshd asks the same of
 * `authorized_keys` (StrictModes in sshd_config(5)).
 */
import { realpathSync, type Stats, statSync } from "node:fs";
import { dirname } from "node:path";
import { StartError } from "../transport/start-error.ts";

const rootUid = 0;
const othersWriteBits = 0o022;
const stickyBit = 0o1000;

/**
 * The real path of a file or folder that nobody can change but root and the user that runs the engine, symbolic links
 * resolved. Every folder above it is held to the same, since who can write there can put another in its place; the sticky
 * bit of a folder like /tmp prevents just that. Throws StartError with the path at fault, why, and what to do.
 */
export const trustedRealPath = (path: string, engineUid: number = effectiveUid()): string => {
  const realPath = onDisk(path, () => realpathSync(path));
  let current = realPath;
  while (true) {
    const problem = distrust(
      onDisk(path, () => statSync(current)),
      current === realPath ? "target" : "above",
      engineUid,
    );
    if (problem !== null) {
      const whose = current === realPath ? "" : `, so that others can replace ${realPath}`;
      const { why, remedy } = problem;
      throw new StartError(`${current} is not safe to run tasks from: ${why}${whose}; ${remedy} ${shellWord(current)}`);
    }
    const parent = dirname(current);
    if (parent === current) return realPath;
    current = parent;
  }
};

/** Why a file or folder with this owner and mode cannot be trusted and the command that would mend it, or null if it can. */
export const distrust = (
  { uid, mode }: Pick<Stats, "uid" | "mode">,
  position: "target" | "above",
  engineUid: number,
): { why: string; remedy: string } | null => {
  if (uid !== rootUid && uid !== engineUid) {
    return { why: `it belongs to user ${uid}, the engine runs as user ${engineUid}`, remedy: `chown ${engineUid}` };
  }
  const isWritable = (mode & othersWriteBits) !== 0;
  if (!isWritable || (position === "above" && (mode & stickyBit) !== 0)) return null;
  return { why: `others can write it (mode ${(mode & 0o7777).toString(8).padStart(4, "0")})`, remedy: "chmod go-w" };
};

/** As it can be pasted into a shell. */
const shellWord = (path: string): string =>
  /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;

const effectiveUid = (): number => {
  if (process.geteuid === undefined)
    throw new StartError("this system has no users to tell apart; run the engine on Linux");
  return process.geteuid();
};

const onDisk = <Result>(path: string, read: () => Result): Result => {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
    const why = error.code === "ENOENT" ? "there is no such file or folder" : error.message;
    throw new StartError(`${path} cannot be read: ${why}`);
  }
};
