/**
 * Power cuts for the journal's files: `using power = powerCuts()`, engines by `power.command`, and `power.cut(folder)` once all their
 * processes are dead. A file has what it had at its last fsync; of what was written since, each sector is there or not, by chance.
 * A disk that says that it has synced and has not is beyond this, and so are the other files of the state folder.
 */
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { taskEngine } from "./executable.ts";
import { writePreloaded } from "./preloaded.ts";
import { tempFolder } from "./temp-folder.ts";

const sectorBytes = 512;
const none = Buffer.alloc(0);

const contentOf = (path: string): Buffer => {
  try {
    return readFileSync(path);
  } catch (failure) {
    if ((failure as NodeJS.ErrnoException).code !== "ENOENT") throw failure;
    return none;
  }
};

/** A mixture of both, sector by sector. */
const torn = (synced: Buffer, written: Buffer): Buffer => {
  const content = Buffer.from(Math.random() < 0.5 ? synced : written);
  for (let at = 0; at < content.length; at += sectorBytes) {
    const from = Math.random() < 0.5 ? synced : written;
    from.subarray(at, at + sectorBytes).copy(content, at);
  }
  return content;
};

/** @param fsyncMs ms that each fsync of the journal takes beyond its own */
export const powerCuts = (fsyncMs = 0) => {
  const folder = tempFolder();
  const shadow = folder.at("shadow");
  mkdirSync(shadow);
  const library = folder.at("power-cut.so");
  const source = join(import.meta.dir, "power-cut.c");
  const { exitCode, stderr } = Bun.spawnSync([
    ...["gcc", "-shared", "-fPIC", "-O2", `-DSHADOW="${shadow}"`, `-DFSYNC_MS=${fsyncMs}`, "-o", library, source],
  ]);
  if (exitCode !== 0) throw new Error(`gcc: ${stderr}`);
  const [program = "", ...rest] = taskEngine;
  const placed = writePreloaded(library, program, folder.at("task-engine"));

  const namesPath = join(shadow, "names");
  const inodePath = (inode: number | string): string => join(shadow, `inode-${inode}`);
  return {
    command: [folder.at("task-engine"), ...rest],
    /** What the disk has after it. @param state folder of the journal */
    cut(state: string): void {
      const lines = contentOf(namesPath).toString().split("\n").filter(Boolean);
      const isLossless = Math.random() < 0.5;
      const left = lines.flatMap((line) => {
        const [inode = "", name = ""] = line.split(" ");
        if (name.endsWith("-shm")) return [];
        const synced = contentOf(inodePath(inode));
        return [{ name, content: isLossless ? synced : torn(synced, contentOf(join(state, name))) }];
      });
      for (const name of ["journal.db", "journal.db-wal", "journal.db-shm"]) rmSync(join(state, name), { force: true });
      rmSync(shadow, { recursive: true });
      mkdirSync(shadow);
      const names = left.map(({ name, content }) => {
        const path = join(state, name);
        writeFileSync(path, content, { mode: 0o600 });
        const { ino } = statSync(path);
        writeFileSync(inodePath(ino), content);
        return `${ino} ${name}\n`;
      });
      writeFileSync(namesPath, names.join(""));
    },
    [Symbol.dispose](): void {
      rmSync(placed, { force: true });
      folder[Symbol.dispose]();
    },
  };
};
