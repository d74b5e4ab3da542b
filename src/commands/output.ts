/** Results on stdout, which may be a terminal, a file, or a pipe whose reader is slow or goes at any time. */
import { isTerminal, OutputError, printable, stdout } from "../process/streams.ts";
import { ExitError } from "./exit.ts";

const closed = Promise.withResolvers<void>();

/** Resolves when it has turned out that nobody reads stdout any more, as in `data watch | head -1`. */
export const stdoutClosed: Promise<void> = closed.promise;

/** Control characters, but for line feed and tab: on a terminal they would move the cursor, write backwards, or worse. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const controls = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

/** Writes a line and waits until it is out: to a program as it is, to a person without what a terminal would obey. */
export const printResult = (text: string): Promise<void> =>
  writeOut(`${hasControls(text) && isTerminal(1) ? text.replace(controls, "\ufffd") : text}\n`);

/** The same of what the engine has done: where the line cannot be written, the error says that it is done all the same. */
export const printDone = async (text: string): Promise<void> => {
  try {
    await printResult(text);
  } catch (failure) {
    throw failure instanceof ExitError ? new ExitError(`${printable(text)} (${failure.message})`, 1) : failure;
  }
};

const hasControls = (text: string): boolean => text.search(controls) >= 0;

/** Writes text as it is. That there is no reader any more is no failure; what else fails is an ExitError. */
export const writeOut = async (text: string): Promise<void> => {
  try {
    await stdout.write(text);
  } catch (failure) {
    if (!(failure instanceof OutputError)) throw failure;
    if (failure.code !== "EPIPE") throw new ExitError(`cannot write to stdout: ${failure.message}`, 1);
    closed.resolve();
  }
};
