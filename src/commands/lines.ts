/** Lists of arguments from a file of JSON lines, one list a line, without holding more of it than a line. */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { frameBytesMax } from "../limits.ts";
import { type Json, JsonError, parseJson } from "../protocol/json.ts";
import { UsageError } from "./exit.ts";

const lineFeed = 10;
/** What some editors put before UTF-8. */
const byteOrderMark = Buffer.from("\ufeff");
/** Spaces, tabs and what Windows has before a line feed. */
const isBlank = (line: Uint8Array): boolean => line.every((byte) => byte === 0x20 || byte === 0x09 || byte === 0x0d);

/** How many lists the file has, or null where it can be read but once (a pipe, stdin). Throws as `readArgsLines`. */
export const countArgsLines = async (path: string, signal: AbortSignal): Promise<number | null> => {
  if (path === "-" || !(await stat(path).catch(cannotRead(path))).isFile()) return null;
  let count = 0;
  for await (const _ of readArgsLines(path, signal)) count++;
  return count;
};

/**
 * Throws UsageError, which names the line, for one that is not a JSON list, and for a file that cannot be read. A byte order mark
 * and blank lines at the end are skipped.
 * @param path `-` is stdin
 * @param signal ends the reading, also while a line is awaited
 */
export async function* readArgsLines(path: string, signal: AbortSignal): AsyncGenerator<Json[], void, undefined> {
  const stream: NodeJS.ReadStream | ReturnType<typeof createReadStream> =
    path === "-" ? process.stdin : createReadStream(path);
  const stop = (): unknown => stream.destroy();
  signal.addEventListener("abort", stop);
  const origin = path === "-" ? "stdin" : path;
  let number = 0;
  /** Of the first of the blank lines that were read last; 0 for none. */
  let blank = 0;
  try {
    for await (const line of linesOf(stream, () => `${origin} line ${number + 1}`)) {
      const isMarked = number++ === 0 && byteOrderMark.equals(line.subarray(0, byteOrderMark.length));
      const bytes = isMarked ? line.subarray(byteOrderMark.length) : line;
      if (isBlank(bytes)) {
        blank ||= number;
        continue;
      }
      if (blank > 0)
        throw new UsageError(`${origin} line ${blank}: not JSON (it is blank, as only the last lines may be)`);
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

/** The bytes between line feeds; what follows the last one is a line too, unless it is empty. */
async function* linesOf(
  chunks: AsyncIterable<Uint8Array | string>,
  here: () => string,
): AsyncGenerator<Uint8Array, void, undefined> {
  let rest: Uint8Array[] = [];
  let restBytes = 0;
  const take = (bytes: Uint8Array): Uint8Array => {
    const line = Buffer.concat([...rest, bytes]);
    rest = [];
    restBytes = 0;
    return line;
  };
  for await (const chunk of chunks) {
    const bytes = Buffer.from(chunk);
    let start = 0;
    for (let end = bytes.indexOf(lineFeed); end >= 0; end = bytes.indexOf(lineFeed, start)) {
      yield take(bytes.subarray(start, end));
      start = end + 1;
    }
    rest.push(bytes.subarray(start));
    restBytes += bytes.length - start;
    if (restBytes > frameBytesMax) throw new UsageError(`${here()} is longer than ${frameBytesMax} bytes`);
  }
  if (restBytes > 0) yield take(new Uint8Array(0));
}

const argsFrom = (line: Uint8Array, where: string): Json[] => {
  let value: Json;
  try {
    value = parseJson(line);
  } catch (error) {
    if (error instanceof JsonError) throw new UsageError(`${where}: ${error.message.replace(/^value: /, "")}`);
    throw error;
  }
  if (Array.isArray(value)) return value;
  throw new UsageError(`${where} is ${JSON.stringify(value).slice(0, 40)}, which is not a JSON list such as [2, 3]`);
};

const cannotRead =
  (path: string) =>
  (error: unknown): never => {
    throw new UsageError(`--batch ${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  };
