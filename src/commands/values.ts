/** From what is typed to JSON, by the engine's own rules, and back to what is printed. */
import { nameLengthMax } from "../limits.ts";
import { type Json, JsonError, type JsonObject, parseJson } from "../protocol/json.ts";
import { UsageError } from "./exit.ts";

/** A list, an object or a text between quotes. */
const beginsLikeJson = (text: string): boolean => /^\s*[[{"]/.test(text);

/**
 * JSON where the text is JSON, else the text as a string: `3` is a number, `forward` a string, `"3"` the string 3. So is a
 * whole number with more digits than a double holds, and `007`: as strings they keep them. What begins like a list, an object
 * or a text between quotes and is not JSON that the engine takes is a UsageError: hardly anybody means it as text.
 */
export const valueFrom = (text: string, origin: string): Json => {
  try {
    return parseJson(Buffer.from(text));
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    if (!beginsLikeJson(text)) return text;
    throw new UsageError(
      `${origin}: ${error.message.replace(/^value: /, "")}; to send it as text write ${asTyped(text)}`,
    );
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

const shownLengthMax = 60;

/** How a text is typed in a shell so that it stays one, whatever it looks like. */
const asTyped = (text: string): string =>
  text.length > shownLengthMax ? `it as a JSON string, '"…"'` : `'${JSON.stringify(text).replaceAll("'", "'\\''")}'`;

/** The name of a task or a topic; throws UsageError. */
export const nameFrom = (text: string, origin: string): string => {
  if (text.trim() === "") throw new UsageError(`${origin} is ${text === "" ? "empty" : "blank"}; give a name`);
  if (text.length > nameLengthMax) throw new UsageError(`${origin} is longer than ${nameLengthMax} characters`);
  return text;
};

/** A result for a person or a shell: a string as it is, everything else as JSON. */
export const plain = (value: Json): string => (typeof value === "string" ? value : JSON.stringify(value));
