/**
 * One engine has a state folder at a time: the one that has locked the file `lock` in it, by
 * flock(2). The kernel frees the lock when the last process that has the descriptor ends, however
 * it ends. The router inherits the descriptor from the supervisor and outlives it for safe stops:
 * so a start finds the folder locked until the engine before it is gone as a whole.
 */
import { closeSync, constants, openSync, readdirSync, readFileSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import { lastWordsMs, predecessorLookMs, predecessorMs } from "../limits.ts";
import { warn } from "../process/log.ts";
import { lockFile } from "../transport/libc.ts";
import { late, within } from "./within.ts";

/** Somebody else has it; `message` is one line for a person. */
export class LockError extends Error {
  override readonly name = "LockError";
}

/**
 * Resolves with the descriptor, which is closed on exec. Waits for the rest of a dead engine, for
 * `predecessorMs` at most.
 * Rejects with LockError, and with what the file system says.
 * @param gaveUp resolves when it is not wanted any more
 */
export const lockFolder = async (folder: string, gaveUp: Promise<unknown>): Promise<number> => {
  const path = join(folder, "lock");
  // For reading: what is open for writing would keep anybody from mounting the disk read-only.
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_CREAT, 0o600);
  try {
    await waitForLock(path, descriptor, gaveUp);
  } catch (failure) {
    closeSync(descriptor);
    throw failure;
  }
  notePid(path);
  return descriptor;
};

const waitForLock = async (path: string, descriptor: number, gaveUp: Promise<unknown>): Promise<void> => {
  const beganMs = performance.now();
  let isSaid = false;
  while (!lockFile(descriptor)) {
    const holders = holdersOf(path);
    const engine = Number.parseInt(textOf(path), 10);
    // One that has just been killed may still be there for a moment.
    const isRunning = holders.includes(engine);
    const waitedMs = performance.now() - beganMs;
    if (isRunning && waitedMs > lastWordsMs) throw new LockError(describeEngine(engine));
    const left =
      holders.length === 0 ? "what the last engine has left" : `process ${holders.join(", ")} of the last engine`;
    if (waitedMs > predecessorMs) {
      throw new LockError(
        `${left} still has ${path} after ${predecessorMs} ms; end it by kill -KILL, or name another folder with --state`,
      );
    }
    // Where nobody is seen to have it, it may be free by now.
    if (!isSaid && !isRunning && holders.length > 0) {
      warn(`[ENGINE] Waiting until ${left} has ended, for ${predecessorMs / 1000} s at most`);
      isSaid = true;
    }
    if ((await within(gaveUp, predecessorLookMs)) !== late)
      throw new LockError(`told to stop while ${left} had ${path}`);
  }
};

/** The process id of the engine that has this folder, or null. Throws errors of the file system. */
export const engineOf = (folder: string): number | null => {
  const path = join(folder, "lock");
  const pid = Number.parseInt(readFileSync(path, "latin1"), 10);
  return holdersOf(path).includes(pid) ? pid : null;
};

const describeEngine = (pid: number): string => {
  const isHalted = /^State:\s*[Tt]/m.test(textOf(`/proc/${pid}/status`));
  const remedy = isHalted
    ? `it is halted: let it go on (kill -CONT ${pid}) or end it (kill -KILL ${pid})`
    : `stop it (kill ${pid}), or give one another --port or --state`;
  return `an engine with this port and state folder runs already, as process ${pid}; ${remedy}`;
};

/**
 * Writes in place, which a full disk allows. Without the pid a second start takes this engine for one
 * that is ending, and waits.
 */
const notePid = (path: string): void => {
  try {
    const file = openSync(path, "r+");
    writeSync(file, `${process.pid}\n`.padEnd(32), 0);
    closeSync(file);
  } catch (failure) {
    warn(`[ENGINE] The process id cannot be noted in ${path}: ${(failure as Error).message}`);
  }
};

/** Processes that have locked the file, as far as the system shows them. proc_pid_fdinfo(5) */
const holdersOf = (path: string): number[] => {
  const { dev, ino } = statSync(path);
  const isLocked = (pid: string, descriptor: string): boolean => {
    const stats = quietly(() => statSync(`/proc/${pid}/fd/${descriptor}`));
    if (stats?.dev !== dev || stats.ino !== ino) return false;
    return textOf(`/proc/${pid}/fdinfo/${descriptor}`).includes("FLOCK");
  };
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.filter((pid) => namesIn(`/proc/${pid}/fd`).some((name) => isLocked(pid, name))).map(Number);
};

const namesIn = (folder: string): string[] => quietly(() => readdirSync(folder)) ?? [];

const textOf = (path: string): string => quietly(() => readFileSync(path, "latin1")) ?? "";

/** Undefined for a process that has ended meanwhile, or is another user's. */
const quietly = <Result>(read: () => Result): Result | undefined => {
  try {
    return read();
  } catch {
    return undefined;
  }
};
