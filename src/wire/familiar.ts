/**
 * Text that is familiar, taken for what it says without being parsed, which takes several times as long: META of which all but the end
 * has come before, and TASK of the form in which most are written. What is not familiar is parsed. A test holds both ways against each
 * other.
 */
import { nameLengthMax, serialLengthMax } from "../limits.ts";
import type { Meta } from "./frames.ts";

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
const ending = new RegExp(`(${number})(?:${comma}"serial"${colon}"(${letter}{1,${serialLengthMax}})")?\\}`, "y");

/** The META of a text that begins as one that was learned; undefined where none does. */
export const familiarMeta = (text: string): Meta | undefined => {
  for (const { text: beginning, said } of beginnings) {
    if (text.startsWith(beginning)) return completed(said, endingOf(text, beginning.length));
  }
  return undefined;
};

/** Learns how META begins that was found to be right. */
export const learnMeta = (text: string, meta: Meta): void => {
  const end = text.lastIndexOf(lastBeforePack) + lastBeforePack.length;
  const beginning = text.slice(0, text.charAt(end) === " " ? end + 1 : end);
  // What stands there twice counts by its last: of a `serial` before the end another text would have to do without.
  if (beginning.length > beginningLengthMax || beginning.includes('"serial"')) return;
  if (endingOf(text, beginning.length) === null) return;
  const { id, role, version, type } = meta;
  beginnings[oldest] = { text: beginning, said: { id, role, version, type } };
  oldest = (oldest + 1) % beginningsMax;
};

/** Of the whole rest of the text. */
const endingOf = (text: string, start: number): RegExpExecArray | null => {
  ending.lastIndex = start;
  const found = ending.exec(text);
  return ending.lastIndex === text.length ? found : null;
};

const completed = ({ id, role, version, type }: Beginning["said"], end: RegExpExecArray | null): Meta | undefined => {
  if (end === null) return undefined;
  const [, pack, serial] = end;
  return serial === undefined
    ? { id, role, version, type, pack: Number(pack) }
    : { id, role, version, type, pack: Number(pack), serial };
};

/* ── TASK ────────────────────────────────────────────────────────────────────────────────────────────────────────── */

const nameStart = `\\{"task"${colon}"`;
const forbiddenKey = '(?!(?:__proto__|constructor|prototype)")';
const task = new RegExp(
  `^${nameStart}${letter}{1,${nameLengthMax}}"${comma}"args"${colon}\\[${listOf(scalar)}\\]${comma}` +
    `"kwargs"${colon}\\{${listOf(`"${forbiddenKey}${letter}*"${colon}${scalar}`)}\\}${comma}"pack"${colon}${number}\\}$`,
);

/** Characters: of a longer text a regular expression takes too long, or gives it up without a word. */
const taskLengthMax = 4096;

/** The name in a TASK that is right and has no options, as it is written there; undefined for any that is not of the usual form. */
export const familiarTaskName = (text: string): string | undefined => {
  if (text.length > taskLengthMax || !task.test(text)) return undefined;
  if (!text.startsWith(lastTask.start)) {
    const start = text.indexOf('"', '{"task":'.length) + 1;
    const end = text.indexOf('"', start);
    lastTask = { start: text.slice(0, end + 1), name: text.slice(start, end) };
  }
  return lastTask.name;
};

/** Most often it is the same again, and the same string is found sooner where it is looked up. */
let lastTask = { start: '{"task":""', name: "" };
