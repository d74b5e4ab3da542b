/** How a command says that it did not go well: it throws one of these, and `main.ts` prints it and ends the process. */

/** 0 done · 1 the engine or the task said no · 2 wrong usage · 3 no engine there or no answer in time · 130 Ctrl-C */
export type ExitCode = 0 | 1 | 2 | 3 | 130;

/** Ends the program with `exitCode`, after one line on stderr; with an empty `message` without a word. */
export class ExitError extends Error {
  override readonly name: string = "ExitError";
  constructor(
    message: string,
    readonly exitCode: ExitCode,
  ) {
    super(message);
  }
}

/** What was typed cannot be meant. `run.ts` adds which `--help` to look at. */
export class UsageError extends ExitError {
  override readonly name = "UsageError";
  constructor(message: string) {
    super(message, 2);
  }
}
