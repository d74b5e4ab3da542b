/** The file of settings. Only this user and root may be able to write it. */
import { type Stats, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { configBytesMax } from "../limits.ts";
import { type Environment, OpenedFile } from "../security/files.ts";
import { didYouMean } from "./nearest.ts";

export const configFileDefault = "task-engine.toml";

export interface ConfigFile {
  readonly table: Readonly<Record<string, unknown>>;
  /** As given, for messages. */
  readonly path: string;
  /** The base of relative paths in it. */
  readonly folder: string;
  /** Null if there is no file. */
  readonly text: string | null;
}

/**
 * Adds one line to `mistakes` if the file cannot be used.
 * @param named null for the default file, which need not exist
 */
export const readConfigFile = (named: string | null, base: string, mistakes: string[]): ConfigFile => {
  const path = named ?? configFileDefault;
  const full = resolve(base, path);
  const file: ConfigFile = { path, folder: dirname(full), table: {}, text: null };
  try {
    if (named === null && statSync(full, { throwIfNoEntry: false }) === undefined) return file;
    using opened = new OpenedFile(full);
    const stat = opened.stats;
    if (!stat.isFile()) mistakes.push(`${path}: is not a file`);
    else if (stat.size > configBytesMax) mistakes.push(`${path}: is larger than ${configBytesMax} bytes`);
    else if (!isOwn(stat)) {
      mistakes.push(`${path}: another user can write it, and what it says is obeyed; chown it to yourself, chmod go-w`);
    } else {
      const text = opened.text();
      return { ...file, text, table: Bun.TOML.parse(text) as Record<string, unknown> };
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    mistakes.push(`${path}: ${code === "ENOENT" ? "there is no such file" : message}`);
  }
  return file;
};

/** The engine may be started in a folder of somebody else's. */
const isOwn = ({ uid, mode }: Stats): boolean => (uid === 0 || uid === process.geteuid?.()) && (mode & 0o022) === 0;

/* ── What nobody knows ── */

const unknownSetting = (place: string, name: string, known: readonly string[]): string =>
  `${place}: there is no such setting${didYouMean(name, new Set(known))}; see task-engine serve --help`;

/** One line for each variable that looks like a setting and is none. */
export const unknownVariables = (environment: Environment, known: readonly string[]): string[] =>
  Object.keys(environment)
    .filter((name) => name.startsWith("TASK_ENGINE_") && !known.includes(name))
    .map((name) => unknownSetting(name, name, known));

/** One line for each key of the file that is no setting. */
export const unknownKeys = ({ table, path }: ConfigFile, known: readonly string[]): string[] =>
  Object.keys(table)
    .filter((key) => !known.includes(key))
    .map((key) => unknownSetting(`${path}: ${key}`, key, known));
