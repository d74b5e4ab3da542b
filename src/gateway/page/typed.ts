/**
 * Arguments as a person types them at the command line: values with spaces between them, each JSON
 * or else text, and `key=value` for a keyword. `3 front speed=0.5` is `[3, "front"]` and `{speed:
 * 0.5}`.
 */
import type { Json } from "./types.ts";

export interface Arguments {
  readonly args: Json[];
  readonly kwargs: { [key: string]: Json };
}

/**
 * Throws SyntaxError, whose message is one line.
 * @param words the values of these words, such as a stick's position
 */
export const argumentsFrom = (text: string, words: Readonly<Record<string, Json>> = {}): Arguments => {
  const typed: Arguments = { args: [], kwargs: {} };
  for (const token of tokensOf(text)) {
    const [, key, rest = ""] = /^([A-Za-z_]\w*)=(.*)$/s.exec(token) ?? [];
    if (key === undefined) typed.args.push(valueFrom(token, words));
    else typed.kwargs[key] = valueFrom(rest, words);
  }
  return typed;
};

export const valueFrom = (text: string, words: Readonly<Record<string, Json>> = {}): Json => {
  const word = Object.hasOwn(words, text) ? words[text] : undefined;
  if (word !== undefined) return word;
  try {
    return JSON.parse(text);
  } catch {
    if (/^[[{"]/.test(text)) throw new SyntaxError(`${text} begins like JSON and is not; write it as "text"`);
    return text;
  }
};

/** Spaces separate, but within strings, lists and objects. */
const tokensOf = (text: string): string[] => {
  const tokens: string[] = [];
  let token = "";
  let depth = 0;
  let isString = false;
  for (let at = 0; at < text.length; at++) {
    const character = text[at] ?? "";
    if (isString && character === "\\") {
      token += character + (text[++at] ?? "");
      continue;
    }
    if (character === '"') isString = !isString;
    else if (!isString && (character === "[" || character === "{")) depth++;
    else if (!isString && (character === "]" || character === "}")) depth--;
    if (!isString && depth <= 0 && /\s/.test(character)) {
      if (token !== "") tokens.push(token);
      token = "";
    } else token += character;
  }
  if (token !== "") tokens.push(token);
  return tokens;
};
