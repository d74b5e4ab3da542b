/**
 * Locates the engine that a command talks to. Flags take precedence, then `TASK_ENGINE_ROUTER`,
 * then the settings that `serve` would have in this folder and environment, then the default.
 */
import { defaultEndpoint, endpointVariable, isEndpoint } from "../client/endpoint.ts";
import { addressIn } from "../protocol/address.ts";
import { isLoopback } from "../security/exposure.ts";
import { engineFolder, engineFolders, stopSocketPath } from "../security/state-folders.ts";
import { fs } from "../transport/fs.ts";
import { isThere } from "../transport/libc.ts";
import { portOwner } from "../transport/shm/port-owner.ts";
import { UsageError } from "./command.ts";

const elseSettings = "or else by its settings, or else";

/** Flags of every command that locates an engine. */
export const locationArgs = {
  router: {
    type: "string",
    valueHint: "endpoint",
    description: `Where the engine is (default $${endpointVariable}, ${elseSettings} ${defaultEndpoint})`,
  },
  config: {
    type: "string",
    valueHint: "file",
    description:
      "The engine's file of settings, for its host, port and state (default: ./task-engine.toml if it is there)",
  },
} as const;

/** A flag of the commands that also go past the router. */
export const stateFlag = {
  type: "string",
  valueHint: "folder",
  description: `State folder of a local engine (default $TASK_ENGINE_STATE, ${elseSettings} the usual ones)`,
} as const;

export interface LocationFlags {
  readonly router?: string | undefined;
  readonly direct?: string | undefined;
  readonly config?: string | undefined;
}

export interface EngineLocation {
  readonly endpoint: string;
  readonly isOnThisMachine: boolean;
  /** The state folder that the engine's settings name. */
  readonly state: string | null;
}

/** Throws UsageError for an endpoint that is none. */
export const checkEndpoint = (endpoint: string, origin: string): string => {
  if (isEndpoint(endpoint)) return endpoint;
  throw new UsageError(`${origin} is ${JSON.stringify(endpoint)}, which is not of the form tcp://HOST:PORT`);
};

/**
 * Throws UsageError, also for settings that are needed and cannot be used.
 * @param onMistake is given the mistake in the settings instead, which then count as absent
 */
export const locateEngine = async (
  { router, direct, config }: LocationFlags,
  onMistake: ((mistake: string) => void) | null = null,
): Promise<EngineLocation> => {
  if (router !== undefined && direct !== undefined) throw new UsageError("--router and --direct exclude each other");
  if (direct !== undefined) {
    return { endpoint: checkEndpoint(direct, "--direct"), isOnThisMachine: false, state: null };
  }
  const named = router ?? (config === undefined ? process.env[endpointVariable] || undefined : undefined);
  if (named !== undefined) checkEndpoint(named, router === undefined ? endpointVariable : "--router");
  // A request to a named endpoint needs no settings.
  const areNeeded = named === undefined || config !== undefined || onMistake !== null;
  const { host = "0.0.0.0", port, state = null } = areNeeded ? await readSettings(config, onMistake ?? refuse) : {};
  if (named !== undefined) {
    const { host: namedHost } = addressIn(named);
    return { endpoint: named, isOnThisMachine: namedHost === "localhost" || isLoopback(namedHost), state };
  }
  const byDefault = addressIn(defaultEndpoint);
  const address = host === "0.0.0.0" ? byDefault.host : host;
  return { endpoint: `tcp://${address}:${port ?? byDefault.port}`, isOnThisMachine: true, state };
};

const refuse = (mistake: string): never => {
  throw new UsageError(`${mistake}; fix it, or say by --router where the engine is`);
};

interface EngineSettings {
  readonly host?: string;
  readonly port?: number;
  readonly state?: string;
}

const settingsVariables = ["CONFIG", "HOST", "PORT", "STATE"].map((name) => `TASK_ENGINE_${name}`);

/** Reads the settings; loads the module for it only if there are any, which keeps `send` quick. */
const readSettings = async (
  config: string | undefined,
  onMistake: (mistake: string) => void,
): Promise<EngineSettings> => {
  const isGiven = config !== undefined || settingsVariables.some((name) => process.env[name]);
  if (!isGiven && !isThere("task-engine.toml")) return {};
  const { ConfigError, givenSettings } = await import("../config.ts");
  const sources = { flags: { config }, environment: process.env, folder: process.cwd() };
  try {
    return givenSettings(sources, ["host", "port", "state"]);
  } catch (failure) {
    if (!(failure instanceof ConfigError)) throw failure;
    onMistake(failure.message);
    return {};
  }
};

/* ── Past the router ── */

/**
 * Returns the sockets at which the engine's supervisor may listen; none for another machine.
 * @param state the folder of `--state`
 */
export const stopSocketPaths = (location: EngineLocation, state: string | undefined): readonly string[] => {
  if (state === undefined && !location.isOnThisMachine) return [];
  const { host, port } = addressIn(location.endpoint);
  const paths = engineFolders(port, state ?? location.state, process.env).map(stopSocketPath);
  return state === undefined ? [...new Set([...paths, ...listeningAt(host, port)])] : paths;
};

const listeningFlag = "00010000"; // SO_ACCEPTCON in /proc/net/unix, proc(5)

/**
 * Returns stop sockets in any state folder, because another user may have started the engine in
 * another folder. A socket must belong to root, this user or the user of the engine's port: any
 * user can make such a socket, and a false one must not confirm a stop.
 */
const listeningAt = (host: string, port: number): string[] => {
  const end = stopSocketPath(engineFolder("", port));
  try {
    const sockets = fs().readFileSync("/proc/net/unix", "utf8").split("\n");
    const rows = sockets.map((line) => /^\S+ \S+ \S+ (\S+) \S+ \S+ +\d+ (\/.*)$/.exec(line));
    const paths = rows.flatMap((row) => (row?.[1] === listeningFlag && row[2]?.endsWith(`/${end}`) ? [row[2]] : []));
    const trusted = [0, process.geteuid?.(), portOwner(host === "localhost" ? "127.0.0.1" : host, port)];
    return paths.filter((path) => trusted.includes(fs().lstatSync(path, { throwIfNoEntry: false })?.uid));
  } catch {
    return []; // The usual folders are searched all the same.
  }
};
