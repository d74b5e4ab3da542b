/**
 * The form of a command, and the ways in which one ends. A command throws ExitError or UsageError;
 * `main.ts` prints the message and ends the process with the code.
 */
import type { ArgsDef, CommandDef } from "citty";

/**
 * Types the arguments that `run` gets. citty's own function is not used: it loads Node's `util`,
 * which takes a third of the time of a whole `send`.
 */
export const defineCommand = <const Args extends ArgsDef>(command: CommandDef<Args>): CommandDef<Args> => command;

/**
 * - 0: done
 * - 1: the engine or the task refused or failed
 * - 2: wrong usage
 * - 3: no engine, or no answer in time
 * - 130: ended by Ctrl-C or SIGTERM
 */
export type ExitCode = 0 | 1 | 2 | 3 | 130;

/** Ends the program with `exitCode` after one line on stderr; an empty `message` prints nothing. */
export class ExitError extends Error {
  override readonly name: string = "ExitError";
  constructor(
    message: string,
    readonly exitCode: ExitCode,
  ) {
    super(message);
  }
}

/** The arguments are wrong. `run.ts` appends the `--help` that explains them. */
export class UsageError extends ExitError {
  override readonly name = "UsageError";
  constructor(message: string) {
    super(message, 2);
  }
}
