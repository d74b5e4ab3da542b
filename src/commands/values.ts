/** From what is typed to JSON, by the engine's own rules, and back to what is printed. */
import { type Json, JsonError, type JsonObject, parseJson } from "../wire/json.ts";
import { UsageError } from "./exit.ts";

const looksLikeContainer = (text: string): boolean => /^\s*[[{]/.test(text);

/**
 * JSON where the text is JSON, else the text as a string: `3` is a number, `forward` a string, `"3"` the string 3. So is a
 * whole number with more digits than a double holds: as a string it keeps them. A list or an object that the engine would
 * refuse is a UsageError: nobody means it as text.
 */
export const valueFrom = (text: string, origin: string): Json => {
  try {
    return parseJson(Buffer.from(text));
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    if (looksLikeContainer(text) && isJson(text))
      throw new UsageError(`${origin}: ${error.message.replace(/^value: /, "")}`);
    return text;
  }
};

/** A flag's JSON object; throws UsageError. */
export const objectFrom = (text: string, origin: string): JsonObject => {
  let value: Json;
  try {
    value = parseJson(Buffer.from(text));
  } catch (error) {
    if (error instanceof JsonError) throw new UsageError(`${origin}: ${error.message.replace(/^value: /, "")}`);
    throw error;
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
  throw new UsageError(`${origin} is ${text}, which is not a JSON object such as '{"speed": 2}'`);
};

const isJson = (text: string): boolean => {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
};

/** A result for a person or a shell: a string as it is, everything else as JSON. */
export const plain = (value: Json): string => (typeof value === "string" ? value : JSON.stringify(value));
