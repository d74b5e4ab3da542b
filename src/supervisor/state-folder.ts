/**
 * All that an engine leaves on the disk, in a folder of its own. An SD card must outlive the robot,
 * so none of it is written while the engine works, but when somebody asks for it.
 *
 * - `lock`: held by flock(2) by the one engine that has the folder. The kernel frees it when the
 *   last process with its descriptor ends, however it ends. The router inherits the descriptor and
 *   outlives the supervisor for safe stops, so a start finds the folder locked until the engine
 *   before it is gone as a whole.
 * - `running`: there from the start to a clean stop, so that a start that finds it knows of a
 *   crash.
 * - `stop.spare` and `stopped`: the emergency stop. See latch.ts.
 * - `paused`: the paused tasks and schedules. See pauses.ts.
 * - `stop.sock`: the second way to an emergency stop. See stop-socket.ts.
 */
import {
  chmodSync,
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeSync,
} from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { lastWordsMs, predecessorLookMs, predecessorMs } from "../limits.ts";
import { warn } from "../process/log.ts";
import type { Stopped } from "../process/messages.ts";
import { stopSocketPath } from "../security/state-folders.ts";
import { lockFile } from "../transport/libc.ts";
import type { Children } from "./children.ts";
import { Latch, syncFolder } from "./latch.ts";
import { PauseControl } from "./pauses.ts";
import { late, within } from "./within.ts";

/** A folder that cannot be used; `message` is one line for a person. */
export class StateFolderError extends Error {
  override readonly name = "StateFolderError";
}

/** Found at a start. */
export interface LeftState {
  readonly stopped: Stopped | null;
  readonly hasCrashed: boolean;
}

export class StateFolder {
  /** The emergency stop on the disk. */
  readonly latch: Latch;
  /** The descriptor of `lock`. */
  readonly lock: number;
  readonly #path: string;

  private constructor(path: string, lock: number, latch: Latch) {
    this.#path = path;
    this.lock = lock;
    this.latch = latch;
  }

  /**
   * Makes the folder if there is none, and locks it before anything else in it is touched. Waits
   * for the rest of a dead engine, for `predecessorMs` at most. Rejects with StateFolderError.
   * @param isPrivate other users may not even pass through it
   * @param gaveUp resolves when it is not wanted any more
   */
  static open(path: string, isPrivate: boolean, gaveUp: Promise<unknown>): Promise<StateFolder> {
    return orRefuse(path, async () => {
      mkdirSync(path, { recursive: true, mode: 0o711 });
      const uid = process.geteuid?.();
      if (uid !== 0 && statSync(path).uid !== uid) throw new Error("it belongs to another user");
      const lock = await lockFolder(path, gaveUp);
      const mode = isPrivate ? 0o700 : 0o711;
      if ((statSync(path).mode & 0o777) !== mode) chmodSync(path, mode); // whatever the umask
      return new StateFolder(path, lock, await Latch.of(path));
    });
  }

  /** Marks an engine as running. Resolves with the state that the last one has left. */
  enter(): Promise<LeftState> {
    return orRefuse(this.#path, async () => {
      const hasCrashed = statSync(this.#running, { throwIfNoEntry: false }) !== undefined;
      closeSync(openSync(this.#running, "w", 0o600));
      return { stopped: await this.latch.begin(), hasCrashed };
    });
  }

  /** The pauses of the last engine, for this one. */
  pauses(children: Children): ReturnType<typeof PauseControl.open> {
    return orRefuse(this.#path, () => PauseControl.open(this.#path, children));
  }

  /** Marks a clean stop, so that the next start has nothing to make safe. */
  async leave(): Promise<void> {
    await rm(this.#running, { force: true });
    await syncFolder(this.#path);
  }

  /** Gives up this process's part of the lock. */
  close(): void {
    closeSync(this.lock);
  }

  get socketPath(): string {
    return stopSocketPath(this.#path);
  }

  get #running(): string {
    return join(this.#path, "running");
  }
}

const orRefuse = async <Result>(path: string, work: () => Promise<Result>): Promise<Result> => {
  try {
    return await work();
  } catch (failure) {
    if (failure instanceof StateFolderError) throw failure;
    const { message } = failure as Error;
    throw new StateFolderError(
      `the state folder ${path} cannot be used: ${message}; fix it, or name another with --state`,
    );
  }
};

/* ── Lock ── */

/** The process id of the engine with this folder, or null. Throws the errors of node:fs. */
export const engineOf = (folder: string): number | null => {
  const path = lockPath(folder);
  const pid = Number.parseInt(readFileSync(path, "latin1"), 10);
  return holdersOf(path).includes(pid) ? pid : null;
};

const lockPath = (folder: string): string => join(folder, "lock");

/** Resolves with the descriptor. Rejects with StateFolderError and the errors of node:fs. */
const lockFolder = async (folder: string, gaveUp: Promise<unknown>): Promise<number> => {
  const path = lockPath(folder);
  // For reading: a file that is open for writing would keep anybody from mounting the disk
  // read-only.
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
    const waitedMs = performance.now() - beganMs;
    const isRunning = holders.includes(engine);
    // A killed engine may still be there for a moment.
    if (isRunning && waitedMs > lastWordsMs) throw new StateFolderError(describeEngine(engine));
    const left =
      holders.length === 0 ? "what the last engine has left" : `process ${holders.join(", ")} of the last engine`;
    if (waitedMs > predecessorMs) {
      throw new StateFolderError(
        `${left} still has ${path} after ${predecessorMs} ms; ` +
          "end it by kill -KILL, or name another folder with --state",
      );
    }
    // Without a visible holder the lock may be free by now.
    if (!isSaid && !isRunning && holders.length > 0) {
      warn(`[ENGINE] Waiting until ${left} has ended, for ${predecessorMs / 1000} s at most`);
      isSaid = true;
    }
    const isWanted = (await within(gaveUp, predecessorLookMs)) === late;
    if (!isWanted) throw new StateFolderError(`told to stop while ${left} had ${path}`);
  }
};

const describeEngine = (pid: number): string => {
  const isHalted = /^State:\s*[Tt]/m.test(textOf(`/proc/${pid}/status`));
  const remedy = isHalted
    ? `it is halted: continue it (kill -CONT ${pid}) or end it (kill -KILL ${pid})`
    : `stop it (kill ${pid}), or give one another --port or --state`;
  return `an engine with this port and state folder runs already, as process ${pid}; ${remedy}`;
};

/** In place, for a full disk. Without the pid, a second start would wait for this engine. */
const notePid = (path: string): void => {
  try {
    const file = openSync(path, "r+");
    writeSync(file, `${process.pid}\n`.padEnd(32), 0);
    closeSync(file);
  } catch (failure) {
    warn(`[ENGINE] The process id cannot be noted in ${path}: ${(failure as Error).message}`);
  }
};

/** Processes that have locked the file, as far as this user may see them: proc_pid_fdinfo(5). */
const holdersOf = (path: string): number[] => {
  const { dev, ino } = statSync(path);
  const isLocked = (pid: string, descriptor: string): boolean => {
    const stats = quietly(() => statSync(`/proc/${pid}/fd/${descriptor}`));
    if (stats?.dev !== dev || stats.ino !== ino) return false;
    return textOf(`/proc/${pid}/fdinfo/${descriptor}`).includes("FLOCK");
  };
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  const descriptorsOf = (pid: string): string[] => quietly(() => readdirSync(`/proc/${pid}/fd`)) ?? [];
  return pids.filter((pid) => descriptorsOf(pid).some((name) => isLocked(pid, name))).map(Number);
};

const textOf = (path: string): string => quietly(() => readFileSync(path, "latin1")) ?? "";

/** Undefined for a process that has ended meanwhile, or is another user's. */
const quietly = <Result>(read: () => Result): Result | undefined => {
  try {
    return read();
  } catch {
    return undefined;
  }
};
