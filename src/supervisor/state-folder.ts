/**
 * All that an engine leaves on the disk, in a folder of its own: `stopped`, the emergency stop that holds, until `reset`; and
 * `running`, which is there from its start to its clean stop, so that who finds it at a start knows of a crash. Neither is
 * ever written while the engine does its work: an SD card must outlive the robot.
 */
import { chmodSync, closeSync, fsyncSync, mkdirSync, openSync, readFileSync, rmSync, statSync } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { stopSocketPath } from "../folders.ts";
import type { Stopped } from "../lifecycle.ts";

const stoppedSchema = v.object({ reason: v.string(), since: v.number() });

/** A folder that cannot be used; `message` is one line for a person. */
export class StateFolderError extends Error {
  override readonly name = "StateFolderError";
}

export class StateFolder {
  readonly path: string;

  /**
   * Makes the folder if there is none. Throws StateFolderError.
   * @param isPrivate whether other users may not even pass through it
   */
  constructor(path: string, isPrivate: boolean) {
    this.path = path;
    this.#orRefuse(() => {
      const mode = isPrivate ? 0o700 : 0o711;
      mkdirSync(path, { recursive: true, mode: 0o711 });
      const uid = process.geteuid?.();
      if (uid !== 0 && statSync(path).uid !== uid) throw new Error("it belongs to another user");
      if ((statSync(path).mode & 0o777) !== mode) chmodSync(path, mode); // whatever the umask
    });
  }

  /**
   * What the last engine has left, and a note that one runs from now on. Throws StateFolderError. To be called by an engine that
   * has made sure that it is alone.
   */
  enter(): { readonly stopped: Stopped | null; readonly hasCrashed: boolean } {
    return this.#orRefuse(() => {
      const stopped = this.#readStopped();
      const hasCrashed = statSync(this.#running, { throwIfNoEntry: false }) !== undefined;
      closeSync(openSync(this.#running, "w", 0o600));
      this.#syncFolder();
      return { stopped, hasCrashed };
    });
  }

  /** From now on a start finds the engine stopped. Rejects with what the file system says. */
  async latch(stopped: Stopped): Promise<void> {
    const draft = `${this.#stopped}.new`;
    const file = await open(draft, "w", 0o600);
    try {
      await file.writeFile(JSON.stringify(stopped));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(draft, this.#stopped);
    await this.#sync();
  }

  /** From now on a start finds it not stopped. Rejects with what the file system says. */
  async unlatch(): Promise<void> {
    await rm(this.#stopped, { force: true });
    await this.#sync();
  }

  /** The engine has stopped, and nothing is left that a start would have to make safe. Rejects with what the file system says. */
  async leave(): Promise<void> {
    await rm(this.#running, { force: true });
    await this.#sync();
  }

  /** Where the socket of the emergency stop belongs. */
  get socketPath(): string {
    return stopSocketPath(this.path);
  }

  get #stopped(): string {
    return join(this.path, "stopped");
  }

  get #running(): string {
    return join(this.path, "running");
  }

  #readStopped(): Stopped | null {
    rmSync(`${this.#stopped}.new`, { force: true });
    const stats = statSync(this.#stopped, { throwIfNoEntry: false });
    if (stats === undefined) return null;
    try {
      return v.parse(stoppedSchema, JSON.parse(readFileSync(this.#stopped, "utf8")));
    } catch {
      // That it is there is what counts; who cannot read why asks a person.
      return { reason: `${this.#stopped} is there and cannot be read`, since: stats.mtimeMs / 1000 };
    }
  }

  /** A new name, or one that is gone, is on the disk only when its folder is. */
  async #sync(): Promise<void> {
    const folder = await open(this.path, "r");
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }

  #syncFolder(): void {
    const folder = openSync(this.path, "r");
    try {
      fsyncSync(folder);
    } finally {
      closeSync(folder);
    }
  }

  #orRefuse<Result>(work: () => Result): Result {
    try {
      return work();
    } catch (failure) {
      const why = (failure as Error).message;
      throw new StateFolderError(
        `the state folder ${this.path} cannot be used: ${why}; mend it, or name another with --state`,
      );
    }
  }
}
