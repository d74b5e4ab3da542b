/**
 * JSON as the engine takes it. JSON.parse changes or drops some values silently; these are refused:
 * - text that is not UTF-8 or not JSON (`NaN`, `Infinity` and `undefined` are not);
 * - a whole number written without exponent beyond ±(2⁵³ − 1), since it would become another
 *   number;
 * - a key `__proto__`, `constructor` or `prototype`, since it is a way into other objects;
 * - an object that has a key twice, since one program would take the first value and another the
 *   last;
 * - lists and objects nested deeper than `jsonDepthMax`. `jsonText` refuses the same values in the
 *   other direction, so that encoding and decoding are each other's inverse.
 */
import { jsonDepthMax } from "../limits.ts";
import { asBuffer, type Frame } from "./frame.ts";

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

/** Returns true for an object that is no array, such as `kwargs`. Its values are not looked at. */
export const isJsonObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** The reason why a value cannot travel, with the path to it: `args[2].speed`. */
export class JsonError extends Error {
  override readonly name = "JsonError";
}

const forbiddenKeys: ReadonlySet<string> = new Set(["__proto__", "constructor", "prototype"]);
const forbiddenLengthMin = 9;
/** Most keys are shorter than a forbidden one, and need no look-up. */
export const isForbidden = (key: string): boolean => key.length >= forbiddenLengthMin && forbiddenKeys.has(key);
export const exactText = `±${Number.MAX_SAFE_INTEGER}`;

/** The text of a frame. Throws JsonError where it is not UTF-8. */
const decodeUtf8 = (bytes: Uint8Array): string => {
  const text = asBuffer(bytes).toString("utf8");
  // The lax decoder is the quick one. It writes U+FFFD for bad bytes; only then the strict one
  // tells whether that was sent.
  if (!text.includes("\ufffd")) return text;
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new JsonError("not UTF-8");
  }
  return text;
};

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
  if (!needsCheck(value)) return value;
  const keys = new Check(text).keysIn(value);
  // JSON.parse keeps one of two equal keys, while the text has a colon for each.
  if (!hasColons(text, keys) && colonsIn(text) !== keys) throw new JsonError(repeatedKey(text));
  return value;
};

/** Returns true if the number is finite, and no whole number that may have lost digits. */
export const isExactNumber = (value: unknown): boolean =>
  Number.isSafeInteger(value) || (Number.isFinite(value) && !Number.isInteger(value));

/** Most values are strings and small numbers, which need none. */
const needsCheck = (value: Json): value is number | Json[] | JsonObject =>
  typeof value === "number" ? !isExactNumber(value) : typeof value === "object" && value !== null;

/** The walk through one parsed frame. */
class Check {
  /** Keys and indices from the root to the value that is being checked. */
  readonly #path: (string | number)[] = [];
  #hasInexact: boolean | undefined;

  constructor(private readonly text: string) {}

  /**
   * Number of keys that its objects have together. Throws JsonError for a value that is refused.
   */
  keysIn(value: number | Json[] | JsonObject): number {
    if (typeof value === "number") return this.#checkNumber(value);
    if (this.#path.length >= jsonDepthMax) throw new JsonError(`nested deeper than ${jsonDepthMax}`);
    let count = 0;
    if (Array.isArray(value)) {
      for (let index = 0; index < value.length; index++) {
        const item = value[index] as Json;
        if (needsCheck(item)) count += this.#keysBelow(index, item);
      }
      return count;
    }
    for (const key of Object.keys(value)) {
      if (isForbidden(key)) throw new JsonError(`${shown(this.#path)}: the key ${key} is not allowed`);
      const item = value[key] as Json;
      if (needsCheck(item)) count += this.#keysBelow(key, item);
      count++;
    }
    return count;
  }

  #keysBelow(step: string | number, item: number | Json[] | JsonObject): number {
    this.#path.push(step);
    const count = this.keysIn(item);
    this.#path.pop();
    return count;
  }

  #checkNumber(value: number): number {
    if (!Number.isFinite(value)) throw new JsonError(`${shown(this.#path)}: a number beyond what a double holds`);
    // One look through the text for all numbers of the frame.
    this.#hasInexact ??= hasInexactInteger(this.text);
    if (!this.#hasInexact) return 0;
    throw new JsonError(
      `${shown(this.#path)}: a whole number beyond ${exactText} would lose digits; send it as a string`,
    );
  }
}

/** A path as people write it: `args[2].speed`. */
const shown = (path: readonly (string | number)[]): string => {
  if (path.length === 0) return "value";
  return path.map((step, index) => (typeof step === "number" ? `[${step}]` : index === 0 ? step : `.${step}`)).join("");
};

/** Returns true if a text has exactly so many colons, those in its strings included. */
const hasColons = (text: string, count: number): boolean => {
  let left = count;
  for (let at = text.indexOf(":"); at >= 0 && left >= 0; at = text.indexOf(":", at + 1)) left--;
  return left === 0;
};

export const quote = 0x22;
export const backslash = 0x5c;
const comma = 0x2c;
const colon = 0x3a;
const openBracket = 0x5b;
const closeBracket = 0x5d;
export const openBrace = 0x7b;
export const closeBrace = 0x7d;
const minus = 0x2d;
const isDigit = (code: number): boolean => code >= 0x30 && code <= 0x39;
/** Digits, `.`, `e`, `E` and a sign. */
const isOfNumber = (code: number): boolean =>
  isDigit(code) || code === 0x2e || code === 0x65 || code === 0x45 || code === 0x2b || code === minus;

/**
 * Returns true if JSON text has, outside strings, a number of digits alone that a double cannot
 * hold exactly. A regular expression would give up silently on a string of a megabyte, and let such
 * a number through.
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

/** Number of colons that JSON text has outside strings. */
const colonsIn = (text: string): number => {
  let count = 0;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code === quote) index = closingQuote(text, index);
    else if (code === colon) count++;
  }
  return count;
};

/** A list or an object that the scan is in. */
interface OpenContainer {
  /** Keys so far of an object; null of a list. */
  readonly keys: Set<string> | null;
  /** The key or index that the scan has reached. */
  step: string | number;
}

/** The error for JSON text in which an object has a key twice, however the two are escaped. */
const repeatedKey = (text: string): string => {
  const outer: OpenContainer[] = [];
  let inner: OpenContainer = { keys: null, step: 0 };
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
          const path = outer.slice(1).map(({ step }) => step);
          return `${shown(path)}: the key ${JSON.stringify(key)} is there twice`;
        }
        inner.keys?.add(key);
        inner.step = key;
      }
    }
  }
  return "a key is there twice";
};

/** Index of the quote that ends the string which begins at `start`, in a text that is JSON. */
const closingQuote = (text: string, start: number): number => {
  let end = text.indexOf('"', start + 1);
  while (isEscaped(text, end)) end = text.indexOf('"', end + 1);
  return end;
};

/** Returns true after an odd number of backslashes. */
const isEscaped = (text: string, index: number): boolean => {
  let first = index;
  while (text.charCodeAt(first - 1) === backslash) first--;
  return (index - first) % 2 === 1;
};
