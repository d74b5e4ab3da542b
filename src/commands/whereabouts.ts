/**
 * Where the engine is that a command is meant for. What was typed counts first, then `TASK_ENGINE_ROUTER`, then the settings that
 * `serve` would have in this folder and environment, then the default.
 */
import { addressIn, defaultEndpoint, endpointVariable, isEndpoint } from "../client/endpoint.ts";
import { engineFolder, stateFolders, stopSocketPath } from "../process/folders.ts";
import { isLoopback } from "../security/exposure.ts";
import { fs } from "../transport/fs.ts";
import { isThere } from "../transport/libc.ts";
import { portOwner } from "../transport/shm/port-owner.ts";
import { UsageError } from "./exit.ts";

/** Flags of every verb that looks for an engine. */
export const engineFlags = {
  router: {
    type: "string",
    valueHint: "endpoint",
    description: `Where the engine is (default $${endpointVariable}, or else by its settings, or else ${defaultEndpoint})`,
  },
  config: {
    type: "string",
    valueHint: "file",
    description:
      "The engine's file of settings, for its host, port and state (default: ./task-engine.toml if it is there)",
  },
} as const;

export const stateVariable = "TASK_ENGINE_STATE";

/** A flag of the verbs that also go past the router. */
export const stateFlag = {
  type: "string",
  valueHint: "folder",
  description: `State folder of an engine on this machine (default $${stateVariable}, or else by its settings, or else its usual places)`,
} as const;

export interface WhereFlags {
  readonly router?: string | undefined;
  readonly direct?: string | undefined;
  readonly config?: string | undefined;
}

export interface Whereabouts {
  readonly endpoint: string;
  /** Whether it is an engine of this machine. */
  readonly isHere: boolean;
  /** The state folder that its settings name. */
  readonly state: string | null;
}

const refuse = (mistake: string): never => {
  throw new UsageError(`${mistake}; mend it, or say by --router where the engine is`);
};

/**
 * Throws UsageError, also for settings that it needs and that cannot be used.
 * @param onMistake is given what is wrong with settings, instead; then it is as if there were none
 */
export const whereabouts = async (
  { router, direct, config }: WhereFlags,
  onMistake: ((mistake: string) => void) | null = null,
): Promise<Whereabouts> => {
  if (router !== undefined && direct !== undefined) throw new UsageError("--router and --direct exclude each other");
  if (direct !== undefined) return { endpoint: checked(direct, "--direct"), isHere: false, state: null };
  const variable = config === undefined ? process.env[endpointVariable] : undefined;
  const named = router ?? (variable || undefined);
  if (named !== undefined) checked(named, router === undefined ? endpointVariable : "--router");
  // Who only asks at an endpoint that is named has no need of settings.
  const isNeeded = named === undefined || config !== undefined || onMistake !== null;
  const { host, port, state = null } = isNeeded ? await settings(config, onMistake ?? refuse) : {};
  if (named !== undefined) return { endpoint: named, isHere: isOnThisMachine(named), state };
  if (host === undefined && port === undefined) return { endpoint: defaultEndpoint, isHere: true, state };
  const { host: hostDefault, port: portDefault } = addressIn(defaultEndpoint);
  const address = host === undefined || host === "0.0.0.0" ? hostDefault : host;
  return { endpoint: `tcp://${address}:${port ?? portDefault}`, isHere: true, state };
};

const checked = (endpoint: string, origin: string): string => {
  if (isEndpoint(endpoint)) return endpoint;
  throw new UsageError(`${origin} is ${JSON.stringify(endpoint)}, which is not of the form tcp://HOST:PORT`);
};

const isOnThisMachine = (endpoint: string): boolean => {
  const { host } = addressIn(endpoint);
  return host === "localhost" || isLoopback(host);
};

interface Settings {
  readonly host?: string;
  readonly port?: number;
  readonly state?: string;
}

const settingsVariables = ["CONFIG", "HOST", "PORT", "STATE"].map((name) => `TASK_ENGINE_${name}`);

/** Mostly there are none, and then nothing is loaded that could read them. */
const settings = async (config: string | undefined, onMistake: (mistake: string) => void): Promise<Settings> => {
  const isGiven = config !== undefined || settingsVariables.some((name) => process.env[name]);
  if (!isGiven && !isThere("task-engine.toml")) return {};
  const { ConfigError, givenSettings } = await import("../config.ts");
  try {
    return givenSettings({ flags: { config }, environment: process.env, folder: process.cwd() }, [
      "host",
      "port",
      "state",
    ]);
  } catch (failure) {
    if (!(failure instanceof ConfigError)) throw failure;
    onMistake(failure.message);
    return {};
  }
};

/* ── Past the router ─────────────────────────────────────────────────────────────────────────────────────────────── */

/**
 * The sockets at which the supervisor of the engine may listen; none where it is on another machine.
 * @param state the folder that was typed, if one was
 */
export const stopSocketPaths = (where: Whereabouts, state: string | undefined): readonly string[] => {
  if (state === undefined && !where.isHere) return [];
  const { host, port } = addressIn(where.endpoint);
  const named = state ?? where.state;
  const folders = named === null ? stateFolders(process.env) : [named];
  const paths = folders.map((folder) => stopSocketPath(engineFolder(folder, port)));
  return state === undefined ? [...new Set([...paths, ...listeningAt(host, port)])] : paths;
};

const listeningFlag = "00010000"; // SO_ACCEPTCON, as /proc/net/unix has it, proc(5)

/**
 * Those that somebody listens at, wherever their state folder is: for the engine may have been started in another folder, and by another
 * user. Another user's counts only if that user has the engine's port: what anybody can make must not say that the robot stands.
 */
const listeningAt = (host: string, port: number): string[] => {
  const end = stopSocketPath(engineFolder("", port));
  try {
    const sockets = fs().readFileSync("/proc/net/unix", "utf8").split("\n");
    const paths = sockets.map((line) => /^\S+ \S+ \S+ (\S+) \S+ \S+ +\d+ (\/.*)$/.exec(line));
    const found = paths.flatMap((row) => (row?.[1] === listeningFlag && row[2]?.endsWith(`/${end}`) ? [row[2]] : []));
    const trusted = [0, process.geteuid?.(), portOwner(host === "localhost" ? "127.0.0.1" : host, port)];
    return found.filter((path) => trusted.includes(fs().lstatSync(path, { throwIfNoEntry: false })?.uid));
  } catch {
    return []; // The usual places are there all the same.
  }
};
