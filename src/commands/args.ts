/**
 * Parses a command's arguments strictly. Mistakes that argument parsers usually accept are usage
 * errors: unknown flags, missing values, repeated flags, values for switches, too many or too few
 * arguments. Negative numbers are arguments, so `send count -2 3` needs no `--`.
 */
import type { ArgDef, ArgsDef, ParsedArgs } from "citty";
import { didYouMean } from "../process/nearest.ts";
import { UsageError } from "./command.ts";

/**
 * A last positional whose name ends so takes all arguments that follow; they are in `args._`.
 * A flag whose `valueHint` ends so may be repeated; `listOf` returns its values.
 */
const repeatedSuffix = "...";

const renamedFlags: Readonly<Record<string, string>> = {
  "--limit": "it is now --timeout, the time that a job may run",
  "--timeout": "how long a command waits is --wait",
};

/** Returns true if `--help` or `-h` stands before a `--`. */
export const asksForHelp = (argv: readonly string[]): boolean => {
  const end = argv.indexOf("--");
  return (end < 0 ? argv : argv.slice(0, end)).some((token) => token === "--help" || token === "-h");
};

/**
 * Returns flags and positionals by their names, and all positionals as `_`. Throws UsageError,
 * which names the flag or argument.
 */
export const parseArgs = <Args extends ArgsDef>(argv: readonly string[], definitions: Args): ParsedArgs<Args> => {
  const flags = flagsIn(definitions);
  const given: Record<string, string | boolean | readonly string[]> = {};
  const positionals: string[] = [];
  const rest = [...argv];
  for (let token = rest.shift(); token !== undefined; token = rest.shift()) {
    if (token === "--") {
      positionals.push(...rest.splice(0));
    } else if (isFlag(token)) {
      const [, spelling = "", inlineValue] = /^([^=]*)(?:=(.*))?$/s.exec(token) ?? [];
      const flag = flags.get(spelling);
      if (flag === undefined) throw unknownFlag(spelling, flags.keys());
      const { name, definition } = flag;
      const before = given[name];
      const isRepeated = "valueHint" in definition && definition.valueHint?.endsWith(repeatedSuffix) === true;
      if (before !== undefined && !isRepeated) throw new UsageError(`${spelling} is given twice`);
      if (definition.type === "boolean") {
        if (inlineValue !== undefined) throw new UsageError(`${spelling} takes no value`);
        given[name] = true;
      } else {
        const value = inlineValue ?? rest.shift();
        if (value === undefined || (inlineValue === undefined && isFlag(value))) {
          throw new UsageError(`${spelling} needs a value`);
        }
        given[name] = isRepeated ? [...listOf(given, name), value] : value;
      }
    } else {
      positionals.push(token);
    }
  }
  assignPositionals(positionals, definitions, given);
  for (const { name, definition } of flags.values()) {
    if (given[name] !== undefined) continue;
    if (definition.required === true) throw new UsageError(`--${name} is required`);
    if (definition.default !== undefined) given[name] = definition.default;
  }
  // citty's types know no flag that may be repeated.
  return { ...given, _: positionals } as unknown as ParsedArgs<Args>;
};

/** Returns all values of a repeatable flag. */
export const listOf = (args: Readonly<Record<string, unknown>>, name: string): readonly string[] => {
  const list = args[name];
  return Array.isArray(list) ? list : [];
};

const isFlag = (token: string): boolean => token.length > 1 && token.startsWith("-") && !/^-\.?\d/.test(token);

interface Flag {
  readonly name: string;
  readonly definition: ArgDef;
}

/** Returns flags by their spelling, dashes included. */
const flagsIn = (definitions: ArgsDef): Map<string, Flag> => {
  const flags = new Map<string, Flag>();
  for (const [name, definition] of Object.entries(definitions)) {
    if (definition.type === "positional") continue;
    const aliases = "alias" in definition ? [definition.alias ?? []].flat() : [];
    for (const each of [name, ...aliases]) {
      flags.set(each.length === 1 ? `-${each}` : `--${each}`, { name, definition });
    }
  }
  return flags;
};

const unknownFlag = (spelling: string, known: Iterable<string>): UsageError => {
  const renamed = renamedFlags[spelling];
  if (renamed !== undefined) return new UsageError(`unknown flag ${spelling}: ${renamed}`);
  const hint = didYouMean(spelling, known) || " (an argument that begins with a dash goes after --)";
  return new UsageError(`unknown flag ${spelling}${hint}`);
};

const assignPositionals = (
  positionals: readonly string[],
  definitions: ArgsDef,
  given: Record<string, unknown>,
): void => {
  const names = Object.keys(definitions).filter((name) => definitions[name]?.type === "positional");
  for (const [index, name] of names.entries()) {
    const value = positionals[index];
    if (value !== undefined) given[name] = value;
    else if (definitions[name]?.required !== false) throw new UsageError(`${name.toUpperCase()} is missing`);
  }
  const tooMany = positionals[names.length];
  if (tooMany === undefined || names.at(-1)?.endsWith(repeatedSuffix)) return;
  const limit = names.length === 0 ? "none is taken" : `there can be ${names.length}`;
  throw new UsageError(`argument ${JSON.stringify(tooMany)} is too many: ${limit}`);
};
