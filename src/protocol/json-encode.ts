/**
 * JSON text of a program's values. It refuses the same values as `parseJson` does in the other
 * direction.
 */
import { frameBytesMax, jsonDepthMax } from "../limits.ts";
import { backslash, exactText, isExactNumber, isForbidden, JsonError, quote } from "./json.ts";

/** The value does not fit into a frame. */
export class TooLongError extends JsonError {}

/**
 * JSON.stringify writes whole numbers from here on with an exponent, which marks them as inexact.
 */
const exponentFrom = 1e21;

/**
 * A value as JSON. Throws JsonError for a value that JSON has no text for (NaN, undefined,
 * functions, BigInt, objects of classes, cycles), where JSON.stringify would send `null` or leave
 * it out.
 *
 * Every value is read once, into a copy, and JSON.stringify sees the copy alone: an accessor, a
 * Proxy or a `toJSON` could give another value at a second reading. To write the text in the same
 * walk takes twice as long for large values.
 * @param name of the value, in errors
 * @param depth number of lists and objects that the value will stand in
 */
export const jsonText = (value: unknown, name = "value", depth = 0): string => {
  if (typeof value === "string") return quoted(value);
  if (isExactNumber(value)) return `${value}`;
  charactersLeft = frameBytesMax;
  const copy = checkedCopy(value, name, depth);
  take(0, name);
  // A changed Array.prototype or Object.prototype would change even the copy.
  if (hasToJson([])) throw new JsonError(`${name} cannot be encoded: Array.prototype or Object.prototype has a toJSON`);
  return JSON.stringify(copy);
};

const firstPrintable = 0x20;
const lastPrintable = 0x7e;

/**
 * A text as JSON.stringify gives it, which takes several times as long where nothing needs an
 * escape.
 */
export const quoted = (text: string): string =>
  isUnescaped(text, 0, text.length) ? `"${text}"` : JSON.stringify(text);

/** Returns true if that part of a text is printable ASCII of which JSON escapes nothing. */
export const isUnescaped = (text: string, start: number, end: number): boolean => {
  for (let index = start; index < end; index++) {
    const code = text.charCodeAt(index);
    if (code < firstPrintable || code > lastPrintable || code === quote || code === backslash) return false;
  }
  return true;
};

/**
 * Characters that the value may still have. A list that stands in it a thousand times is copied as
 * often.
 */
let charactersLeft = 0;

const take = (characters: number, path: string): void => {
  charactersLeft -= characters;
  if (charactersLeft >= 0) return;
  throw new TooLongError(`${path} makes a frame of more than ${frameBytesMax} bytes, which is the limit`);
};

const hasToJson = (value: object): boolean => typeof (value as { toJSON?: unknown }).toJSON === "function";

const checkedCopy = (value: unknown, path: string, depth: number): unknown => {
  switch (typeof value) {
    case "string":
    case "boolean":
      return value;
    case "number":
      checkNumber(value, path);
      return value;
    case "object":
      break;
    default:
      throw new JsonError(
        `${path} is ${value === undefined ? "undefined" : `a ${typeof value}`}, which JSON cannot express`,
      );
  }
  if (value === null) return null;
  if (depth >= jsonDepthMax) throw new JsonError(`${path} is nested deeper than ${jsonDepthMax}, or in a circle`);
  return Array.isArray(value) ? copyOfList(value, path, depth) : copyOfObject(value, path, depth);
};

const checkNumber = (value: number, path: string): void => {
  if (!Number.isFinite(value)) throw new JsonError(`${path} is ${value}, which JSON cannot express`);
  if (Number.isInteger(value) && !Number.isSafeInteger(value) && Math.abs(value) < exponentFrom) {
    throw new JsonError(`${path} is a whole number beyond ${exactText}, which loses digits; send it as a string`);
  }
};

const copyOfList = (value: readonly unknown[], path: string, depth: number): unknown[] => {
  const copy: unknown[] = [];
  let index = -1;
  try {
    checkKind(value, "list", Array.prototype, path);
    const { length } = value;
    take(2 * length, path);
    for (index = 0; index < length; index++) {
      const item = value[index];
      copy.push(needsNoCheck(item) ? item : checkedCopy(item, `${path}[${index}]`, depth + 1));
    }
  } catch (error) {
    throw asJsonError(error, index < 0 ? path : `${path}[${index}]`);
  }
  return copy;
};

const copyOfObject = (value: object, path: string, depth: number): Record<string, unknown> => {
  const copy: Record<string, unknown> = {};
  let last: string | null = null;
  try {
    checkKind(value, "object", Object.prototype, path);
    if (Object.getOwnPropertySymbols(value).length > 0) {
      throw new JsonError(`${path} has a symbol for a key, which JSON cannot express`);
    }
    for (const key of Object.keys(value)) {
      last = key;
      if (isForbidden(key)) throw new JsonError(`${path}: the key ${key} is not allowed`);
      charactersLeft -= key.length;
      const item = (value as Record<string, unknown>)[key];
      copy[key] = needsNoCheck(item) ? item : checkedCopy(item, `${path}.${key}`, depth + 1);
    }
  } catch (error) {
    throw asJsonError(error, last === null ? path : `${path}.${last}`);
  }
  return copy;
};

const checkKind = (value: object, kind: string, plain: object, path: string): void => {
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== plain && (prototype !== null || kind === "list")) {
    throw new JsonError(`${path} is a ${value.constructor?.name ?? "special object"}, not a plain ${kind}`);
  }
  if (hasToJson(value)) throw new JsonError(`${path} has a toJSON, which is not called; send its result`);
};

/** An error of the value's own code, such as an accessor, says that the value cannot be read. */
const asJsonError = (error: unknown, path: string): JsonError =>
  error instanceof JsonError
    ? error
    : new JsonError(
        `${path} cannot be read: ${error instanceof Error ? error.message : `a ${typeof error} was thrown`}`,
      );

/** Most items need none, and no path. The characters of a string count. */
const needsNoCheck = (value: unknown): boolean => {
  if (typeof value !== "string") return isExactNumber(value) || typeof value === "boolean" || value === null;
  charactersLeft -= value.length;
  return true;
};
