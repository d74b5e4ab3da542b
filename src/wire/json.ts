/**
 * JSON as the engine takes it: stricter than JSON.parse where JSON.parse changes a value without a word.
 * - not UTF-8, not JSON (`NaN`, `Infinity` and `undefined` are not) → refused;
 * - a whole number written without exponent beyond ±(2⁵³ − 1) → refused, since it would become another number;
 * - a key `__proto__`, `constructor` or `prototype` → refused, since it is a way into other objects;
 * - lists and objects nested deeper than `jsonDepthMax` → refused.
 * `encode` refuses the same values in the other direction, so that encoding and decoding are each other's inverse.
 */
import { jsonDepthMax } from "../limits.ts";
import type { Frame } from "./frame.ts";
import { lazily } from "./lazily.ts";

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

/** Why a value cannot travel, and the path to it: `args[2].speed`. */
export class JsonError extends Error {
  override readonly name = "JsonError";
}

export const forbiddenKeys: ReadonlySet<string> = new Set(["__proto__", "constructor", "prototype"]);
const forbiddenLengthMin = 9;
/** Most keys are shorter than any of those, which is known without a look at their letters. */
const isForbidden = (key: string): boolean => key.length >= forbiddenLengthMin && forbiddenKeys.has(key);
const exactText = `±${Number.MAX_SAFE_INTEGER}`;
/** JSON.stringify writes whole numbers from here on with an exponent, which marks them as inexact. */
const exponentFrom = 1e21;

const strictUtf8 = lazily(() => new TextDecoder("utf-8", { fatal: true }));

/** The text of a frame. Throws JsonError where it is not UTF-8. */
export const decodeUtf8 = (bytes: Uint8Array): string => {
  const text = asBuffer(bytes).toString("utf8");
  // The lax decoder is the quick one. It marks what it could not read; only then is it worth asking whether the mark was sent.
  if (!text.includes("\ufffd")) return text;
  try {
    strictUtf8().decode(bytes);
  } catch {
    throw new JsonError("not UTF-8");
  }
  return text;
};

/** Without a copy. To ask a small array for its `buffer` costs JavaScriptCore one, so it is asked only where it must be. */
export const asBuffer = (bytes: Uint8Array): Buffer =>
  bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Throws JsonError. */
export const parseJson = (frame: Frame): Json => {
  const text = typeof frame === "string" ? frame : decodeUtf8(frame);
  let value: Json;
  try {
    value = JSON.parse(text) as Json;
  } catch (error) {
    throw new JsonError(
      `not JSON (${error instanceof Error ? error.message.replace(/^JSON Parse error: /, "") : error})`,
    );
  }
  if (mustLookInside(value) && !isPlain(value, 0)) checkDecoded(value, new Digits(text), "", 0);
  return value;
};

/** The text is looked through once at most, however many large numbers the value has. */
class Digits {
  #areLost: boolean | undefined;

  constructor(private readonly text: string) {}

  get areLost(): boolean {
    this.#areLost ??= hasInexactInteger(this.text);
    return this.#areLost;
  }
}

/** Neither infinite nor a whole number that may have lost digits. */
const isPlainNumber = (value: unknown): boolean =>
  Number.isSafeInteger(value) || (Number.isFinite(value) && !Number.isInteger(value));

/** Whether it is right at the first look, and no path need be known to what is wrong. */
const isPlain = (value: Json, depth: number): boolean => {
  if (typeof value === "number") return isPlainNumber(value);
  if (typeof value !== "object" || value === null) return true;
  if (depth >= jsonDepthMax) return false;
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) if (!isPlain(value[index] as Json, depth + 1)) return false;
    return true;
  }
  for (const key in value) if (isForbidden(key) || !isPlain(value[key] as Json, depth + 1)) return false;
  return true;
};

/** Not into most of what comes, for which no path need be written. */
const mustLookInside = (value: Json): value is number | Json[] | JsonObject =>
  typeof value === "number" ? !isPlainNumber(value) : typeof value === "object" && value !== null;

const checkDecoded = (value: number | Json[] | JsonObject, digits: Digits, path: string, depth: number): void => {
  if (typeof value === "number") {
    if (!Number.isFinite(value)) throw new JsonError(`${at(path)}: a number beyond what a double holds`);
    if (digits.areLost) {
      throw new JsonError(`${at(path)}: a whole number beyond ${exactText} would lose digits; send it as a string`);
    }
    return;
  }
  if (depth >= jsonDepthMax) throw new JsonError(`nested deeper than ${jsonDepthMax}`);
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) {
      const item = value[index] as Json;
      if (mustLookInside(item)) checkDecoded(item, digits, `${path}[${index}]`, depth + 1);
    }
    return;
  }
  for (const key of Object.keys(value)) {
    if (isForbidden(key)) throw new JsonError(`${at(path)}: the key ${key} is not allowed`);
    const item = value[key] as Json;
    if (mustLookInside(item)) checkDecoded(item, digits, path === "" ? key : `${path}.${key}`, depth + 1);
  }
};

const at = (path: string): string => (path === "" ? "value" : path);

const quote = 0x22;
const backslash = 0x5c;
const minus = 0x2d;
/** Of ASCII. */
const firstPrintable = 0x20;
const lastPrintable = 0x7e;
const isDigit = (code: number): boolean => code >= 0x30 && code <= 0x39;
/** What makes a number more than digits: `.`, `e`, `E`, and the sign of an exponent. */
const isOfNumber = (code: number): boolean =>
  isDigit(code) || code === 0x2e || code === 0x65 || code === 0x45 || code === 0x2b || code === minus;

/**
 * Whether JSON text has, outside strings, a number of digits alone that a double cannot hold exactly. By hand, since a regular
 * expression gives up without a word on a string of a megabyte, and would let such a number through.
 */
const hasInexactInteger = (text: string): boolean => {
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code === quote) {
      index = closingQuote(text, index);
    } else if (isDigit(code) || code === minus) {
      const start = index;
      let digitsAlone = true;
      for (; index + 1 < text.length && isOfNumber(text.charCodeAt(index + 1)); index++) {
        digitsAlone &&= isDigit(text.charCodeAt(index + 1));
      }
      if (digitsAlone && index - start >= 15 && !Number.isSafeInteger(Number(text.slice(start, index + 1))))
        return true;
    }
  }
  return false;
};

/** The place of the quote that ends the string which begins at `start`; the text is known to be JSON. */
const closingQuote = (text: string, start: number): number => {
  let end = text.indexOf('"', start + 1);
  while (isEscaped(text, end)) end = text.indexOf('"', end + 1);
  return end;
};

/** After an odd number of backslashes. */
const isEscaped = (text: string, index: number): boolean => {
  let first = index;
  while (text.charCodeAt(first - 1) === backslash) first--;
  return (index - first) % 2 === 1;
};

/**
 * A value as JSON. Throws JsonError for what JSON cannot say (NaN, undefined inside a list, functions, BigInt,
 * cycles) instead of the `null` that JSON.stringify would send in its place. Properties that are undefined are left out.
 * @param name what the value is called in an error
 * @param depth how many lists and objects it is to stand in
 */
export const jsonText = (value: unknown, name = "value", depth = 0): string => {
  // What most results are.
  if (typeof value === "string") return quoted(value);
  if (isPlainNumber(value)) return `${value}`;
  checkEncodable(value, name, depth);
  return JSON.stringify(value);
};

/** A text as JSON.stringify gives it, which takes several times as long for one that has nothing to be escaped. */
export const quoted = (text: string): string =>
  isUnescaped(text, 0, text.length) ? `"${text}"` : JSON.stringify(text);

/** Whether a part of a text is printable ASCII of which JSON escapes nothing. */
export const isUnescaped = (text: string, start: number, end: number): boolean => {
  for (let index = start; index < end; index++) {
    const code = text.charCodeAt(index);
    if (code < firstPrintable || code > lastPrintable || code === quote || code === backslash) return false;
  }
  return true;
};

const checkEncodable = (value: unknown, path: string, depth: number): void => {
  switch (typeof value) {
    case "string":
    case "boolean":
      return;
    case "number":
      if (!Number.isFinite(value)) throw new JsonError(`${path} is ${value}, which JSON cannot say`);
      if (Number.isInteger(value) && !Number.isSafeInteger(value) && Math.abs(value) < exponentFrom) {
        throw new JsonError(`${path} is a whole number beyond ${exactText}, which loses digits; send it as a string`);
      }
      return;
    case "object":
      break;
    default:
      throw new JsonError(
        `${path} is ${typeof value === "undefined" ? "undefined" : `a ${typeof value}`}, which JSON cannot say`,
      );
  }
  if (value === null) return;
  if (depth >= jsonDepthMax) throw new JsonError(`${path} is nested deeper than ${jsonDepthMax}, or in a circle`);
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) {
      const item: unknown = value[index];
      if (!isPlainlyEncodable(item)) checkEncodable(item, `${path}[${index}]`, depth + 1);
    }
    return;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) {
    throw new JsonError(`${path} is a ${value.constructor?.name ?? "special object"}, not a plain object`);
  }
  for (const key of Object.keys(value)) {
    if (isForbidden(key)) throw new JsonError(`${path}: the key ${key} is not allowed`);
    const item = (value as Record<string, unknown>)[key];
    if (item !== undefined && !isPlainlyEncodable(item)) checkEncodable(item, `${path}.${key}`, depth + 1);
  }
};

/** Most of what is sent, for which no path need be written. */
const isPlainlyEncodable = (value: unknown): boolean =>
  typeof value === "string" || typeof value === "boolean" || isPlainNumber(value);
