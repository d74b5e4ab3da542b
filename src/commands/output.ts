/**
 * Prints results on stdout, which may be a terminal, a file, or a pipe whose reader is slow or has
 * gone, and progress on stderr.
 */
import { progressIntervalMs } from "../limits.ts";
import { isTerminal, OutputError, printable, stderr, stdout } from "../process/streams.ts";
import { ExitError } from "./command.ts";

const closed = Promise.withResolvers<void>();

/** Resolves once a write has found that the reader of stdout has gone (`data watch | head -1`). */
export const stdoutClosed: Promise<void> = closed.promise;

/** Control characters other than line feed and tab: they could move a terminal's cursor. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const controls = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

/** Writes a line and waits until it is written; replaces control characters on a terminal. */
export const printResult = (text: string): Promise<void> =>
  writeOut(`${text.search(controls) >= 0 && isTerminal(1) ? text.replace(controls, "\ufffd") : text}\n`);

/**
 * Writes bytes as they are. Throws ExitError for a terminal, whose state they could change.
 * @param what says what they are
 */
export const printBytes = async (bytes: Uint8Array, what: string): Promise<void> => {
  if (isTerminal(1)) throw new ExitError(`${what}, ${bytes.length} bytes, which a terminal cannot show: > FILE`, 1);
  await writeOut(bytes);
};

/** Prints what the engine has done. If that fails, the error still says that it was done. */
export const printDone = async (text: string): Promise<void> => {
  try {
    await printResult(text);
  } catch (failure) {
    throw failure instanceof ExitError ? new ExitError(`${printable(text)} (${failure.message})`, 1) : failure;
  }
};

/**
 * As `printDone`, of what outlives the engine.
 * @param failure why it does not, which is an ExitError; null if it does
 */
export const printKept = async (text: string, failure: string | null): Promise<void> => {
  if (failure === null) return printDone(text);
  throw new ExitError(`${printable(`${text}; but that is not on the engine's disk: ${failure}`)}; try again`, 1);
};

/**
 * Writes text or bytes unchanged. A reader that has gone is no error; any other failure is an
 * ExitError.
 */
export const writeOut = async (text: string | Uint8Array): Promise<void> => {
  try {
    await stdout.write(text);
  } catch (failure) {
    if (!(failure instanceof OutputError)) throw failure;
    if (failure.code !== "EPIPE") throw new ExitError(`cannot write to stdout: ${failure.message}`, 1);
    closed.resolve();
  }
};

const eraseLine = "\r\u001b[K";
const columnsDefault = 80;

/** A line of progress that is rewritten in place on stderr; nothing if stderr is no terminal. */
export class StatusLine implements Disposable {
  #text = "";
  #writtenMs = Number.NEGATIVE_INFINITY;

  /** Replaces the line; skips a text less than `progressIntervalMs` after the last one. */
  show(text: string): void {
    const nowMs = performance.now();
    if (text === this.#text || nowMs - this.#writtenMs < progressIntervalMs || !isTerminal(2)) return;
    this.#writtenMs = nowMs;
    this.#text = text;
    // A line that wraps could not be erased.
    const shown = printable(text).slice(0, (process.stderr.columns || columnsDefault) - 1);
    stderr.show(`${eraseLine}${shown}`);
  }

  /** Erases the line, for instance before a result on the same terminal. */
  clear(): void {
    if (this.#text !== "") stderr.show(eraseLine);
    this.#text = "";
  }

  [Symbol.dispose](): void {
    this.clear();
  }
}
