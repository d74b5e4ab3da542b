/** Finds the command that argv names, prints usages, parses arguments and runs the command. */
import type { ArgsDef, CommandDef, Resolvable, SubCommandsDef } from "citty";
import { didYouMean } from "../process/nearest.ts";
import { isTerminal, stderr } from "../process/streams.ts";
import { fs } from "../transport/fs.ts";
import { asksForHelp, parseArgs } from "./args.ts";
import { ExitError, UsageError } from "./command.ts";
import { writeOut } from "./output.ts";

const programName = "task-engine";
const helpVerb = "help";

/**
 * Runs the command that `argv` names. Throws what the command throws, and ExitError with code 2
 * for wrong usage.
 * @param hiddenVerbs can be run, but no usage lists them
 */
export const run = async (root: CommandDef, hiddenVerbs: SubCommandsDef, argv: readonly string[]): Promise<void> => {
  let command = root;
  let path = programName;
  // `help data put` means `data put --help`.
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
      command = await verbNamed(verb, command === root ? { ...verbs, ...hiddenVerbs } : verbs);
      path = `${path} ${verb}`;
      rest = rest.slice(1);
      verbs = await resolve(command.subCommands);
    }
    // An emergency stop must not fail because of its reason.
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

/** Gets a value that citty also accepts as a promise or a function. */
const resolve = async <Value>(value: Resolvable<Value>): Promise<Value> =>
  typeof value === "function" ? (value as () => Value | Promise<Value>)() : value;

const argsOf = (command: CommandDef): Promise<ArgsDef> => resolve<ArgsDef>(command.args ?? {});

const verbNamed = (verb: string, verbs: SubCommandsDef): Promise<CommandDef> => {
  const found = Object.hasOwn(verbs, verb) ? verbs[verb] : undefined;
  if (found !== undefined) return resolve<CommandDef>(found);
  const names = [...Object.keys(verbs), helpVerb, "--version"];
  throw new UsageError(`unknown command ${JSON.stringify(verb)}${didYouMean(verb, names)}`);
};

/** Throws UsageError for an argument that is not UTF-8: `argv` has lost some of its characters. */
const checkEncoding = (argv: readonly string[]): void => {
  if (!argv.some((argument) => argument.includes("\ufffd"))) return;
  const typed = fs().readFileSync("/proc/self/cmdline").toString("latin1").split("\0").slice(0, -1);
  const decoder = new TextDecoder("utf-8", { fatal: true });
  for (const [index, argument] of typed.slice(-argv.length).entries()) {
    try {
      decoder.decode(Buffer.from(argument, "latin1"));
    } catch {
      const shown = JSON.stringify(argv[index]);
      throw new UsageError(`argument ${shown} is not UTF-8, and would not arrive as it was typed`);
    }
  }
};

/** Renders the usage of a command, with colours only for a terminal. */
const usage = async (command: CommandDef, path: string, descriptor: 1 | 2): Promise<string> => {
  const { renderUsage } = await import("citty");
  const parentName = path.split(" ").slice(0, -1).join(" ");
  const text = (await renderUsage(command, { meta: { name: parentName } })).replace(/ +$/gm, "").trimEnd();
  return isTerminal(descriptor) && !process.env.NO_COLOR ? text : Bun.stripANSI(text);
};
