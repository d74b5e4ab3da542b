/** The folder of the task files. */
import { statSync } from "node:fs";
import { resolve } from "node:path";

/** The default folder of task files. */
export const tasksDefault = "tasks";

/**
 * The absolute path of the folder of task files, or null if there is none. Links are not resolved
 * here: at a reload they may lead elsewhere. Adds one line to `mistakes` if a named folder does not
 * exist.
 * @param named null for the default folder, which need not exist
 */
export const tasksFolder = (named: string | null, base: string, place: string, mistakes: string[]): string | null => {
  const path = resolve(base, named ?? tasksDefault);
  try {
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) return path;
    if (named !== null) mistakes.push(`${place}: there is no folder ${JSON.stringify(path)}`);
  } catch (error) {
    mistakes.push(`${place}: ${JSON.stringify(path)} cannot be read: ${(error as Error).message}`);
  }
  return null;
};

/** Returns true also if that cannot be found out: then reading the folder gives the error. */
export const isFolder = (path: string): boolean => {
  try {
    return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
  } catch {
    return true;
  }
};
