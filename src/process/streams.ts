/**
 * stdout and stderr by write(2), which alone tells how much was written and why the rest was not.
 * (`process.stdout` takes longer to load than most output takes; Bun's FileSink reports bytes as
 * written that did not fit on a disk.)
 *
 * The engine continues when nobody reads its output any more (a closed terminal, `serve | head`, a
 * full disk): a robot's work is worth more than its log. Nor does a slow reader delay it: output
 * waits in memory, within a bound.
 */
import { read } from "bun:ffi";
import { outputRetryMs, outputRetryMsMax, unreadLogLengthMax } from "../limits.ts";
import { cString, libc, pollEntries, pollWritable } from "../transport/libc.ts";

/** errno(3) */
const interrupted = 4; // EINTR
const wouldBlock = 11; // EAGAIN

/** open(2): O_WRONLY, O_NOCTTY, O_NONBLOCK, O_CLOEXEC */
const writeWithoutWaiting = 0o1 | 0o400 | 0o4000 | 0o2000000;
const seekCurrent = 1; // SEEK_CUR, lseek(2)

/** PIPE_BUF, pipe(7): a pipe or socket that polls as writable has room for so many. */
const writableBytes = 4096;

/** Limit of one write(2), whose count is an int. */
const writeBytesMax = 2 ** 30;

/** `code` is `EPIPE` if the reader has gone, `ENOSPC` if the disk is full. */
export class OutputError extends Error {
  override readonly name = "OutputError";
  readonly code: string;
  constructor(errno: number) {
    const [code, words] = process.getBuiltinModule("node:util").getSystemErrorMap().get(-errno) ?? [`errno ${errno}`];
    super(words === undefined ? code : `${code}: ${words}`);
    this.code = code;
  }
}

interface Waiting {
  bytes: Uint8Array;
  /** characters */
  readonly length: number;
  readonly written: PromiseWithResolvers<void>;
}

class Output {
  readonly #descriptor: 1 | 2;
  /** A non-blocking descriptor; the given one if there is no such. Opened at the first write. */
  #own: number | null = null;
  /** A write may block, so poll(2) has to promise room before each one. */
  #mayBlock = false;
  #queue: Waiting[] = [];
  /** characters in the queue */
  #waiting = 0;
  #retryMs = outputRetryMs;
  /** The last text is written in part. */
  #isTorn = false;
  #lost: { readonly lines: number; readonly why: string } | null = null;

  constructor(descriptor: 1 | 2) {
    this.#descriptor = descriptor;
  }

  /** No output waits. */
  get isOut(): boolean {
    return this.#queue.length === 0;
  }

  /** Resolves when text or bytes are written, after all earlier ones. Rejects with OutputError. */
  async write(text: string | Uint8Array): Promise<void> {
    let bytes: Uint8Array = typeof text === "string" ? Buffer.from(text) : text;
    if (this.isOut) {
      bytes = bytes.subarray(this.#put(bytes));
      if (bytes.length === 0) return;
      this.#retryLater();
    }
    const written = Promise.withResolvers<void>();
    this.#queue.push({ bytes, length: text.length, written });
    this.#waiting += text.length;
    return written.promise;
  }

  /** The same, without a result. */
  show(text: string): void {
    this.write(text).catch(() => undefined);
  }

  /** Writes a line of the log. Lost lines are counted, and reported before the next line. */
  log(line: string): void {
    if (this.#waiting > unreadLogLengthMax) return this.#lose(1, "nobody has read");
    const lost = this.#lost;
    this.#lost = null;
    const start = this.#isTorn && this.isOut ? "\n" : "";
    const notice = lost === null ? "" : `(${lost.lines} lines are lost here: ${lost.why})\n`;
    this.write(`${start}${notice}${line}\n`).catch(({ message }: OutputError) =>
      this.#lose(1 + (lost?.lines ?? 0), message),
    );
  }

  #lose(lines: number, why: string): void {
    this.#lost = { lines: lines + (this.#lost?.lines ?? 0), why };
  }

  #retryLater(): void {
    setTimeout(() => this.#drain(), this.#retryMs);
    this.#retryMs = Math.min(2 * this.#retryMs, outputRetryMsMax);
  }

  #drain(): void {
    let out = 0;
    try {
      for (const waiting of this.#queue) {
        const count = this.#put(waiting.bytes);
        if (count > 0) this.#retryMs = outputRetryMs;
        waiting.bytes = waiting.bytes.subarray(count);
        if (waiting.bytes.length > 0) break;
        out++;
        waiting.written.resolve();
      }
    } catch (failure) {
      for (const { written } of this.#queue.slice(out)) written.reject(failure);
      out = this.#queue.length;
    }
    for (const { length } of this.#queue.splice(0, out)) this.#waiting -= length;
    if (!this.isOut) this.#retryLater();
  }

  /** Writes without blocking; returns the number of bytes written. Throws OutputError. */
  #put(bytes: Uint8Array): number {
    this.#own ??= this.#open();
    let count = 0;
    while (count < bytes.length && !(this.#mayBlock && !isWritable(this.#own))) {
      const part = bytes.subarray(count, count + (this.#mayBlock ? writableBytes : writeBytesMax));
      const written = libc.write(this.#own, part, part.length);
      const errno = written < 0 ? read.i32(libc.__errno_location() ?? 0, 0) : 0;
      if (errno === wouldBlock) break;
      if (errno !== 0 && errno !== interrupted) {
        this.#isTorn ||= count > 0;
        throw new OutputError(errno);
      }
      count += Math.max(written, 0);
    }
    if (count > 0) this.#isTorn = count < bytes.length;
    return count;
  }

  /**
   * Opens a pipe or terminal once more, as non-blocking: changing the shared one would break other
   * programs. A socket (systemd's journal) and a file of another user cannot be opened.
   */
  #open(): number {
    // A file never blocks.
    if (libc.lseek(this.#descriptor, 0, seekCurrent) >= 0) return this.#descriptor;
    const own = libc.open(cString(`/proc/self/fd/${this.#descriptor}`), writeWithoutWaiting);
    this.#mayBlock = own < 0;
    return this.#mayBlock ? this.#descriptor : own;
  }
}

const isWritable = (descriptor: number): boolean => libc.poll(pollEntries([descriptor], pollWritable), 1, 0) > 0;

export const stdout = new Output(1);
export const stderr = new Output(2);

/** @param descriptor 0 is stdin, 1 stdout, 2 stderr */
export const isTerminal = (descriptor: 0 | 1 | 2): boolean => libc.isatty(descriptor) === 1;

/** Escapes control characters: untrusted text must not forge lines or move the cursor. */
export const printable = (text: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  text.replace(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, (character) => {
    const code = character.charCodeAt(0);
    return code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
  });

/**
 * Makes this process outlive what user code writes to `process.stdout` when its reader has gone or
 * the disk is full: that output is lost, as the engine's own is. Without a listener each such write
 * would be an uncaught exception.
 */
export const ignoreOutputErrors = (): void => {
  for (const stream of [process.stdout, process.stderr]) stream.off("error", ignore).on("error", ignore);
};

const ignore = (): void => undefined;
