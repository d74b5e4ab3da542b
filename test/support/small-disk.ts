/** A file system of its own for a test, which can be full: `using disk = smallDisk()`. Only root may mount one. */
import { closeSync, openSync, readdirSync, rmSync, statfsSync, writeSync } from "node:fs";
import { join } from "node:path";
import { type TempFolder, tempFolder } from "./temp-folder.ts";

export const canMount = process.geteuid?.() === 0 && Bun.which("mount") !== null;

const run = (...command: string[]): void => {
  const { exitCode, stderr } = Bun.spawnSync(command);
  if (exitCode !== 0) throw new Error(`${command.join(" ")}: ${stderr}`);
};

export class SmallDisk implements Disposable {
  readonly #folder: TempFolder;
  readonly path: string;

  constructor(options: string) {
    this.#folder = tempFolder({ "disk/keep": "" });
    this.path = this.#folder.at("disk");
    run("mount", "-t", "tmpfs", "-o", options, "tmpfs", this.path);
  }

  /** Leaves no free block, or no free inode. */
  fill(what: "blocks" | "inodes"): void {
    const isFull = (): boolean => statfsSync(this.path)[what === "blocks" ? "bfree" : "ffree"] === 0;
    for (let count = 0; !isFull(); count++) {
      const file = openSync(join(this.path, `fill${count}`), "w");
      try {
        if (what === "blocks") for (;;) writeSync(file, Buffer.alloc(4096));
      } catch (failure) {
        if ((failure as NodeJS.ErrnoException).code !== "ENOSPC") throw failure;
      } finally {
        closeSync(file);
      }
    }
  }

  free(): void {
    for (const name of readdirSync(this.path)) if (name.startsWith("fill")) rmSync(join(this.path, name));
  }

  set isReadOnly(isReadOnly: boolean) {
    run("mount", "-o", `remount,${isReadOnly ? "ro" : "rw"}`, this.path);
  }

  [Symbol.dispose](): void {
    // Whatever is still at work there: nobody can reach it any more.
    run("umount", "-l", this.path);
    this.#folder[Symbol.dispose]();
  }
}

export const smallDisk = (options = "size=64k"): SmallDisk => new SmallDisk(options);
