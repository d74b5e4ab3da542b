/**
 * stdout and stderr, by Bun's own writer: `process.stdout`, with all that it loads, takes longer than most of what is written there.
 *
 * The engine runs on when nobody reads that any more (a closed terminal, `serve | head`, a full disk): a robot's work is worth more
 * than its log, and there is nobody to tell. For who has stopped reading and is still there, what is said waits, within a bound.
 */
import { dlopen } from "bun:ffi";
import { unreadLogLengthMax } from "./limits.ts";

class Output {
  readonly #sink: Bun.FileSink;
  /** characters that nobody has read so far */
  #waiting = 0;
  #lostLines = 0;

  constructor(file: Bun.BunFile) {
    // At once: it takes a file descriptor, and that there is none left has to be said, too.
    this.#sink = file.writer();
  }

  /** Everything that was written is out. */
  get isOut(): boolean {
    return this.#waiting === 0;
  }

  /** Resolves when the text is out; texts go out in their order. Rejects with what write(2) fails of. */
  async write(text: string): Promise<void> {
    this.#sink.write(text);
    const flushed = this.#sink.flush();
    // A number: it is out already.
    if (typeof flushed === "number") return;
    this.#waiting += text.length;
    try {
      await flushed;
    } finally {
      this.#waiting -= text.length;
    }
  }

  /** The same where nobody waits for it, nor can be told that it failed. */
  show(text: string): void {
    this.write(text).catch(() => undefined);
  }

  /** A line of the log. */
  log(line: string): void {
    if (this.#waiting > unreadLogLengthMax) {
      this.#lostLines++;
      return;
    }
    if (this.#lostLines > 0) {
      const lost = `(${this.#lostLines} lines are lost here: nobody has read)`;
      this.#lostLines = 0;
      this.log(lost);
    }
    this.show(`${line}\n`);
  }
}

export const stdout = new Output(Bun.stdout);
export const stderr = new Output(Bun.stderr);

let libc: { isatty(descriptor: number): number } | undefined;

/** Whether a person is at the other end. @param descriptor 0 is stdin, 1 stdout, 2 stderr */
export const isTerminal = (descriptor: 0 | 1 | 2): boolean => {
  libc ??= dlopen("libc.so.6", { isatty: { args: ["int"], returns: "int" } }).symbols;
  return libc.isatty(descriptor) === 1;
};

/** Control characters (of a stranger's making, in a log or on a terminal) as escapes: no forged lines, no moved cursor, nothing backwards. */
export const printable = (text: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  text.replace(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, (character) => {
    const code = character.charCodeAt(0);
    return code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
  });
