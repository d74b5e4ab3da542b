/** The folders of the task files and of the engine's state. */
import { statSync } from "node:fs";
import { isAbsolute, join, resolve } from "node:path";
import { type Environment, homeFolder } from "../security/files.ts";

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

/** For root, and for the service as any user. */
export const systemStateFolder = "/var/lib/task-engine";

/** The default state folder of an engine with this environment; null without a home folder. */
export const stateFolder = (environment: Environment): string | null => {
  // systemd.exec(5): a list with colons.
  const given = environment.STATE_DIRECTORY?.split(":")[0];
  return given ? given : userStateFolder(environment);
};

/** The default state folders of engines that this user may look for. */
export const stateFolders = (environment: Environment): readonly string[] => {
  const own = userStateFolder(environment);
  return own === null || own === systemStateFolder ? [systemStateFolder] : [own, systemStateFolder];
};

/** XDG Base Directory Specification: a relative path is ignored. */
const userStateFolder = (environment: Environment): string | null => {
  const { XDG_STATE_HOME = "" } = environment;
  if (process.geteuid?.() === 0) return systemStateFolder;
  if (isAbsolute(XDG_STATE_HOME)) return join(XDG_STATE_HOME, "task-engine");
  const home = homeFolder(environment);
  return home === null ? null : join(home, ".local/state/task-engine");
};

/** The subfolder of one engine, by its port, which is unique on this machine. */
export const engineFolder = (state: string, port: number): string => join(state, `${port}`);

/** The socket for an emergency stop past the router. */
export const stopSocketPath = (folder: string): string => join(folder, "stop.sock");

/** The socket for the engine's own workers. Its path must be short: no name here is longer. */
export const workSocketPath = (folder: string): string => join(folder, "work.sock");
