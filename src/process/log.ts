/**
 * The log of the engine's processes, one event a line: `say` writes to stdout, `warn` and `error`
 * to stderr. consola adds nothing of its own.
 */

import { type ConsolaInstance, createConsola } from "consola/core";
import type { LogLine } from "../protocol/engine-topics.ts";
import { printable, stderr, stdout } from "./streams.ts";

const console_: ConsolaInstance = createConsola({
  // All levels.
  level: 3,
  // Two equal lines are two events.
  throttle: 0,
  reporters: [{ log: ({ level, args }) => (level <= 1 ? stderr : stdout).log(args.join(" ")) }],
});

let hear: ((line: LogLine) => void) | null = null;

/** Calls `handler` with each line from now on; null: none any more. */
export const onLogLine = (handler: ((line: LogLine) => void) | null): void => {
  hear = handler;
};

const write = (level: LogLine["level"], line: string, job: number | null): void => {
  const text = printable(line);
  console_[level === "info" ? "log" : level](text);
  hear?.({ at: Date.now() / 1000, level, text, job });
};

/** @param job the router's number of the job that says it; null for none */
export const say = (line: string, job: number | null = null): void => write("info", line, job);
export const warn = (line: string): void => write("warn", line, null);
export const error = (line: string, job: number | null = null): void => write("error", line, job);
