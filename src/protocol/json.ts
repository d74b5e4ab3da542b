/**
 * JSON as the engine takes it: stricter than JSON.parse where JSON.parse changes a value without a word.
 * - not UTF-8, not JSON (`NaN`, `Infinity` and `undefined` are not) → refused;
 * - a whole number written without exponent beyond ±(2⁵³ − 1) → refused, since it would become another number;
 * - a key `__proto__`, `constructor` or `prototype` → refused, since it is a way into other objects;
 * - an object that has a key twice → refused, since one program would take the first value and another the last;
 * - lists and objects nested deeper than `jsonDepthMax` → refused.
 * `jsonText` refuses the same values in the other direction, so that encoding and decoding are each other's inverse.
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
export const isForbidden = (key: string): boolean => key.length >= forbiddenLengthMin && forbiddenKeys.has(key);
export const exactText = `±${Number.MAX_SAFE_INTEGER}`;
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
  if (!mustLookInside(value)) return value;
  const keys = keysIn(value, 0);
  // Each key that is written has its colon: where there are as many keys as colons, none is written twice.
  if (hasColons(text, keys) || colonsIn(text) === keys) return value;
  if (checkDecoded(value, new Digits(text), "", 0) !== colonsIn(text)) throw new JsonError(repeatedKey(text));
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
export const isPlainNumber = (value: unknown): boolean =>
  Number.isSafeInteger(value) || (Number.isFinite(value) && !Number.isInteger(value));

/** How many keys its objects have together; NaN where there is something in it that is to be looked at closely. */
const keysIn = (value: number | Json[] | JsonObject, depth: number): number => {
  if (typeof value === "number" || depth >= jsonDepthMax) return Number.NaN;
  let count = 0;
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) {
      const item = value[index] as Json;
      if (mustLookInside(item)) count += keysIn(item, depth + 1);
    }
    return count;
  }
  for (const key in value) {
    if (isForbidden(key)) return Number.NaN;
    const item = value[key] as Json;
    if (mustLookInside(item)) count += keysIn(item, depth + 1);
    count++;
  }
  return count;
};

/** Whether a text has so many colons, be it in its strings, and no more. */
const hasColons = (text: string, count: number): boolean => {
  let left = count;
  for (let at = text.indexOf(":"); at >= 0 && left >= 0; at = text.indexOf(":", at + 1)) left--;
  return left === 0;
};

/** Not into most of what comes, for which no path need be written. */
const mustLookInside = (value: Json): value is number | Json[] | JsonObject =>
  typeof value === "number" ? !isPlainNumber(value) : typeof value === "object" && value !== null;

/** How many keys its objects have together. Throws JsonError for what is not to be taken. */
const checkDecoded = (value: number | Json[] | JsonObject, digits: Digits, path: string, depth: number): number => {
  if (typeof value === "number") {
    if (!Number.isFinite(value)) throw new JsonError(`${at(path)}: a number beyond what a double holds`);
    if (digits.areLost) {
      throw new JsonError(`${at(path)}: a whole number beyond ${exactText} would lose digits; send it as a string`);
    }
    return 0;
  }
  if (depth >= jsonDepthMax) throw new JsonError(`nested deeper than ${jsonDepthMax}`);
  let count = 0;
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) {
      const item = value[index] as Json;
      if (mustLookInside(item)) count += checkDecoded(item, digits, below(path, index), depth + 1);
    }
    return count;
  }
  for (const key of Object.keys(value)) {
    if (isForbidden(key)) throw new JsonError(`${at(path)}: the key ${key} is not allowed`);
    const item = value[key] as Json;
    if (mustLookInside(item)) count += checkDecoded(item, digits, below(path, key), depth + 1);
    count++;
  }
  return count;
};

const at = (path: string): string => (path === "" ? "value" : path);

export const quote = 0x22;
export const backslash = 0x5c;
const comma = 0x2c;
const colon = 0x3a;
const openBracket = 0x5b;
const closeBracket = 0x5d;
const openBrace = 0x7b;
const closeBrace = 0x7d;
const minus = 0x2d;
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

/** How many colons JSON text has outside strings. */
const colonsIn = (text: string): number => {
  let count = 0;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code === quote) index = closingQuote(text, index);
    else if (code === colon) count++;
  }
  return count;
};

interface Open {
  /** Of an object; null of a list. */
  readonly keys: Set<string> | null;
  /** Where in it we are. */
  step: string | number;
}

/** What to say of JSON text in which an object has a key twice, however the two are escaped. */
const repeatedKey = (text: string): string => {
  const outer: Open[] = [];
  let inner: Open = { keys: null, step: 0 };
  let written = "";
  for (let index = 0; index < text.length; index++) {
    switch (text.charCodeAt(index)) {
      case quote: {
        const end = closingQuote(text, index);
        written = text.slice(index, end + 1);
        index = end;
        break;
      }
      case openBrace:
      case openBracket:
        outer.push(inner);
        inner = text.charCodeAt(index) === openBrace ? { keys: new Set(), step: "" } : { keys: null, step: 0 };
        break;
      case closeBrace:
      case closeBracket:
        inner = outer.pop() ?? inner;
        break;
      case comma:
        if (typeof inner.step === "number") inner.step++;
        break;
      case colon: {
        const key = written.includes("\\") ? String(JSON.parse(written)) : written.slice(1, -1);
        if (inner.keys?.has(key)) {
          const path = outer.slice(1).reduce((above, { step }) => below(above, step), "");
          return `${at(path)}: the key ${JSON.stringify(key)} is there twice`;
        }
        inner.keys?.add(key);
        inner.step = key;
      }
    }
  }
  return "a key is there twice";
};

const below = (path: string, step: string | number): string => {
  if (typeof step === "number") return `${path}[${step}]`;
  return path === "" ? step : `${path}.${step}`;
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
