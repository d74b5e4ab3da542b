/** From values of programs to JSON text, which refuses what `json.ts` refuses in the other direction. */
import { frameBytesMax, jsonDepthMax } from "../limits.ts";
import { backslash, exactText, isForbidden, isPlainNumber, JsonError, quote } from "./json.ts";

/** It is too much for a frame. */
export class TooLongError extends JsonError {}

/** JSON.stringify writes whole numbers from here on with an exponent, which marks them as inexact. */
const exponentFrom = 1e21;
/** Of ASCII. */
const firstPrintable = 0x20;
const lastPrintable = 0x7e;

/**
 * A value as JSON. Throws JsonError for what JSON cannot say (NaN, undefined, functions, BigInt, objects of classes, cycles)
 * instead of the `null` that JSON.stringify would send in its place, or of leaving it out.
 *
 * Every value is read once, into a copy, and JSON.stringify sees the copy alone: what an accessor, a Proxy or a `toJSON` would
 * say at a second reading is never sent.
 * @param name what the value is called in an error
 * @param depth how many lists and objects it is to stand in
 */
export const jsonText = (value: unknown, name = "value", depth = 0): string => {
  // What most results are.
  if (typeof value === "string") return quoted(value);
  if (isPlainNumber(value)) return `${value}`;
  charactersLeft = frameBytesMax;
  const copy = checkedCopy(value, name, depth);
  take(0, name);
  // An `Array.prototype.toJSON` or `Object.prototype.toJSON` of somebody's would change even the copy.
  if (hasToJson(noItems))
    throw new JsonError(`${name} cannot be encoded: Array.prototype or Object.prototype has a toJSON`);
  return JSON.stringify(copy);
};

const noItems: readonly unknown[] = [];

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

/**
 * How many characters the value may still have: what stands in it a thousand times is copied as often, and that must have an end
 * before the frame has.
 */
let charactersLeft = 0;

const take = (characters: number, path: string): void => {
  charactersLeft -= characters;
  if (charactersLeft < 0)
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
        `${path} is ${value === undefined ? "undefined" : `a ${typeof value}`}, which JSON cannot say`,
      );
  }
  if (value === null) return null;
  if (depth >= jsonDepthMax) throw new JsonError(`${path} is nested deeper than ${jsonDepthMax}, or in a circle`);
  return Array.isArray(value) ? copyOfList(value, path, depth) : copyOfObject(value, path, depth);
};

const checkNumber = (value: number, path: string): void => {
  if (!Number.isFinite(value)) throw new JsonError(`${path} is ${value}, which JSON cannot say`);
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
      copy.push(isPlainlyEncodable(item) ? item : checkedCopy(item, `${path}[${index}]`, depth + 1));
    }
  } catch (error) {
    throw error instanceof JsonError ? error : unreadable(index < 0 ? path : `${path}[${index}]`, error);
  }
  return copy;
};

const copyOfObject = (value: object, path: string, depth: number): Record<string, unknown> => {
  const copy: Record<string, unknown> = {};
  let at: string | null = null;
  try {
    checkKind(value, "object", Object.prototype, path);
    if (Object.getOwnPropertySymbols(value).length > 0) {
      throw new JsonError(`${path} has a symbol for a key, which JSON cannot say`);
    }
    for (const key of Object.keys(value)) {
      at = key;
      if (isForbidden(key)) throw new JsonError(`${path}: the key ${key} is not allowed`);
      charactersLeft -= key.length;
      const item = (value as Record<string, unknown>)[key];
      copy[key] = isPlainlyEncodable(item) ? item : checkedCopy(item, `${path}.${key}`, depth + 1);
    }
  } catch (error) {
    throw error instanceof JsonError ? error : unreadable(at === null ? path : `${path}.${at}`, error);
  }
  return copy;
};

const checkKind = (value: object, kind: string, plain: object, path: string): void => {
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== plain && (prototype !== null || kind === "list")) {
    throw new JsonError(`${path} is a ${value.constructor?.name ?? "special object"}, not a plain ${kind}`);
  }
  if (hasToJson(value)) throw new JsonError(`${path} has a toJSON, which is not called; send what it gives`);
};

const unreadable = (path: string, error: unknown): JsonError =>
  new JsonError(`${path} cannot be read: ${error instanceof Error ? error.message : `a ${typeof error} was thrown`}`);

/** Most of what is sent, for which no path need be written. */
const isPlainlyEncodable = (value: unknown): boolean => {
  if (typeof value !== "string") return isPlainNumber(value) || typeof value === "boolean" || value === null;
  charactersLeft -= value.length;
  return true;
};
