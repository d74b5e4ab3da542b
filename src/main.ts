#!/usr/bin/env bun
/**
 * The only place that reads argv and sets the exit code; `commands/command.ts` has the exit codes.
 */
import { version } from "../package.json" with { type: "json" };
import { type ExitCode, ExitError } from "./commands/command.ts";
import { printResult } from "./commands/output.ts";
import { lastOutputMs } from "./limits.ts";
import { stderr, stdout } from "./process/streams.ts";

const main = async (argv: readonly string[]): Promise<void> => {
  if (argv.length === 1 && (argv[0] === "--version" || argv[0] === "-v")) {
    return printResult(version);
  }
  const { run } = await import("./commands/run.ts");
  const { hiddenVerbs, rootCommand } = await import("./commands/verbs.ts");
  await run(rootCommand(version), hiddenVerbs, argv);
};

/** Prints an error on stderr, an unexpected one with its stack, and returns the exit code. */
const report = async (failure: unknown): Promise<ExitCode> => {
  const { error } = await import("./process/log.ts");
  const { StartError } = await import("./transport/start-error.ts");
  if (failure instanceof StartError) {
    error(`task-engine: ${failure.message}`);
    return 1;
  }
  if (!(failure instanceof ExitError)) {
    const text = failure instanceof Error ? (failure.stack ?? failure.message) : String(failure);
    error("task-engine: unexpected error, which is a fault of this program:");
    for (const line of text.split("\n")) error(line);
    return 1;
  }
  if (failure.message !== "") error(`task-engine: ${failure.message}`);
  return failure.exitCode;
};

try {
  await main(process.argv.slice(2));
} catch (failure) {
  process.exitCode = await report(failure);
}
// Exiting is faster than closing everything first. A slow reader gets some time for the last
// output.
if (stdout.isOut && stderr.isOut) process.exit();
setTimeout(() => process.exit(), lastOutputMs).unref();
