/**
 * stdout and stderr, by write(2) itself: it alone says how much has gone out and why the rest has not. (`process.stdout` takes longer
 * to load than most of what is written there takes; Bun's FileSink counts as written what did not fit on a disk.)
 *
 * The engine runs on when nobody reads that any more (a closed terminal, `serve | head`, a full disk): a robot's work is worth more
 * than its log, and there is nobody to tell. Nor does a reader that has stopped reading hold it up: what is written waits in memory,
 * within a bound.
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

/** PIPE_BUF, pipe(7): as much fits into a pipe, or a socket, that says that it can be written. */
const writableBytes = 4096;

/** What write(2) can be given at a time: its count comes back as an int. */
const writeBytesMax = 2 ** 30;

/** Why something cannot be written: `code` is `EPIPE` where its reader has gone, `ENOSPC` where the disk is full. */
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
  /** A descriptor that never waits; the one that was given where there is none such. */
  #own: number | null = null;
  /** A write may wait for a reader, so nothing is written that poll(2) has not promised room for. */
  #mayBlock = false;
  #queue: Waiting[] = [];
  /** characters that nobody has read so far */
  #waiting = 0;
  #retryMs = outputRetryMs;
  /** What was written last is out in part. */
  #isTorn = false;
  #lost: { readonly lines: number; readonly why: string } | null = null;

  constructor(descriptor: 1 | 2) {
    this.#descriptor = descriptor;
  }

  /** Everything that was written is out. */
  get isOut(): boolean {
    return this.#queue.length === 0;
  }

  /** Resolves when the text is out; texts go out in their order. Rejects with OutputError. */
  async write(text: string): Promise<void> {
    let bytes: Uint8Array = Buffer.from(text);
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

  /** The same where nobody waits for it, nor can be told that it failed. */
  show(text: string): void {
    this.write(text).catch(() => undefined);
  }

  /** A line of the log. Lines that are lost are counted, and spoken of before the next one that is not. */
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

  /** Writes what goes out without waiting; how many bytes that is. Throws OutputError. */
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
   * A pipe or a terminal is opened once more, so as not to wait there: to make it so for everybody who shares it would break other
   * programs. A socket (systemd's journal), and what another user has made, cannot be.
   */
  #open(): number {
    // A file takes what there is room for at once.
    if (libc.lseek(this.#descriptor, 0, seekCurrent) >= 0) return this.#descriptor;
    const own = libc.open(cString(`/proc/self/fd/${this.#descriptor}`), writeWithoutWaiting);
    this.#mayBlock = own < 0;
    return this.#mayBlock ? this.#descriptor : own;
  }
}

const isWritable = (descriptor: number): boolean => libc.poll(pollEntries([descriptor], pollWritable), 1, 0) > 0;

export const stdout = new Output(1);
export const stderr = new Output(2);

/** Whether a person is at the other end. @param descriptor 0 is stdin, 1 stdout, 2 stderr */
export const isTerminal = (descriptor: 0 | 1 | 2): boolean => libc.isatty(descriptor) === 1;

/** Control characters (of a stranger's making, in a log or on a terminal) as escapes: no forged lines, no moved cursor, nothing backwards. */
export const printable = (text: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  text.replace(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, (character) => {
    const code = character.charCodeAt(0);
    return code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
  });

/**
 * Makes this process outlive what user code writes to `process.stdout` when its reader has gone or the disk is full: that output
 * is lost, as the engine's own is. Without a listener each such write would be an uncaught exception.
 */
export const ignoreOutputErrors = (): void => {
  for (const stream of [process.stdout, process.stderr]) stream.off("error", ignore).on("error", ignore);
};

const ignore = (): void => undefined;
