/**
 * Which files of a folder are task files, and what else lies there that a person may take for one. Read, not run: what is a task only its
 * module says.
 */
import { lstatSync, readdirSync, readFileSync, realpathSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { StartError } from "../transport/start-error.ts";
import { trustedRealPath } from "./trust.ts";

/** What Bun runs; JSX is no more than another way to write it. */
const endings = [".ts", ".mts", ".cts", ".tsx", ".js", ".mjs", ".cjs", ".jsx"];
const code = /\.([cm]?[jt]s|[jt]sx)$/;
/** Declarations, tests, and what editors and systems hide or leave behind: nobody takes them for tasks. */
const noTask = /^[.#]|\.d\.[cm]?ts$|\.(test|spec)\.[^.]+$/;
const isTaskFile = (name: string): boolean => code.test(name) && !noTask.test(name);

/** The paths of the task files, sorted, so that every worker loads them in one order. Throws StartError. */
export const taskFilesIn = (tasksDir: string): string[] => {
  const folder = trustedRealPath(tasksDir);
  // Who can replace a link to the folder can replace the folder.
  if (lstatSync(tasksDir).isSymbolicLink()) trustedRealPath(dirname(tasksDir));
  if (!statSync(folder).isDirectory())
    throw new StartError(`${tasksDir} is not a folder; --tasks takes a folder of task files`);
  return pathsIn(folder, isTaskFile).filter(isFile);
};

/** Why what may be taken for a task file is none, a line each. @param loaded real paths of all that is loaded, imports too */
export const passedOver = (tasksDir: string, loaded: ReadonlySet<string>): string[] => {
  const files = pathsIn(realpathSync(tasksDir), (name) => !isTaskFile(name) && !noTask.test(name));
  return files
    .map((path) => (isFolder(path) ? aboutFolder(path, loaded) : aboutFile(path)))
    .filter((it) => it !== null);
};

const aboutFile = (path: string): string | null => {
  if (/\.py$/i.test(path))
    return `${path} is not loaded: a task file is TypeScript or JavaScript (${endings.join(" ")})`;
  if (!code.test(path.toLowerCase().replace(/\.txt$/, ""))) return null;
  return `${path} is not loaded: the name of a task file ends in one of ${endings.join(" ")}`;
};

/** A folder of what task files import, or of anything else, is none of this. */
const aboutFolder = (folder: string, loaded: ReadonlySet<string>): string | null => {
  if (/\/(node_modules|__pycache__)$/.test(folder)) return null;
  try {
    const files = pathsIn(folder, isTaskFile).filter((path) => isFile(path) && !loaded.has(realpathSync(path)));
    const found = files.find((path) => exportsTask.test(readFileSync(path, "utf8")));
    return found === undefined
      ? null
      : `${found} is not loaded: task files lie in the folder of tasks itself, not in one within it`;
  } catch {
    // What the engine may not read it need not speak of.
    return null;
  }
};

const exportsTask = /\bexports?\b[^;]{0,200}\btask_\w/i;

const pathsIn = (folder: string, isMeant: (name: string) => boolean): string[] =>
  readdirSync(folder)
    .filter(isMeant)
    .sort()
    .map((name) => join(folder, name));

const isFile = (path: string): boolean => {
  // A link to nowhere is kept: the load will say that it cannot be read.
  const stats = statSync(path, { throwIfNoEntry: false });
  return stats === undefined || stats.isFile();
};

const isFolder = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
