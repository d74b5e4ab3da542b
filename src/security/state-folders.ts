/** The folders of the state of engines, and the sockets in them. */
import { isAbsolute, join, resolve } from "node:path";
import { type Environment, homeFolder } from "./files.ts";

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

/** Names the state folder in place of the default ones. */
const stateVariable = "TASK_ENGINE_STATE";

/**
 * The subfolders that this machine's engine at a port may have, the likeliest first.
 * @param named the state folder that is known, or null to look for it by the environment
 */
export const engineFolders = (port: number, named: string | null, environment: Environment): readonly string[] => {
  const { [stateVariable]: variable } = environment;
  const given = named ?? (variable ? resolve(variable) : null);
  const folders = given === null ? stateFolders(environment) : [given];
  return folders.map((folder) => engineFolder(folder, port));
};

/** The socket for an emergency stop past the router. */
export const stopSocketPath = (folder: string): string => join(folder, "stop.sock");

/** The socket for the engine's own workers. Its path must be short: see `socketPathBytesMax`. */
export const workSocketPath = (folder: string): string => join(folder, "work.sock");

/** The same for those of Python, which come by ZeroMQ. */
export const pythonSocketPath = (folder: string): string => join(folder, "python.sock");

/**
 * The same of a data worker, by its stream port: for what they publish. task_engine.py has the same
 * rule.
 */
export const pythonDataSocketPath = (folder: string, port: number): string => join(folder, `python-${port}.sock`);

/** The socket beside the router's port, of an engine with keys: see `openLocalListener`. */
export const frontSocketPath = (folder: string): string => join(folder, "front.sock");

/** The same beside a port of a data worker. */
export const dataSocketPath = (folder: string, port: number): string => join(folder, `data-${port}.sock`);
