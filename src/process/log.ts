/**
 * What the engine's processes say: plain lines, one event a line, whole lines at a time. `say` is what a person started the
 * program to see and goes to stdout; `warn` and `error` go to stderr. consola writes them; it adds nothing of its own.
 */
import { type ConsolaInstance, createConsola } from "consola/core";
import { printable, stderr, stdout } from "./streams.ts";

const console_: ConsolaInstance = createConsola({
  // All levels.
  level: 3,
  // Nothing is throttled: two equal lines are two events.
  throttle: 0,
  reporters: [{ log: ({ level, args }) => (level <= 1 ? stderr : stdout).log(args.join(" ")) }],
});

export const say = (line: string): void => console_.log(printable(line));
export const warn = (line: string): void => console_.warn(printable(line));
export const error = (line: string): void => console_.error(printable(line));
