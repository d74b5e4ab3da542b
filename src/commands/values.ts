/** Converts typed arguments to JSON, numbers and names, and results back to text. */
import { createReadStream } from "node:fs";
import { nameLengthMax } from "../limits.ts";
import { isJsonObject, type Json, JsonError, type JsonObject, parseJson } from "../protocol/json.ts";
import { UsageError } from "./command.ts";

/** Parses JSON in UTF-8; throws UsageError that begins with `origin` and ends with `hint`. */
export const jsonFrom = (bytes: Uint8Array, origin: string, hint = ""): Json => {
  try {
    return parseJson(bytes);
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    throw new UsageError(`${origin}: ${error.message.replace(/^value: /, "")}${hint}`);
  }
};

/**
 * Returns JSON if the text is JSON, or else the text: `3` is a number, `forward` a string, `"3"`
 * the string 3. A whole number with more digits than a double holds, and `007`, stay strings.
 *
 * Throws UsageError for text that begins like a list, an object or a JSON string and is not JSON
 * that the engine accepts, because it is almost always a mistake.
 */
export const valueFrom = (text: string, origin: string): Json => {
  try {
    return jsonFrom(Buffer.from(text), origin, `; to send it as text write ${asTyped(text)}`);
  } catch (error) {
    if (error instanceof UsageError && !/^\s*[[{"]/.test(text)) return text;
    throw error;
  }
};

/** Returns a flag's JSON object; throws UsageError. */
export const objectFrom = (text: string, origin: string): JsonObject => {
  const value = jsonFrom(Buffer.from(text), origin);
  if (isJsonObject(value)) return value;
  throw new UsageError(`${origin} is ${text}, which is not a JSON object such as '{"speed": 2}'`);
};

const typedLengthMax = 60;

/** Returns what to type in a shell so that a text stays text. */
const asTyped = (text: string): string =>
  text.length > typedLengthMax ? `it as a JSON string, '"…"'` : `'${JSON.stringify(text).replaceAll("'", "'\\''")}'`;

/** Returns a flag's whole number from `min` to `max`; throws UsageError. */
export const numberFrom = (text: string, flag: string, min: number, max: number): number => {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= min && value <= max) return value;
  throw new UsageError(`${flag} is ${JSON.stringify(text)}, which is not a whole number from ${min} to ${max}`);
};

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** Returns the ms of a flag such as `10s`, `500ms`, or `500` for ms; throws UsageError. */
export const durationFrom = (text: string, flag: string, msMax: number): number => {
  const [, number, unit = "ms"] = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text) ?? [];
  const ms = Math.round(Number(number) * (unitMs[unit] ?? 1));
  if (number !== undefined && ms <= msMax) return ms;
  throw new UsageError(
    `${flag} is ${JSON.stringify(text)}, which is not a time such as 10s or 500ms, up to ${msMax} ms`,
  );
};

/**
 * Returns a flag's date as seconds since 1970; without an offset it is local time. Throws
 * UsageError.
 */
export const dateFrom = (text: string, flag: string): number => {
  const ms = /^\d{4}-\d\d-\d\dT\d\d:\d\d/.test(text) ? Date.parse(text) : Number.NaN;
  if (ms >= 0) return ms / 1000;
  throw new UsageError(`${flag} is ${JSON.stringify(text)}, which is not a date such as 2026-12-01T08:00:00+01:00`);
};

/**
 * Reads a file whole, `-` for stdin; throws UsageError for one that cannot be read or that has more
 * bytes.
 */
export const fileFrom = async (path: string, bytesMax: number): Promise<Uint8Array> => {
  const name = path === "-" ? "stdin" : path;
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  try {
    for await (const chunk of path === "-" ? Bun.stdin.stream() : createReadStream(path)) {
      bytes += chunk.length;
      if (bytes > bytesMax) break;
      chunks.push(chunk);
    }
  } catch (error) {
    throw new UsageError(`${name} cannot be read: ${error instanceof Error ? error.message : error}`);
  }
  if (bytes <= bytesMax) return Buffer.concat(chunks);
  throw new UsageError(`${name} has more than ${bytesMax} bytes, the limit of a value`);
};

/** Returns the name of a task or a topic; throws UsageError. */
export const nameFrom = (text: string, origin: string): string => {
  if (text.trim() === "") throw new UsageError(`${origin} is ${text === "" ? "empty" : "blank"}; give a name`);
  if (text.length > nameLengthMax) throw new UsageError(`${origin} is longer than ${nameLengthMax} characters`);
  return text;
};

/** Formats a result for a person or a shell: a string as it is, everything else as JSON. */
export const plainText = (value: Json): string => (typeof value === "string" ? value : JSON.stringify(value));
