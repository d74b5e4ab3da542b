/**
 * What the engine's processes say: plain lines, one event a line, whole lines at a time. `say` is what a person started the
 * program to see and goes to stdout; `warn` and `error` go to stderr. consola writes them; it adds nothing of its own.
 */
import { type ConsolaInstance, createConsola } from "consola/core";

const write = (stream: NodeJS.WriteStream, text: string): void => {
  stream.write(`${text}\n`);
};

const console_: ConsolaInstance = createConsola({
  // Every level passes: what is too much is not said in the first place.
  level: 3,
  // Nothing is throttled: two equal lines are two events.
  throttle: 0,
  reporters: [{ log: ({ level, args }) => write(level <= 1 ? process.stderr : process.stdout, args.join(" ")) }],
});

/** Control characters (of a stranger's making, in a log or on a terminal) as escapes: no forged lines, no moved cursor, nothing backwards. */
export const printable = (text: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  text.replace(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, (character) => {
    const code = character.charCodeAt(0);
    return code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
  });

export const say = (line: string): void => console_.log(printable(line));
export const warn = (line: string): void => console_.warn(printable(line));
export const error = (line: string): void => console_.error(printable(line));
