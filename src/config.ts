/**
 * The settings of `serve`. Each comes from the first place that has it: flag, environment,
 * configuration file, default. All mistakes are reported at once, each with its place.
 */
import { dirname, resolve } from "node:path";
import * as v from "valibot";
import * as limits from "./limits.ts";
import {
  type ConfigFile,
  configFileDefault,
  readConfigFile,
  unknownKeys,
  unknownVariables,
} from "./process/config-file.ts";
import { environmentIn, shown } from "./process/environment.ts";
import { tasksDefault, tasksFolder } from "./process/folders.ts";
import { schedulesIn } from "./process/schedules-file.ts";
import { exposureMistakes, gatewayMistakes, httpPattern, portMistakes, resolveAddress } from "./security/exposure.ts";
import { noHome } from "./security/files.ts";
import { stateFolder } from "./security/state-folders.ts";

/* ── The settings ── */

type Kind = "number" | "switch" | "text";

const row = <Output, Default>(
  kind: Kind,
  hint: string,
  fallback: Default,
  schema: v.GenericSchema<unknown, Output>,
  description: string,
) => ({ kind, hint, fallback, schema, description });

const whole = (min: number, max: number) => {
  const must = `must be a whole number from ${min} to ${max}`;
  return v.pipe(v.unknown(), v.number(must), v.integer(must), v.minValue(min, must), v.maxValue(max, must));
};
const text = (pattern: RegExp, must: string) => v.pipe(v.unknown(), v.string(must), v.regex(pattern, must));

const host = text(/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/i, "must be an IPv4 address or a name of this machine");
const port = whole(1, 65_535);
const workers = whole(0, limits.workerProcessesMax);
const folder = text(/^[^\0]+$/, "must be the path of a folder");
const file = text(/^[^\0]+$/, "must be the path of a file");
const http = text(httpPattern, "must be [ADDRESS:]PORT");
const grace = whole(0, limits.graceMsMax);
const task = text(/^[\w.-]{1,128}$/, "must be the name of a task");
const history = whole(0, limits.historyMsMax);
const historyBytes = whole(limits.historyBytesMin, limits.historyBytesMaxMax);
const dataBytes = whole(1, limits.dataBytesMaxMax);
const workerJobs = whole(1, limits.workerJobsMax);
const workerMemory = whole(limits.workerMemoryMibMin, limits.workerMemoryMibMax);
const restarts = whole(0, limits.restartsMax);
const window = whole(1, limits.restartWindowMsMax);
const onOff = v.pipe(v.unknown(), v.boolean("must be true or false"));

/**
 * Every setting. Its row makes the flag, the variable, the file's key, the usage and the check:
 * `taskWorkers` is `--task-workers`, TASK_ENGINE_TASK_WORKERS and `task-workers`.
 */
const rows = {
  host: row("text", "address", "127.0.0.1", host, "Address of this machine to listen on"),
  port: row("number", "port", 9000, port, "Port for requestors"),
  backendPort: row("number", "port", 9001, port, "Port for workers"),
  workerPort: row("number", "port", 10_000, port, "Port of the first worker; the others follow, task workers first"),
  dataPort: row("number", "port", 9002, port, "First port for 0.3 data; each data worker has two"),
  taskWorkers: row("number", "count", 2, workers, "Processes that run tasks"),
  pythonWorkers: row("number", "count", 1, workers, "Processes that run Python tasks, while there are any; 0: none"),
  python: row("text", "file", null, file, "Python interpreter, also a venv's (default: python3 in the PATH)"),
  dataWorkers: row("number", "count", 1, workers, "Processes that keep and publish data"),
  historyMs: row("number", "ms", limits.historyMs, history, "Time for which a data worker keeps values"),
  historyBytes: row("number", "bytes", limits.historyBytesMax, historyBytes, "Memory of a data worker for all values"),
  dataBytesMax: row("number", "bytes", limits.dataBytesMax, dataBytes, "Size of the largest value of a topic"),
  workerJobsMax: row(
    "number",
    "count",
    null,
    workerJobs,
    "Jobs after which a task worker is replaced (default: no limit)",
  ),
  workerMemoryMax: row(
    "number",
    "MiB",
    null,
    workerMemory,
    "Resident memory above which one is replaced after its job (default: no limit)",
  ),
  tasks: row("text", "folder", null, folder, "Folder of task files (default: ./tasks if there is one)"),
  key: row("text", "file", null, file, "Secret key of the engine, by `task-engine keygen` (default: no encryption)"),
  authorized: row(
    "text",
    "file",
    null,
    file,
    "File of authorized clients and their rights (default: `authorized` beside the key)",
  ),
  http: row("text", "[address:]port", null, http, "Serve HTTP there: API, metrics and a page (default: no HTTP)"),
  tokens: row("text", "file", null, file, "File of tokens for HTTP, by `task-engine token`: who may do what"),
  tlsCert: row("text", "file", null, file, "Certificate for HTTPS, PEM"),
  tlsKey: row("text", "file", null, file, "Secret key of that certificate, PEM"),
  insecure: row("switch", "", false, onOff, "Accept everybody who reaches this machine, without keys"),
  graceMs: row("number", "ms", 5_000, grace, "Time for running jobs to finish at a stop"),
  stopGraceMs: row("number", "ms", limits.stopGraceMs, grace, "Time for running jobs to let go at an emergency stop"),
  onStop: row("text", "task", null, task, "Task that makes the robot safe, at each stop and after a crash"),
  state: row(
    "text",
    "folder",
    null,
    folder,
    "Folder for what must outlive the engine (default: /var/lib/task-engine as root, else ~/.local/state/task-engine)",
  ),
  restartsMax: row("number", "count", 5, restarts, "Restarts within the window; at one more the engine stops"),
  restartWindowMs: row("number", "ms", 60_000, window, "The window in which restarts are counted"),
  verbose: row("switch", "", false, onOff, "Print each message as it passes"),
};

type Rows = typeof rows;
type Name = keyof Rows;
type Settings = { readonly [N in Name]: v.InferOutput<Rows[N]["schema"]> | Rows[N]["fallback"] };

/**
 * Valid settings. `host` is an IPv4 address; all paths are absolute. `key` and `authorized` are
 * both null for an engine without keys. `tasks` is null if there is no folder of task files yet;
 * each process that loads tasks then looks for `tasksIfAny` at its start.
 */
export interface Config extends Settings {
  readonly tasksIfAny: string | null;
  readonly state: string;
  /** Variables of the file's table `[env]`, for the workers. */
  readonly env: Readonly<Record<string, string>>;
  /** Those of the file; others are in the definitions of tasks. */
  readonly schedules: ReturnType<typeof schedulesIn>;
}

const names = Object.keys(rows) as Name[];
const kebab = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
const variable = (name: string): string => `TASK_ENGINE_${kebab(name).replaceAll("-", "_").toUpperCase()}`;

const fileFlag = "config";
const fileUsage = `TOML file of settings (default: ./${configFileDefault} if there is one)`;

/**
 * The flags of all settings, and `--config`, in citty's form. They have no `default`: a flag that
 * is not given must be told from one that is.
 */
export const configFlags = Object.fromEntries([
  [fileFlag, { type: "string" as const, valueHint: "file", description: fileUsage }],
  ...names.map((name) => {
    const { kind, hint, fallback, description } = rows[name];
    if (kind === "switch") return [kebab(name), { type: "boolean" as const, description }];
    const shown = fallback === null ? description : `${description} (default: ${fallback})`;
    return [kebab(name), { type: "string" as const, valueHint: hint, description: shown }];
  }),
]);

/** An example for each setting without a default. */
const examples = {
  python: "/usr/bin/python3",
  workerJobsMax: 100_000,
  workerMemoryMax: 512,
  tasks: "tasks",
  key: "engine.key_secret",
  authorized: "authorized",
  http: "8080",
  tokens: "tokens",
  tlsCert: "cert.pem",
  tlsKey: "key.pem",
  onStop: "park",
  state: "/var/lib/task-engine",
} satisfies { readonly [N in Name as Rows[N]["fallback"] extends null ? N : never]: string | number };

/** Every setting as a line of the file: its key, its default or an example as TOML, its use. */
export const settingsList = names.map((name) => ({
  key: kebab(name),
  value: JSON.stringify(rows[name].fallback ?? examples[name as keyof typeof examples]),
  description: rows[name].description,
}));

/* ── Sources ── */

interface Sources {
  /** By the flag's name without dashes; undefined if it is not given. */
  readonly flags: Readonly<Record<string, unknown>>;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** The base of relative paths in flags and environment; those of the file start at its folder. */
  readonly folder: string;
}

/** Invalid settings; `message` is one line with each mistake and its place. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  constructor(readonly mistakes: readonly string[]) {
    super(mistakes.join("; "));
  }
}

interface Given {
  readonly place: string;
  readonly value: unknown;
  readonly folder: string;
}

/** Reads, merges and checks all settings. Throws ConfigError. */
export const loadConfig = async (sources: Sources): Promise<Config> => {
  const mistakes: string[] = [];
  const file = fileOf(sources, mistakes);
  const variables = [...clientVariables, ...[fileFlag, ...names].map(variable)];
  mistakes.push(...unknownVariables(sources.environment, variables));
  mistakes.push(...unknownKeys(file, ["env", "schedule", ...names.map(kebab)]));

  const given = new Map(names.map((name) => [name, find(name, sources, file)]));
  const settings: Record<string, unknown> = {};
  for (const name of names) settings[name] = check(name, given.get(name), mistakes);
  const config = { ...settings, env: environmentIn(file, mistakes), schedules: schedulesIn(file, mistakes) } as Config;

  const placeOf = (name: Name): string => given.get(name)?.place ?? `default of --${kebab(name)}`;
  if (mistakes.length === 0) mistakes.push(...portMistakes(config, placeOf));
  const host = await resolveAddress(config.host, placeOf("host"), mistakes);
  if (mistakes.length === 0) mistakes.push(...exposureMistakes({ ...config, host }, placeOf));
  mistakes.push(...gatewayMistakes(config, placeOf));
  const folderOf = (name: Name): string => given.get(name)?.folder ?? sources.folder;
  const tasks = tasksFolder(config.tasks, folderOf("tasks"), placeOf("tasks"), mistakes);
  const stateGiven = (config.state as string | null) ?? stateFolder(sources.environment);
  if (stateGiven === null) mistakes.push(`state: ${noHome()}; name a folder by --state or ${variable("state")}`);
  if (mistakes.length > 0 || stateGiven === null) throw new ConfigError(mistakes);
  const key = config.key === null ? null : resolve(folderOf("key"), config.key);
  const state = resolve(folderOf("state"), stateGiven);
  const beside = key === null ? null : resolve(dirname(key), "authorized");
  const authorized = config.authorized === null ? beside : resolve(folderOf("authorized"), config.authorized);
  const tasksIfAny = tasks === null ? resolve(sources.folder, tasksDefault) : null;
  const paths = (["python", "tokens", "tlsCert", "tlsKey"] as const).map((name) => {
    const path = config[name];
    return [name, path === null ? null : resolve(folderOf(name), path)] as const;
  });
  return { ...config, host, tasks, tasksIfAny, state, key, authorized, ...Object.fromEntries(paths) };
};

/**
 * Returns those of the wanted settings that are given, for a verb that looks for the engine. Throws
 * ConfigError for a mistake in them or in the file.
 */
export const givenSettings = <N extends Name>(sources: Sources, wanted: readonly N[]): Partial<Pick<Config, N>> => {
  const mistakes: string[] = [];
  const file = fileOf(sources, mistakes);
  const settings: Record<string, unknown> = {};
  for (const name of wanted) {
    const given = find(name, sources, file);
    if (given !== undefined) settings[name] = check(name, given, mistakes);
    if (name === "state" && given !== undefined) settings[name] = resolve(given.folder, String(given.value));
  }
  if (mistakes.length > 0) throw new ConfigError(mistakes);
  return settings as Partial<Pick<Config, N>>;
};

const fileOf = ({ flags, environment, folder }: Sources, mistakes: string[]): ConfigFile => {
  const named = flags[fileFlag] ?? (environment[variable(fileFlag)] || null);
  return readConfigFile(typeof named === "string" ? named : null, folder, mistakes);
};

/** Returns the text of the file of settings; null if there is none or it cannot be read. */
export const configText = (sources: Sources): string | null => fileOf(sources, []).text;

const find = (name: Name, { flags, environment, folder }: Sources, file: ConfigFile): Given | undefined => {
  const flag = flags[kebab(name)];
  if (flag !== undefined) return { place: `--${kebab(name)}`, value: fromText(name, flag), folder };
  const set = environment[variable(name)];
  // A unit file unsets a variable by an empty value.
  if (set !== undefined && set !== "") return { place: variable(name), value: fromText(name, set), folder };
  const key = kebab(name);
  if (!Object.hasOwn(file.table, key)) return undefined;
  return { place: `${file.path}: ${key}`, value: file.table[key], folder: file.folder };
};

/** Converts text to the setting's kind; keeps any other text, which the schema then refuses. */
const fromText = (name: Name, value: unknown): unknown => {
  if (typeof value !== "string") return value;
  const { kind } = rows[name];
  if (kind === "number" && /^-?\d{1,15}$/.test(value)) return Number(value);
  if (kind === "switch" && /^(true|1)$/.test(value)) return true;
  if (kind === "switch" && /^(false|0)$/.test(value)) return false;
  return value;
};

/* ── Checks ── */

const check = (name: Name, given: Given | undefined, mistakes: string[]): unknown => {
  const { schema, fallback } = rows[name];
  if (given === undefined) return fallback;
  const result = v.safeParse(schema, given.value, { abortPipeEarly: true });
  if (result.success) return result.output;
  mistakes.push(`${given.place}: ${result.issues[0].message}, not ${shown(given.value)}`);
  return fallback;
};

/** Variables of the other verbs, which may be set for all of them together. */
const clientVariables = ["TASK_ENGINE_ROUTER", "TASK_ENGINE_SERVER_KEY"];
