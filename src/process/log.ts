/**
 * The log of the engine's processes, one event a line: `say` writes to stdout, `warn` and `error`
 * to stderr. consola adds nothing of its own.
 */
import { type ConsolaInstance, createConsola } from "consola/core";
import { printable, stderr, stdout } from "./streams.ts";

const console_: ConsolaInstance = createConsola({
  // All levels.
  level: 3,
  // Two equal lines are two events.
  throttle: 0,
  reporters: [{ log: ({ level, args }) => (level <= 1 ? stderr : stdout).log(args.join(" ")) }],
});

export const say = (line: string): void => console_.log(printable(line));
export const warn = (line: string): void => console_.warn(printable(line));
export const error = (line: string): void => console_.error(printable(line));
