/** Damage to the text of a frame, for properties. */
import fc from "fast-check";

/** The text with `by` in place of `length` characters at `at`, counted round. */
export const spoiled = (text: string, at: number, length: number, by: string): string => {
  const start = at % (text.length + 1);
  return text.slice(0, start) + by + text.slice(start + length);
};
const repeated = [',"speed":2', '"speed":1,"speed":2', '"a":1,', ',"id":"x"', ',"t\\u0061sk":"y"', ',"task":"y"'];
/** Arguments of `spoiled`: mostly pieces of JSON that a frame could be attacked with. */
export const spoilings = fc.tuple(
  fc.nat(),
  fc.nat(3),
  fc.constantFrom(
    ...repeated,
    "",
    '"',
    "}",
    ",",
    "\\",
    "0",
    "-",
    ".",
    "e",
    " ",
    ',"serial":"s"',
    ',"pack":2',
    "\u00e9",
    "\n",
  ),
);
