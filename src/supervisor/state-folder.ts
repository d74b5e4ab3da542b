/**
 * All that an engine leaves on the disk, in a folder of its own: `lock`, by which it is the only one there; `stop.spare` and `stopped`,
 * the emergency stop that holds, until `reset`; and `running`, which is there from its start to its clean stop, so that a start that
 * finds it knows of a crash. None is ever written while the engine does its work: an SD card must outlive the robot.
 */
import { chmodSync, closeSync, mkdirSync, openSync, statSync } from "node:fs";
import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import { stopSocketPath } from "../process/folders.ts";
import type { Stopped } from "../process/messages.ts";
import { Latch } from "./latch.ts";
import { LockError, lockFolder } from "./lock.ts";

/** A folder that cannot be used; `message` is one line for a person. */
export class StateFolderError extends Error {
  override readonly name = "StateFolderError";
}

/** What the last engine has left. */
export interface Found {
  readonly stopped: Stopped | null;
  readonly hasCrashed: boolean;
}

export class StateFolder {
  /** The emergency stop on the disk. */
  readonly latch: Latch;
  /** The descriptor by which this engine is the only one here, for as long as any process has it. */
  readonly lock: number;
  readonly #path: string;

  private constructor(path: string, lock: number, latch: Latch) {
    this.#path = path;
    this.lock = lock;
    this.latch = latch;
  }

  /**
   * Makes the folder if there is none, and locks it before anything else in it is touched: what another engine has there is not for
   * this one. Rejects with StateFolderError.
   * @param isPrivate whether other users may not even pass through it
   * @param gaveUp resolves when it is not wanted any more, while what a dead engine has left is waited for
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

  /** What the last engine has left, and a note that one runs from now on. Rejects with StateFolderError. */
  enter(): Promise<Found> {
    return orRefuse(this.#path, async () => {
      const hasCrashed = statSync(this.#running, { throwIfNoEntry: false }) !== undefined;
      closeSync(openSync(this.#running, "w", 0o600));
      return { stopped: await this.latch.begin(), hasCrashed };
    });
  }

  /** The engine has stopped, and nothing is left that a start would have to make safe. Rejects with what the file system says. */
  async leave(): Promise<void> {
    await rm(this.#running, { force: true });
    const folder = await open(this.#path, "r");
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }

  /** Another engine may have it. */
  close(): void {
    closeSync(this.lock);
  }

  /** Where the socket of the emergency stop belongs. */
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
    const { message } = failure as Error;
    if (failure instanceof LockError) throw new StateFolderError(message);
    throw new StateFolderError(
      `the state folder ${path} cannot be used: ${message}; mend it, or name another with --state`,
    );
  }
};
