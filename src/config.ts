/**
 * The settings of `serve`. Each comes from the first place that has it: flag, environment,
 * configuration file, default. All mistakes are reported at once, each with its place.
 */
import { dirname, resolve } from "node:path";
import * as v from "valibot";
import {
  type ConfigFile,
  configFileDefault,
  readConfigFile,
  unknownKeys,
  unknownVariables,
} from "./process/config-file.ts";
import { environmentIn, shown } from "./process/environment.ts";
import { tasksDefault, tasksFolder } from "./process/folders.ts";
import { linkIn, linkMistakes } from "./process/link-settings.ts";
import { schedulesIn } from "./process/schedules-file.ts";
import { examples, rows } from "./process/settings.ts";
import { exposureMistakes, gatewayMistakes, portMistakes, resolveAddress } from "./security/exposure.ts";
import { noHome } from "./security/files.ts";
import { stateFolder } from "./security/state-folders.ts";

/* ── The settings ── */

/** Those that are paths, without those that have a default of their own. */
const pathNames = [
  ...(["python", "tokens", "tlsCert", "tlsKey"] as const),
  ...(["natsCreds", "natsCa", "natsCert", "natsKey"] as const),
];

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
  /** The file's table `[link]`. */
  readonly link: ReturnType<typeof linkIn>;
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

/** Every setting as a line of the file: its key, its default or an example as TOML, its use. */
export const settingsList = names.map((name) => ({
  key: kebab(name),
  value: JSON.stringify(rows[name].fallback ?? examples[name as keyof typeof examples]),
  description: rows[name].description,
}));

/* ── Sources ── */

interface Sources {
  /** Values by the flag's name without dashes; undefined if it is not given. */
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
  mistakes.push(...unknownKeys(file, ["env", "link", "schedule", ...names.map(kebab)]));

  const given = new Map(names.map((name) => [name, find(name, sources, file)]));
  const settings: Record<string, unknown> = {};
  for (const name of names) settings[name] = check(name, given.get(name), mistakes);
  const tables = {
    env: environmentIn(file, mistakes),
    schedules: schedulesIn(file, mistakes),
    link: linkIn(file, mistakes),
  };
  const config = { ...settings, ...tables } as Config;

  const placeOf = (name: Name): string => given.get(name)?.place ?? `default of --${kebab(name)}`;
  if (mistakes.length === 0) mistakes.push(...portMistakes(config, placeOf));
  const host = await resolveAddress(config.host, placeOf("host"), mistakes);
  if (mistakes.length === 0) mistakes.push(...exposureMistakes({ ...config, host }, placeOf));
  mistakes.push(...gatewayMistakes(config, placeOf), ...linkMistakes(config, placeOf));
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
  const paths = pathNames.map((name) => {
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
  return { place: `${file.path}: ${key}`, value: fromFile(name, file.table[key]), folder: file.folder };
};

/** TOML has numbers of its own, and `http = 8080` or `robot = 7` is no mistake. */
const fromFile = (name: Name, value: unknown): unknown =>
  rows[name].kind === "text" && Number.isSafeInteger(value) ? String(value) : value;

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
