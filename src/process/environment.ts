/** The table `[env]` in the file of settings: variables for the workers. */
import { isJsonObject } from "../protocol/json.ts";
import type { ConfigFile } from "./config-file.ts";

/** Returns true for variables that decide which code a process runs, or name another's channel. */
export const isUnsafeVariable = (name: string): boolean =>
  /^(BUN_.*|NODE_OPTIONS|NODE_CHANNEL_.*|LD_(PRELOAD|AUDIT|LIBRARY_PATH)|NOTIFY_SOCKET)$/.test(name);

/** Adds a line to `mistakes` for each mistake, with its place. */
export const environmentIn = ({ table, path }: ConfigFile, mistakes: string[]): Record<string, string> => {
  const env: unknown = Object.hasOwn(table, "env") ? table.env : {};
  if (!isJsonObject(env)) {
    mistakes.push(`${path}: env: must be a table of strings, not ${shown(env)}`);
    return {};
  }
  for (const [name, value] of Object.entries(env)) {
    const place = `${path}: env.${name}`;
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) mistakes.push(`${place}: is not a name for a variable`);
    else if (isUnsafeVariable(name))
      mistakes.push(`${place}: decides which code a worker runs, and is never passed to one`);
    else if (typeof value !== "string") mistakes.push(`${place}: must be a string, not ${shown(value)}`);
    else if (value.includes("\0")) mistakes.push(`${place}: must be without NUL`);
  }
  return { ...env } as Record<string, string>;
};

/** A wrong value, for a message. */
export const shown = (value: unknown): string => {
  const json = JSON.stringify(value) ?? String(value);
  return json.length > 60 ? `${json.slice(0, 60)}…` : json;
};
