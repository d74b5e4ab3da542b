/** Finds the task files in a folder, and other files that look like one. It runs none of them. */
import { lstatSync, readdirSync, readFileSync, realpathSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { isFolder } from "../process/folders.ts";
import { StartError } from "../transport/start-error.ts";
import { trustedRealPath } from "./trust.ts";

const endings = [".ts", ".mts", ".cts", ".tsx", ".js", ".mjs", ".cjs", ".jsx"];
const code = /\.([cm]?[jt]s|[jt]sx)$/;
/** Declarations, tests, and files that editors and systems hide or leave behind. */
const noTask = /^[.#]|\.d\.[cm]?ts$|\.(test|spec)\.[^.]+$/;
const isTaskFile = (name: string): boolean => code.test(name) && !noTask.test(name);

/** Returns the paths, sorted so that every worker loads them in one order. Throws StartError. */
export const taskFilesIn = (tasksDir: string): string[] => {
  const folder = trustedRealPath(tasksDir);
  // A user who can replace a link to the folder can replace the folder.
  if (lstatSync(tasksDir).isSymbolicLink()) trustedRealPath(dirname(tasksDir));
  if (!statSync(folder).isDirectory())
    throw new StartError(`${tasksDir} is not a folder; --tasks takes a folder of task files`);
  return pathsIn(folder, isTaskFile).filter(isFile);
};

/**
 * Returns a line for each entry that looks like a task file, with the reason why it is none.
 * @param loaded real paths of all that is loaded, imports too
 */
export const passedOver = (tasksDir: string, loaded: ReadonlySet<string>): string[] =>
  pathsIn(realpathSync(tasksDir), (name) => !isTaskFile(name) && !noTask.test(name))
    .map((path) => (isFolder(path) ? aboutFolder(path, loaded) : aboutFile(path)))
    .filter((line) => line !== null);

const aboutFile = (path: string): string | null => {
  if (path.endsWith(".py")) return null; // Python's own processes load it.
  if (!code.test(path.toLowerCase().replace(/\.txt$/, ""))) return null;
  return `${path} is not loaded: the name of a task file ends in one of ${endings.join(" ")}`;
};

const exportsTask = /\bexports?\b[^;]{0,200}\b(?:task|source)_\w/i;

/** null for a folder whose files are imported by task files, or export no task. */
const aboutFolder = (folder: string, loaded: ReadonlySet<string>): string | null => {
  if (/\/(node_modules|__pycache__)$/.test(folder)) return null;
  try {
    const files = pathsIn(folder, isTaskFile).filter((path) => isFile(path) && !loaded.has(realpathSync(path)));
    const found = files.find((path) => exportsTask.test(readFileSync(path, "utf8")));
    return found === undefined
      ? null
      : `${found} is not loaded: task files lie in the folder of tasks itself, not in one within it`;
  } catch {
    // A folder that the engine may not read is none of its business.
    return null;
  }
};

const pathsIn = (folder: string, isMeant: (name: string) => boolean): string[] =>
  readdirSync(folder)
    .filter(isMeant)
    .sort()
    .map((name) => join(folder, name));

/** True for a link to nowhere, too: the load will say that it cannot be read. */
const isFile = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isFile() ?? true;
