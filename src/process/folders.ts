/** The folders that settings name: that of the task files, and that of what the engine must remember when it is off. */
import { statSync } from "node:fs";
import { isAbsolute, join, resolve } from "node:path";
import { homeFolder } from "../security/files.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** Where task files are looked for if nobody names a folder. */
export const tasksDefault = "tasks";

/**
 * The absolute path of the folder of task files; null, and a mistake more if it was named, if there is none. A link in it is followed
 * whenever the folder is read, not here: at a reload it may lead elsewhere.
 * @param named null if nobody named a folder: then there need not be one
 */
export const tasksFolder = (named: string | null, base: string, place: string, mistakes: string[]): string | null => {
  const path = resolve(base, named ?? tasksDefault);
  try {
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) return path;
    if (named !== null) mistakes.push(`${place}: there is no folder ${JSON.stringify(path)}`);
  } catch (error) {
    mistakes.push(`${place}: ${JSON.stringify(path)} cannot be looked at: ${(error as Error).message}`);
  }
  return null;
};

/** Whether there is a folder; true as well where that cannot be found out: the error is for those who read it. */
export const isFolder = (path: string): boolean => {
  try {
    return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
  } catch {
    return true;
  }
};

/** Of root, and of the service whoever that runs as. */
export const systemStateFolder = "/var/lib/task-engine";

/** Where an engine that is started in this environment keeps its state, if nobody names a folder; null where there is no home for it. */
export const stateFolder = (environment: Environment): string | null => {
  // systemd.exec(5): several, with a colon between them, if the unit has several.
  const given = environment.STATE_DIRECTORY?.split(":")[0];
  return given ? given : userStateFolder(environment);
};

/** Where an engine of this machine may have its state, for one of its users who looks for it. */
export const stateFolders = (environment: Environment): readonly string[] => {
  const own = userStateFolder(environment);
  return own === null || own === systemStateFolder ? [systemStateFolder] : [own, systemStateFolder];
};

/** XDG Base Directory Specification: a relative path in the variable is none. */
const userStateFolder = (environment: Environment): string | null => {
  const { XDG_STATE_HOME = "" } = environment;
  if (process.geteuid?.() === 0) return systemStateFolder;
  if (isAbsolute(XDG_STATE_HOME)) return join(XDG_STATE_HOME, "task-engine");
  const home = homeFolder(environment);
  return home === null ? null : join(home, ".local/state/task-engine");
};

/** The part of a state folder that is one engine's own; by its port, of which there can be no second on this machine. */
export const engineFolder = (state: string, port: number): string => join(state, `${port}`);

/** The socket in it by which the engine is stopped past its router. */
export const stopSocketPath = (folder: string): string => join(folder, "stop.sock");

/** The socket in it at which the engine's own workers join its router. No name in the folder is longer: a socket's path is short. */
export const workSocketPath = (folder: string): string => join(folder, "work.sock");
