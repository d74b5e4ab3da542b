/** The signals that stop the engine. */
import { readFileSync } from "node:fs";
import { isatty } from "node:tty";
import { interruptEchoMs } from "../limits.ts";

/** Calls `stop` for each SIGINT and SIGTERM that is meant, and for the first SIGHUP. For the rest of the process's life. */
export const onStopSignals = (stop: () => void): void => {
  process.on("SIGTERM", stop);
  process.on("SIGINT", isUnderLauncher() ? withoutEchoes(stop) : stop);
  // A terminal that closes may send it more than once, and nobody sits there in a hurry.
  process.once("SIGHUP", stop);
  process.on("SIGHUP", () => undefined);
};

/**
 * Whether another program of the same terminal has started this one, as npx does. One Ctrl-C then comes twice, from the
 * terminal and from the launcher that passes it on, and must not be taken for a person's second.
 */
const isUnderLauncher = (): boolean => {
  if (!isatty(0)) return false;
  // proc_pid_stat(5): the name in parentheses may hold anything; behind it come state, parent, process group.
  const [, , group] = readFileSync("/proc/self/stat", "utf8")
    .replace(/^.*\) /s, "")
    .split(" ");
  return Number(group) !== process.pid;
};

const withoutEchoes = (stop: () => void): (() => void) => {
  let lastMs = Number.NEGATIVE_INFINITY;
  return () => {
    const nowMs = performance.now();
    if (nowMs - lastMs < interruptEchoMs) return;
    lastMs = nowMs;
    stop();
  };
};
