/** Spoils messages: whole frames, their text, their fields. All chance comes from one seeded generator. */
import type { Random } from "../broker/simulation/random.ts";
import type { Message } from "./messages.ts";

/** messages in a hundred that are left as they are: without them the engine would never get to its deeper states. */
const validShare = 0.15;

export const mutate = (message: Message, random: Random): Message => {
  let mutated = message;
  if (random.chance(validShare)) return mutated;
  for (let times = random.whole(1, 3); times > 0; times--) {
    mutated = random.pick([mutateFrames, mutateText, mutateField])(mutated, random);
  }
  return mutated.length === 0 ? [new Uint8Array(0)] : mutated;
};

/* ── Frames ──────────────────────────────────────────────────────────────────────────────────────────────────────── */

const noise = (random: Random): Uint8Array =>
  Uint8Array.from({ length: random.whole(0, 64) }, () => random.whole(0, 255));

const mutateFrames = (message: Message, random: Random): Message => {
  const index = random.whole(0, Math.max(0, message.length - 1));
  const frame = message[index] ?? new Uint8Array(0);
  const with_ = (...frames: Message): Message => message.toSpliced(index, 1, ...frames);
  switch (random.whole(0, 8)) {
    case 0:
      return with_();
    case 1:
      return with_(frame, frame);
    case 2:
      return with_(new Uint8Array(0));
    case 3:
      return with_(noise(random));
    case 4:
      return with_(noise(random), frame);
    case 5:
      return message.toReversed();
    case 6:
      return with_(frame.subarray(0, random.whole(0, frame.length)));
    case 7:
      return with_(flipped(frame, random));
    default:
      // Rarely: more frames than any message may have.
      return random.chance(0.005) ? with_(...Array<Uint8Array>(1200).fill(frame)) : with_(frame, noise(random));
  }
};

const flipped = (frame: Uint8Array, random: Random): Uint8Array => {
  const copy = Uint8Array.from(frame);
  for (let times = random.whole(1, 4); times > 0 && copy.length > 0; times--) {
    copy[random.whole(0, copy.length - 1)] = random.whole(0, 255);
  }
  return copy;
};

/* ── Text ────────────────────────────────────────────────────────────────────────────────────────────────────────── */

const wholeTexts = [
  "null",
  "[]",
  "{}",
  "0",
  '""',
  "NaN",
  "{",
  '{"a":1,}',
  "\ufeff{}",
  '{"__proto__":{"polluted":1}}',
  `${'{"a":'.repeat(70)}1${"}".repeat(70)}`,
  "[".repeat(10_000),
  `[${Array(2_000).fill("1e300").join()}]`,
];
const insertedKeys = [
  '"__proto__":{"polluted":1},',
  '"constructor":{"prototype":{"polluted":1}},',
  '"prototype":{"polluted":1},',
  '"toString":1,"hasOwnProperty":1,"valueOf":null,',
  '"then":1,"toJSON":1,"length":1e9,',
  '"type":"READY","type":"REQ",',
  '"\\u005f_proto__":{"polluted":1},',
];

const mutateText = (message: Message, random: Random): Message => {
  const index = random.whole(0, Math.max(0, message.length - 1));
  const text = Buffer.from(message[index] ?? []).toString("latin1");
  const braces = [...text.matchAll(/\{/g)];
  let mutated = random.pick(wholeTexts);
  if (braces.length > 0 && random.chance(0.5)) {
    const at = random.pick(braces).index + 1;
    mutated = `${text.slice(0, at)}${random.pick([...insertedKeys, repeatedKey(text, random)])}${text.slice(at)}`;
  } else if (random.chance(0.5)) {
    mutated = text.replace(/[\d.]+/, () => random.pick(numbers));
  }
  return message.toSpliced(index, 1, Buffer.from(mutated, "latin1"));
};

/** One of its keys, as it is or escaped, with another value: at the top of the text it is there twice then. */
const repeatedKey = (text: string, random: Random): string => {
  const keys = [...text.matchAll(/"(\w+)" ?:/g)].map(([, key = ""]) => key);
  const key = keys.length === 0 ? "task" : random.pick(keys);
  const code = key.charCodeAt(0).toString(16).padStart(4, "0");
  return `"${random.chance(0.5) ? key : `\\u${code}${key.slice(1)}`}":${random.pick(["1", '"fly"', "[]", "{}", "null"])},`;
};

const numbers = ["1e999", "-0", "9007199254740993", "1e308", "-1", "0.1", "00", "1e-999", "NaN", "0x10", '"0.2"'];

/* ── Fields ──────────────────────────────────────────────────────────────────────────────────────────────────────── */

const values: readonly unknown[] = [
  null,
  true,
  -1,
  0,
  2 ** 31,
  2 ** 53 - 1,
  1e308,
  "",
  "\u0000",
  "\ud800",
  "\u001b[2J\nforged",
  "__proto__",
  "constructor",
  "task_",
  "READY",
  "count",
  "../../etc/passwd",
  "x".repeat(70_000),
  [],
  {},
  [[[[[]]]]],
  Array(1_000).fill(1),
  { toString: null, valueOf: "x" },
];

const mutateField = (message: Message, random: Random): Message => {
  const index = random.whole(0, Math.max(0, message.length - 1));
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(message[index] ?? []).toString());
  } catch {
    return mutateFrames(message, random);
  }
  let place = parsed;
  for (;;) {
    if (typeof place !== "object" || place === null) return mutateText(message, random);
    const fields = place as Record<string, unknown>;
    const keys = Object.keys(fields);
    const key = keys.length === 0 ? "new" : random.pick(keys);
    const next = fields[key];
    if (typeof next === "object" && next !== null && random.chance(0.6)) {
      place = next;
      continue;
    }
    if (random.chance(0.2) && !Array.isArray(place)) delete fields[key];
    else fields[key] = random.pick(values);
    return message.toSpliced(index, 1, Buffer.from(JSON.stringify(parsed)));
  }
};
