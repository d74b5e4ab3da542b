/** The settings of the link to a fleet: the table `[link]` of the file, and what goes together. */
import { linkMirrorsMax, linkRightsMax } from "../limits.ts";
import { mirrorForm, mirrorRule } from "../protocol/fleet.ts";
import { isJsonObject } from "../protocol/json.ts";
import { Access } from "../security/access.ts";
import type { ConfigFile } from "./config-file.ts";
import { shown } from "./environment.ts";

interface LinkSettings {
  /** Rights of the fleet, in the words of the file of authorized clients. */
  readonly allow: readonly string[];
  /** Topics that go to the fleet, `PREFIX@HZ`. */
  readonly mirror: readonly string[];
}

const nothing: LinkSettings = { allow: [], mirror: [] };

/** Adds a line to `mistakes` for each mistake, with its place. */
export const linkIn = ({ table, path }: ConfigFile, mistakes: string[]): LinkSettings => {
  const given: unknown = Object.hasOwn(table, "link") ? table.link : {};
  if (!isJsonObject(given)) {
    mistakes.push(`${path}: link: must be a table, under [link]`);
    return nothing;
  }
  const { allow = [], mirror = [], ...others } = given as Readonly<Record<string, unknown>>;
  for (const key of Object.keys(others)) {
    mistakes.push(`${path}: link.${key}: there is no such setting; it has allow and mirror`);
  }
  if (!isListOf(allow, linkRightsMax)) {
    mistakes.push(`${path}: link.allow: must be a list of at most ${linkRightsMax} rights, not ${shown(allow)}`);
    return nothing;
  }
  if (!isListOf(mirror, linkMirrorsMax)) {
    mistakes.push(`${path}: link.mirror: must be a list of at most ${linkMirrorsMax} texts, not ${shown(mirror)}`);
    return nothing;
  }
  const access = Access.ofPerson("fleet", allow);
  if (typeof access === "string") mistakes.push(`${path}: link.allow: ${access}`);
  for (const text of mirror) {
    if (mirrorRule(text) === null) mistakes.push(`${path}: link.mirror: ${shown(text)} is not ${mirrorForm}`);
  }
  return { allow, mirror };
};

const isListOf = (value: unknown, max: number): value is string[] =>
  Array.isArray(value) && value.length <= max && value.every((item) => typeof item === "string");

interface LinkConfig {
  readonly nats: string | null;
  readonly robot: string | null;
  readonly groups: string | null;
  readonly natsCreds: string | null;
  readonly natsCa: string | null;
  readonly natsCert: string | null;
  readonly natsKey: string | null;
}

/** One line for each setting that lacks another, or excludes it. */
export const linkMistakes = (config: LinkConfig, placeOf: (name: keyof LinkConfig) => string): string[] => {
  const { nats, robot, natsCert, natsKey } = config;
  if (nats === null) {
    const others = ["robot", "groups", "natsCreds", "natsCa", "natsCert", "natsKey"] as const;
    const needless = others.filter((name) => config[name] !== null);
    return needless.map((name) => `${placeOf(name)}: is for a fleet, which takes --nats nats://HOST:PORT`);
  }
  if (robot === null) return [`${placeOf("nats")}: a robot of a fleet needs a name; give --robot NAME`];
  if ((natsCert === null) === (natsKey === null)) return [];
  return [`${placeOf(natsCert === null ? "natsKey" : "natsCert")}: a certificate and its key need each other`];
};
