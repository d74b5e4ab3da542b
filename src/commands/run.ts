/** From what was typed to the command that does it: finds the verb in the tree, prints usages, checks strictly, runs. */
import type { ArgsDef, CommandDef, CommandMeta, SubCommandsDef } from "citty";
import { didYouMean } from "../process/nearest.ts";
import { isTerminal, stderr } from "../process/streams.ts";
import { fs } from "../transport/fs.ts";
import { ExitError, UsageError } from "./exit.ts";
import { writeOut } from "./output.ts";
import { asksForHelp, parseArgs } from "./strict.ts";

/** citty lets these be values, promises or functions of either. */
const resolve = async <T>(value: T | Promise<T> | (() => T) | (() => Promise<T>)): Promise<T> =>
  typeof value === "function" ? (value as () => T | Promise<T>)() : value;

/**
 * Runs the command that `argv` names. Throws what the command throws; wrong usage as ExitError with code 2.
 * @param hiddenVerbs can be run, and no usage speaks of them
 */
export const run = async (root: CommandDef, hiddenVerbs: SubCommandsDef, argv: readonly string[]): Promise<void> => {
  let command = root;
  let path = await nameOf(root);
  // `help`, `help send` and `help data put` are what `--help` behind the rest is.
  let rest = argv[0] === helpVerb ? [...argv.slice(1), "--help"] : argv;
  let verbs = await resolve(root.subCommands);
  try {
    while (verbs !== undefined) {
      const [verb] = rest;
      if (verb === undefined) {
        stderr.log(await usage(command, path, 2));
        throw new ExitError("", 2);
      }
      if (verb.startsWith("-")) {
        if (asksForHelp(rest)) break;
        parseArgs(rest, await argsOf(command));
        throw new UsageError("no command is given");
      }
      const found = verbNamed(verb, command === root ? { ...verbs, ...hiddenVerbs } : verbs);
      command = await resolve(found);
      path = `${path} ${verb}`;
      rest = rest.slice(1);
      verbs = await resolve(command.subCommands);
    }
    // An emergency stop must not fail for its reason.
    if (argv[0] !== "estop") checkEncoding(argv);
    if (asksForHelp(rest)) {
      await writeOut(`${await usage(command, path, 1)}\n`);
      return;
    }
    const args = parseArgs(rest, await argsOf(command));
    await command.run?.({ rawArgs: [...rest], args, cmd: command });
  } catch (error) {
    if (error instanceof UsageError) throw new ExitError(`${error.message}; see ${path} --help`, error.exitCode);
    throw error;
  }
};

const replacement = "\ufffd";

/** Throws UsageError for what was typed in another encoding than UTF-8: as `argv` has it, letters of it are lost. */
const checkEncoding = (argv: readonly string[]): void => {
  if (!argv.some((argument) => argument.includes(replacement))) return;
  const typed = fs().readFileSync("/proc/self/cmdline").toString("latin1").split("\0").slice(0, -1);
  const decoder = new TextDecoder("utf-8", { fatal: true });
  for (const [index, argument] of typed.slice(-argv.length).entries()) {
    try {
      decoder.decode(Buffer.from(argument, "latin1"));
    } catch {
      throw new UsageError(
        `argument ${JSON.stringify(argv[index])} is not UTF-8, and would not arrive as it was typed`,
      );
    }
  }
};

const nameOf = async (command: CommandDef): Promise<string> =>
  (await resolve<CommandMeta>(command.meta ?? {})).name ?? "";
const argsOf = (command: CommandDef): Promise<ArgsDef> => resolve<ArgsDef>(command.args ?? {});

const helpVerb = "help";

const verbNamed = (verb: string, verbs: SubCommandsDef): SubCommandsDef[string] => {
  const found = Object.hasOwn(verbs, verb) ? verbs[verb] : undefined;
  if (found === undefined) {
    const names = [...Object.keys(verbs), helpVerb, "--version"];
    throw new UsageError(`unknown command ${JSON.stringify(verb)}${didYouMean(verb, names)}`);
  }
  return found;
};

/** The usage of a command, in colours only where a person will see them. */
const usage = async (command: CommandDef, path: string, descriptor: 1 | 2): Promise<string> => {
  const { renderUsage } = await import("citty");
  const parentName = path.split(" ").slice(0, -1).join(" ");
  const text = (await renderUsage(command, { meta: { name: parentName } })).replace(/ +$/gm, "").trimEnd();
  return isTerminal(descriptor) && !process.env.NO_COLOR ? text : Bun.stripANSI(text);
};
