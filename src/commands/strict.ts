/**
 * What was typed, as a verb takes it. What parsers like to let pass in silence is a usage error here: unknown flags, a missing value, a
 * flag given twice, a value for a switch, too many or too few arguments. `send count -2 3` needs no `--`.
 */
import type { ArgDef, ArgsDef, ParsedArgs } from "citty";
import { didYouMean } from "../process/nearest.ts";
import { UsageError } from "./exit.ts";

/**
 * The last positional takes all that follow when its name ends so; a verb finds them in `args._`. A flag may be given again when
 * its `valueHint` ends so; a verb finds all that was given by `listOf`.
 */
const variadicSuffix = "...";

const isNegativeNumber = (token: string): boolean => /^-\.?\d/.test(token);
const isFlag = (token: string): boolean => token.length > 1 && token.startsWith("-") && !isNegativeNumber(token);

/** Whether the usage is asked for. What stands behind `--` is an argument. */
export const asksForHelp = (rawArgs: readonly string[]): boolean => {
  const end = rawArgs.indexOf("--");
  return (end < 0 ? rawArgs : rawArgs.slice(0, end)).some((token) => token === "--help" || token === "-h");
};

/** Flags and positionals by their names, and all positionals as `_`. Throws UsageError, which names the flag or the argument. */
export const parseArgs = <Args extends ArgsDef>(rawArgs: readonly string[], definitions: Args): ParsedArgs<Args> => {
  const { flags, expected } = sorted(definitions);
  const given: Record<string, string | boolean | string[]> = {};
  const positionals: string[] = [];
  for (let index = 0; index < rawArgs.length; index++) {
    const token = rawArgs[index] ?? "";
    if (token === "--") {
      positionals.push(...rawArgs.slice(index + 1));
      break;
    }
    if (!isFlag(token)) {
      positionals.push(token);
      continue;
    }
    const [spelling, inlineValue] = splitFlag(token);
    const flag = flags.get(spelling);
    if (flag === undefined) {
      const now = renamedFlags[spelling];
      if (now !== undefined) throw new UsageError(`unknown flag ${spelling}: ${now}`);
      const hint = didYouMean(spelling, flags.keys()) || " (an argument that begins with a dash goes after --)";
      throw new UsageError(`unknown flag ${spelling}${hint}`);
    }
    const before = given[flag.name];
    const isList = isRepeatable(flag.definition);
    if (before !== undefined && !isList) throw new UsageError(`${spelling} is given twice`);
    if (flag.definition.type === "boolean") {
      if (inlineValue !== undefined) throw new UsageError(`${spelling} takes no value`);
      given[flag.name] = true;
      continue;
    }
    const value = inlineValue ?? rawArgs[++index];
    if (value === undefined || (inlineValue === undefined && isFlag(value))) {
      throw new UsageError(`${spelling} needs a value`);
    }
    checkChoice(spelling, value, flag.definition);
    given[flag.name] = isList ? [...(Array.isArray(before) ? before : []), value] : value;
  }
  checkPositionals(positionals, expected);
  for (let index = 0; index < positionals.length; index++) {
    const name = expected[index]?.name;
    const value = positionals[index];
    if (name !== undefined && value !== undefined) given[name] = value;
  }
  for (const { name, definition } of flags.values()) {
    if (given[name] !== undefined) continue;
    if (definition.required === true) throw new UsageError(`--${name} is required`);
    if (definition.default !== undefined) given[name] = definition.default;
  }
  // citty's types know no flag that may be given again.
  return { ...given, _: positionals } as unknown as ParsedArgs<Args>;
};

/** What flags of before are called now. */
const renamedFlags: Readonly<Record<string, string>> = {
  "--limit": "it is now --timeout, the time that a job may run",
  "--timeout": "how long a command waits is --wait",
};

/** All that was given for a flag that may be given again. */
export const listOf = (args: Readonly<Record<string, unknown>>, name: string): readonly string[] => {
  const list = args[name];
  return Array.isArray(list) ? list : [];
};

const isRepeatable = (definition: ArgDef): boolean =>
  "valueHint" in definition && definition.valueHint?.endsWith(variadicSuffix) === true;

const splitFlag = (token: string): [spelling: string, inlineValue: string | undefined] => {
  const equals = token.indexOf("=");
  return equals < 0 ? [token, undefined] : [token.slice(0, equals), token.slice(equals + 1)];
};

interface Named {
  readonly name: string;
  readonly definition: ArgDef;
}

/** Flags by the way they are written, dashes included; positionals in their order. */
const sorted = (definitions: ArgsDef): { flags: Map<string, Named>; expected: Named[] } => {
  const flags = new Map<string, Named>();
  const expected: Named[] = [];
  for (const name in definitions) {
    const definition = definitions[name];
    if (definition === undefined) continue;
    if (definition.type === "positional") {
      expected.push({ name, definition });
      continue;
    }
    flags.set(spellingOf(name), { name, definition });
    if (!("alias" in definition) || definition.alias === undefined) continue;
    for (const alias of [definition.alias].flat()) flags.set(spellingOf(alias), { name, definition });
  }
  return { flags, expected };
};

const spellingOf = (name: string): string => (name.length === 1 ? `-${name}` : `--${name}`);

const checkChoice = (spelling: string, value: string, definition: ArgDef): void => {
  if (definition.type !== "enum" || definition.options === undefined || definition.options.includes(value)) return;
  throw new UsageError(`${spelling} is ${JSON.stringify(value)}, which is not one of ${definition.options.join(", ")}`);
};

const checkPositionals = (positionals: readonly string[], expected: readonly Named[]): void => {
  for (let index = positionals.length; index < expected.length; index++) {
    const missing = expected[index];
    if (missing?.definition.required !== false) throw new UsageError(`${missing?.name.toUpperCase()} is missing`);
  }
  if (expected.at(-1)?.name.endsWith(variadicSuffix)) return;
  const tooMany = positionals[expected.length];
  if (tooMany === undefined) return;
  const limit = expected.length === 0 ? "none is taken" : `there can be ${expected.length}`;
  throw new UsageError(`argument ${JSON.stringify(tooMany)} is too many: ${limit}`);
};
