/**
 * The journal's file: opened, checked, brought to this version, or set aside where it is damaged.
 * Nobody but the engine's user may read it.
 */
import { Database, SQLiteError } from "bun:sqlite";
import {
  chmodSync,
  closeSync,
  constants,
  fsyncSync,
  lstatSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { damagedFilesMax, journalLogBytesMax } from "../limits.ts";
import { StartError } from "../transport/start-error.ts";
import { migrate } from "./schema.ts";

/** Others of SQLite's beside the file. */
const companions = ["-wal", "-shm"] as const;

/**
 * Opens the file, and makes it if there is none. Throws StartError if it must not be used, and the
 * errors of node:fs and SQLite, which `isDamage` tells apart.
 */
export const openFile = (path: string): Database => {
  checkFolder(dirname(path));
  // SQLite gives its other files the mode of this one.
  if (!isThere(path)) closeSync(openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600));
  checkFile(path);
  const database = new Database(path, { strict: true, readwrite: true, create: false });
  try {
    database.run("PRAGMA journal_mode = WAL");
    // A commit has returned only when the write-ahead log is on the disk.
    database.run("PRAGMA synchronous = FULL");
    database.run(`PRAGMA journal_size_limit = ${journalLogBytesMax}`);
    const result = database.query<{ readonly quick_check: string }, []>("PRAGMA quick_check(1)").get();
    if (result?.quick_check !== "ok") throw new DamagedError(`quick_check says: ${result?.quick_check ?? "nothing"}`);
    migrate(database, path);
    checkTables(database);
    syncFolder(dirname(path));
    return database;
  } catch (failure) {
    database.close();
    throw failure;
  }
};

/** The content of the file is not what was written there. */
class DamagedError extends Error {
  override readonly name = "DamagedError";
}

const damageCodes = /^SQLITE_(CORRUPT|NOTADB|FORMAT)/;
const diskCodes = /^SQLITE_(FULL|IOERR|READONLY|CANTOPEN|BUSY|LOCKED|PERM|NOMEM)/;

/** The file cannot be read, whatever is free on the disk. */
export const isDamage = (failure: unknown): boolean =>
  failure instanceof DamagedError || (failure instanceof SQLiteError && damageCodes.test(failure.code ?? ""));

/** The disk refuses, and may take it later. Any other failure is a fault of this program. */
export const isDiskFailure = (failure: unknown): failure is Error =>
  failure instanceof SQLiteError
    ? diskCodes.test(failure.code ?? "")
    : failure instanceof Error && "code" in failure && typeof failure.code === "string" && failure.code.startsWith("E");

const checkTables = (database: Database): void => {
  try {
    database.run("SELECT place, job, reply, log, person, schedule FROM jobs LIMIT 0");
    database.run("SELECT schedule, rule, at FROM schedules LIMIT 0");
    database.run("SELECT day, bytes FROM history_days LIMIT 0");
  } catch (failure) {
    if (failure instanceof SQLiteError && failure.code === "SQLITE_ERROR") throw new DamagedError(failure.message);
    throw failure;
  }
};

/** Renames a damaged file, which stays for a person to look at. Returns its new name. */
export const setAside = (path: string, now = new Date()): string => {
  const aside = `${path}.damaged-${now.toISOString().replaceAll(":", "-")}`;
  renameSync(path, aside);
  for (const companion of companions) {
    if (isThere(path + companion)) renameSync(path + companion, aside + companion);
  }
  removeOldest(path);
  syncFolder(dirname(path));
  return basename(aside);
};

/** A card that damages files again and again must not be filled by them. */
const removeOldest = (path: string): void => {
  const folder = dirname(path);
  const prefix = `${basename(path)}.damaged-`;
  const names = readdirSync(folder).filter((name) => name.startsWith(prefix) && name.endsWith("Z"));
  for (const name of names.sort().slice(0, -damagedFilesMax)) {
    for (const end of ["", ...companions]) rmSync(join(folder, name + end), { force: true });
  }
};

const checkFolder = (folder: string): void => {
  const { mode, uid } = statSync(folder);
  const refuse = (why: string): never => {
    throw new StartError(`the journal's folder ${folder} ${why}; fix it, or name another with --state`);
  };
  const user = process.geteuid?.();
  if (user !== 0 && uid !== user) refuse("belongs to another user");
  if ((mode & 0o022) !== 0) refuse("can be written by other users");
};

const checkFile = (path: string): void => {
  const stats = lstatSync(path);
  const user = process.geteuid?.();
  if (!stats.isFile()) throw new StartError(`${path} is no file; move it away`);
  if (user !== 0 && stats.uid !== user) throw new StartError(`${path} belongs to another user; move it away`);
  if ((stats.mode & 0o077) !== 0) chmodSync(path, 0o600);
};

const isThere = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false }) !== undefined;

/** The names in it are on the disk only then. */
const syncFolder = (path: string): void => {
  const folder = openSync(path, "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
};
