/**
 * `send TASK --batch FILE` runs the task once for each line of a file, a JSON list of arguments;
 * `-` is stdin.
 *
 * Sends the lines in messages of many. Prints a line of JSON for each, in order: the result, or
 * `{"error": {"code": …, "message": …}}`; with `--json` `{"data": …}` for a result, so that the two
 * cannot be confused. Memory is bounded, however long the file is. A file that can be read twice is
 * checked before anything is sent; of a stream, the lines before a bad line are run and printed.
 * On a terminal stderr shows the progress. Lines that were sent when the connection was lost are
 * INTERRUPTED; the rest continues after a reconnect.
 *
 * Exits with 1 if a line failed, 2 for a line that is no list, 3 at the first line without an
 * answer.
 */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import type { BatchOptions, Client, PartResult } from "../client/client.ts";
import { frameBytesMax } from "../limits.ts";
import type { Json } from "../protocol/json.ts";
import { ExitError, UsageError } from "./command.ts";
import { printResult, StatusLine, stdoutClosed } from "./output.ts";
import { jsonFrom } from "./values.ts";

/** Throws ExitError as above, and errors of the client. */
export const sendBatch = async (
  engine: Client,
  task: string,
  path: string,
  options: BatchOptions & { readonly signal: AbortSignal },
  json: boolean,
): Promise<void> => {
  const total = await countArgsLines(path, options.signal);
  let hasReader = true;
  stdoutClosed.then(() => {
    hasReader = false;
  });
  using line = new StatusLine();
  let printed = 0;
  let failed = 0;
  const onProgress = ({ done }: { done: number }): void => line.show(progressText(task, done, total, failed));
  for await (const result of engine.stream(task, readArgsLines(path, options.signal), { ...options, onProgress })) {
    if (result.error?.code === "NO_ANSWER") throw new ExitError(`after ${printed} results: ${result.error.message}`, 3);
    if (result.error !== undefined) failed++;
    printed++;
    line.clear();
    await printResult(JSON.stringify(printedPart(result, json)));
    // Leaving the loop cancels the rest.
    if (!hasReader) return;
  }
  if (failed > 0) throw new ExitError(`${failed} of ${printed} failed`, 1);
};

const printedPart = ({ data, error }: PartResult, json: boolean): unknown => {
  if (error !== undefined) return { error: { code: error.code, message: error.message } };
  return json ? { data } : data;
};

const barLength = 20;

const progressText = (task: string, done: number, total: number | null, failed: number): string => {
  const failures = failed === 0 ? "" : `, ${failed} failed`;
  if (total === null) return `${task}: ${done} done${failures}`;
  const length = Math.floor((barLength * done) / Math.max(total, 1));
  return `${task} [${"#".repeat(length)}${"-".repeat(barLength - length)}] ${done} of ${total}${failures}`;
};

/* ── Reading the file ── */

const lineFeed = 10;
const byteOrderMark = Buffer.from("\ufeff");
/** Space, tab and carriage return. */
const isBlank = (line: Uint8Array): boolean => line.every((byte) => byte === 0x20 || byte === 0x09 || byte === 0x0d);

/** Returns the number of lists in a file; null for a pipe. Throws as `readArgsLines`. */
const countArgsLines = async (path: string, signal: AbortSignal): Promise<number | null> => {
  if (path === "-" || !(await stat(path).catch(cannotRead(path))).isFile()) return null;
  let count = 0;
  for await (const _ of readArgsLines(path, signal)) count++;
  return count;
};

/**
 * Reads lists of arguments. Skips a byte order mark and blank lines at the end. Throws UsageError,
 * which names the line, for a line that is no JSON list, and for a file that cannot be read.
 * @param signal ends the reading, also while it waits for a line
 */
async function* readArgsLines(path: string, signal: AbortSignal): AsyncGenerator<Json[], void, undefined> {
  const stream: NodeJS.ReadStream | ReturnType<typeof createReadStream> =
    path === "-" ? process.stdin : createReadStream(path);
  const stop = (): unknown => stream.destroy();
  signal.addEventListener("abort", stop);
  const origin = path === "-" ? "stdin" : path;
  let number = 0;
  /** Number of the first of the last blank lines; 0 for none. */
  let blank = 0;
  try {
    for await (const line of splitLines(stream, () => `${origin} line ${number + 1}`)) {
      const isMarked = number++ === 0 && byteOrderMark.equals(line.subarray(0, byteOrderMark.length));
      const bytes = isMarked ? line.subarray(byteOrderMark.length) : line;
      if (isBlank(bytes)) {
        blank ||= number;
        continue;
      }
      if (blank > 0) {
        throw new UsageError(`${origin} line ${blank}: not JSON (it is blank, as only the last lines may be)`);
      }
      yield argsFrom(bytes, `${origin} line ${number}`);
    }
  } catch (error) {
    if (signal.aborted) return;
    if (error instanceof UsageError) throw error;
    cannotRead(path)(error);
  } finally {
    signal.removeEventListener("abort", stop);
    stream.destroy();
  }
}

/** Splits at line feeds; a last line needs none. Throws UsageError for a line that is too long. */
async function* splitLines(
  chunks: AsyncIterable<Uint8Array | string>,
  position: () => string,
): AsyncGenerator<Uint8Array, void, undefined> {
  let parts: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of chunks) {
    const bytes = Buffer.from(chunk);
    let start = 0;
    for (let end = bytes.indexOf(lineFeed); end >= 0; end = bytes.indexOf(lineFeed, start)) {
      yield Buffer.concat([...parts, bytes.subarray(start, end)]);
      parts = [];
      length = 0;
      start = end + 1;
    }
    parts.push(bytes.subarray(start));
    length += bytes.length - start;
    if (length > frameBytesMax) throw new UsageError(`${position()} is longer than ${frameBytesMax} bytes`);
  }
  if (length > 0) yield Buffer.concat(parts);
}

const argsFrom = (line: Uint8Array, origin: string): Json[] => {
  const value = jsonFrom(line, origin);
  if (Array.isArray(value)) return value;
  throw new UsageError(`${origin} is ${JSON.stringify(value).slice(0, 40)}, which is not a JSON list such as [2, 3]`);
};

const cannotRead =
  (path: string) =>
  (error: unknown): never => {
    throw new UsageError(`--batch ${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  };
