/**
 * Text that is familiar, taken for what it says without being parsed, which takes several times as long: META of which all but the end
 * has come before, and TASK of the form in which most are written. What is not familiar is parsed. A test holds both ways against each
 * other.
 */
import { nameLengthMax, serialLengthMax } from "../limits.ts";
import type { Meta } from "./frames.ts";
import { forbiddenKeys } from "./json.ts";
import { isUnescaped } from "./json-encode.ts";

/** Printable ASCII of which JSON escapes nothing. */
const letter = "[ !#-\\[\\]-~]";
/** Exact as a double, and finite: neither too many digits, nor an exponent. */
const number = "-?(?:0|[1-9]\\d{0,14})(?:\\.\\d{1,20})?";
const scalar = `(?:${number}|"${letter}*"|true|false|null)`;
/** Some write a space there. */
const comma = ", ?";
const colon = ": ?";
const listOf = (item: string): string => `(?:${item}(?:${comma}${item})*)?`;

/* ── META ────────────────────────────────────────────────────────────────────────────────────────────────────────── */

/** META as text up to the value of its `pack`, and what it says but for `pack` and `serial`. */
interface Beginning {
  readonly text: string;
  readonly said: Omit<Meta, "pack" | "serial">;
}

/** A client has one for its requests, an engine one for the answers of each worker; some more serve several clients at once. */
const beginningsMax = 8;
/** Characters: none that matters is longer. */
const beginningLengthMax = 512;
const beginnings: Beginning[] = [];
let oldest = 0;

const lastBeforePack = '"pack":';
/** Between the value of `pack` and that of `serial`. */
const serialStart = ',"serial":"';
const serialStartWithSpaces = ', "serial": "';

/** The META of a text that begins as one that was learned; undefined where none does. */
export const familiarMeta = (text: string): Meta | undefined => {
  for (const { text: beginning, said } of beginnings) {
    if (text.startsWith(beginning)) return completed(said, text, beginning.length);
  }
  return undefined;
};

/** Learns how META begins that was found to be right. */
export const learnMeta = (text: string, meta: Meta): void => {
  const end = text.lastIndexOf(lastBeforePack) + lastBeforePack.length;
  const beginning = text.slice(0, text.charAt(end) === " " ? end + 1 : end);
  // Of a text that begins so, the end would have to be held against a `serial` or a key with escapes that came before.
  if (beginning.length > beginningLengthMax || beginning.includes('"serial"') || beginning.includes("\\")) return;
  const { id, role, version, type } = meta;
  const said = { id, role, version, type };
  if (completed(said, text, beginning.length) === undefined) return;
  beginnings[oldest] = { text: beginning, said };
  oldest = (oldest + 1) % beginningsMax;
};

const zero = 0x30;
const nine = 0x39;
const point = 0x2e;
const brace = 0x7d;
/** A number of no more digits, and ten to the power of no more, are exact as doubles, and so is what they make together. */
const digitsMax = 15;
const powersOfTen = Array.from({ length: digitsMax }, (_, power) => 10 ** power);

/** With the end of the text: a `pack` of usual form, perhaps a `serial` without anything to be escaped, and nothing else. */
const completed = ({ id, role, version, type }: Beginning["said"], text: string, start: number): Meta | undefined => {
  let at = start;
  let digits = 0;
  let decimals = -1;
  for (; ; at++) {
    const code = text.charCodeAt(at);
    if (code >= zero && code <= nine) {
      digits = digits * 10 + code - zero;
      if (decimals >= 0) decimals++;
    } else if (code === point && decimals < 0) decimals = 0;
    else break;
  }
  const length = at - start;
  const isWhole = decimals < 0;
  const hasLeadingZero = text.charCodeAt(start) === zero && (isWhole ? length : length - decimals - 1) > 1;
  if (length === 0 || length > digitsMax || hasLeadingZero || decimals === 0 || decimals === length - 1)
    return undefined;
  const pack = isWhole ? digits : digits / (powersOfTen[decimals] ?? 1);
  if (text.charCodeAt(at) === brace) return at === text.length - 1 ? { id, role, version, type, pack } : undefined;
  const between = text.startsWith(serialStart, at) ? serialStart : serialStartWithSpaces;
  if (between === serialStartWithSpaces && !text.startsWith(between, at)) return undefined;
  const first = at + between.length;
  const last = text.length - '"}'.length;
  if (last <= first || last - first > serialLengthMax) return undefined;
  if (!text.endsWith('"}') || !isUnescaped(text, first, last)) return undefined;
  return { id, role, version, type, pack, serial: text.slice(first, last) };
};

/* ── TASK ────────────────────────────────────────────────────────────────────────────────────────────────────────── */

const nameStart = `\\{"task"${colon}"`;
const notForbidden = `(?!(?:${[...forbiddenKeys].join("|")})")`;
const task = new RegExp(
  `^${nameStart}${letter}{1,${nameLengthMax}}"${comma}"args"${colon}\\[${listOf(scalar)}\\]${comma}` +
    `"kwargs"${colon}\\{${listOf(`"${notForbidden}${letter}*"${colon}${scalar}`)}\\}${comma}"pack"${colon}${number}\\}$`,
);

/** Characters: of a longer text a regular expression takes too long, or gives it up without a word. */
const taskLengthMax = 4096;

/** The name in a TASK that is right and has no options, as it is written there; undefined for any that is not of the usual form. */
export const familiarTaskName = (text: string): string | undefined => {
  if (text.length > taskLengthMax || !task.test(text) || mayRepeatKwarg(text)) return undefined;
  if (!text.startsWith(lastTask.start)) {
    const start = text.indexOf('"', '{"task":'.length) + 1;
    const end = text.indexOf('"', start);
    lastTask = { start: text.slice(0, end + 1), name: text.slice(start, end) };
  }
  return lastTask.name;
};

const kwargsStart = '"kwargs":';

/** Of a text of that form, in which each `":` ends a key, or begins a text: of that it is not sure, and such a text is parsed. */
const mayRepeatKwarg = (text: string): boolean => {
  const end = text.lastIndexOf("}", text.length - 2);
  if (text.charAt(end - 1) === "{") return false;
  const start = text.indexOf(kwargsStart) + kwargsStart.length;
  let written = 0;
  for (let at = text.indexOf('":', start); at >= 0 && at < end; at = text.indexOf('":', at + 1)) written++;
  return written > 1 && Object.keys(JSON.parse(text.slice(start, end + 1))).length < written;
};

/** Most often it is the same again, and the same string is found sooner where it is looked up. */
let lastTask = { start: '{"task":""', name: "" };
