/**
 * JSON as the engine takes it: stricter than JSON.parse where JSON.parse changes a value without a word.
 * - not UTF-8, not JSON (`NaN`, `Infinity` and `undefined` are not) → refused;
 * - a whole number written without exponent beyond ±(2⁵³ − 1) → refused, since it would become another number;
 * - a key `__proto__`, `constructor` or `prototype` → refused, since it is a way into other objects;
 * - lists and objects nested deeper than `jsonDepthMax` → refused.
 * `encode` refuses the same values in the other direction, so that encoding and decoding are each other's inverse.
 */
import { jsonDepthMax } from "../limits.ts";

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

/** Why a value cannot travel, and the path to it: `args[2].speed`. */
export class JsonError extends Error {
  override readonly name = "JsonError";
}

const forbiddenKeys: ReadonlySet<string> = new Set(["__proto__", "constructor", "prototype"]);
const exactText = `±${Number.MAX_SAFE_INTEGER}`;
/** JSON.stringify writes whole numbers from here on with an exponent, which marks them as inexact. */
const exponentFrom = 1e21;

const strictUtf8 = new TextDecoder("utf-8", { fatal: true });

/** The text of a frame. Throws JsonError where it is not UTF-8. */
export const decodeUtf8 = (bytes: Uint8Array): string => {
  const text = asBuffer(bytes).toString("utf8");
  // The lax decoder is the quick one. It marks what it could not read; only then is it worth asking whether the mark was sent.
  if (!text.includes("\ufffd")) return text;
  try {
    strictUtf8.decode(bytes);
  } catch {
    throw new JsonError("not UTF-8");
  }
  return text;
};

/** Without a copy. To ask a small array for its `buffer` costs JavaScriptCore one, so it is asked only where it must be. */
export const asBuffer = (bytes: Uint8Array): Buffer =>
  bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Throws JsonError. */
export const parseJson = (bytes: Uint8Array): Json => {
  const text = decodeUtf8(bytes);
  let value: Json;
  try {
    value = JSON.parse(text) as Json;
  } catch (error) {
    throw new JsonError(
      `not JSON (${error instanceof Error ? error.message.replace(/^JSON Parse error: /, "") : error})`,
    );
  }
  if (mustLookInside(value)) checkDecoded(value, text, "", 0);
  return value;
};

const mustLookInside = (value: Json): boolean =>
  typeof value === "number" || (typeof value === "object" && value !== null);

const checkDecoded = (value: Json, text: string, path: string, depth: number): void => {
  if (typeof value === "number") {
    if (!Number.isSafeInteger(value) && Number.isInteger(value) && hasInexactInteger(text)) {
      throw new JsonError(`${at(path)}: a whole number beyond ${exactText} would lose digits; send it as a string`);
    }
    if (!Number.isFinite(value)) throw new JsonError(`${at(path)}: a number beyond what a double holds`);
    return;
  }
  if (typeof value !== "object" || value === null) return;
  if (depth >= jsonDepthMax) throw new JsonError(`nested deeper than ${jsonDepthMax}`);
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) {
      const item = value[index] as Json;
      if (mustLookInside(item)) checkDecoded(item, text, `${path}[${index}]`, depth + 1);
    }
    return;
  }
  for (const key of Object.keys(value)) {
    if (forbiddenKeys.has(key)) throw new JsonError(`${at(path)}: the key ${key} is not allowed`);
    const item = value[key] as Json;
    if (mustLookInside(item)) checkDecoded(item, text, path === "" ? key : `${path}.${key}`, depth + 1);
  }
};

const at = (path: string): string => (path === "" ? "value" : path);

/** Whether JSON text has, outside strings, a number of digits alone that a double cannot hold exactly. */
const hasInexactInteger = (text: string): boolean => {
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g)) {
    if (/^-?\d{16,}$/.test(token) && !Number.isSafeInteger(Number(token))) return true;
  }
  return false;
};

/**
 * The bytes of a value as JSON. Throws JsonError for what JSON cannot say (NaN, undefined inside a list, functions, BigInt,
 * cycles) instead of the `null` that JSON.stringify would send in its place. Properties that are undefined are left out.
 */
export const encodeJson = (value: unknown, name = "value"): Buffer => {
  checkEncodable(value, name, 0);
  return Buffer.from(JSON.stringify(value));
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
    for (let index = 0; index < value.length; index++) checkEncodable(value[index], `${path}[${index}]`, depth + 1);
    return;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) {
    throw new JsonError(`${path} is a ${value.constructor?.name ?? "special object"}, not a plain object`);
  }
  for (const [key, item] of Object.entries(value)) {
    if (forbiddenKeys.has(key)) throw new JsonError(`${path}: the key ${key} is not allowed`);
    if (item !== undefined) checkEncodable(item, `${path}.${key}`, depth + 1);
  }
};
