#!/usr/bin/env bun
/**
 * The command tree: the only place that reads argv and sets the exit code. A verb is loaded when it
 * is called, so that `send` does not load the supervisor. `commands/command.ts` has the exit codes.
 */
import type { CommandDef, SubCommandsDef } from "citty";
import { version } from "../package.json" with { type: "json" };
import { type ExitCode, ExitError } from "./commands/command.ts";
import { printResult } from "./commands/output.ts";
import { lastOutputMs } from "./limits.ts";
import { stderr, stdout } from "./process/streams.ts";

const verbs: SubCommandsDef = {
  serve: async () => (await import("./commands/serve.ts")).serveCommand,
  worker: async () => (await import("./commands/worker.ts")).workerCommand,
  send: async () => (await import("./commands/send.ts")).sendCommand,
  init: async () => (await import("./commands/init.ts")).initCommand,
  keygen: async () => (await import("./commands/keygen.ts")).keygenCommand,
  job: async () => (await import("./commands/job.ts")).jobCommand,
  jobs: async () => (await import("./commands/jobs.ts")).jobsCommand,
  result: async () => (await import("./commands/result.ts")).resultCommand,
  logs: async () => (await import("./commands/logs.ts")).logsCommand,
  retry: async () => (await import("./commands/retry.ts")).retryCommand,
  discard: async () => (await import("./commands/retry.ts")).discardCommand,
  cancel: async () => (await import("./commands/cancel.ts")).cancelCommand,
  estop: async () => (await import("./commands/estop.ts")).estopCommand,
  schedule: async () => (await import("./commands/schedule.ts")).scheduleCommand,
  pause: async () => (await import("./commands/pause.ts")).pauseCommand,
  resume: async () => (await import("./commands/pause.ts")).resumeCommand,
  reset: async () => (await import("./commands/reset.ts")).resetCommand,
  reload: async () => (await import("./commands/reload.ts")).reloadCommand,
  status: async () => (await import("./commands/status.ts")).statusCommand,
  token: async () => (await import("./commands/token.ts")).tokenCommand,
  gateway: async () => (await import("./commands/gateway.ts")).gatewayCommand,
  link: async () => (await import("./commands/link.ts")).linkCommandOf(version),
  robots: async () => (await import("./commands/robots.ts")).robotsCommand,
  tasks: async () => (await import("./commands/tasks.ts")).tasksCommand,
  data: async () => (await import("./commands/data.ts")).dataCommand,
  python: async () => (await import("./commands/python.ts")).pythonCommand,
  service: async () => (await import("./commands/service.ts")).serviceCommand,
  bench: async () => (await import("./commands/bench.ts")).benchCommand,
};

/** The roles that `serve` starts as processes of their own. */
const hiddenVerbs: SubCommandsDef = {
  router: async () => (await import("./commands/roles.ts")).routerCommand,
  "task-worker": async () => (await import("./commands/roles.ts")).taskWorkerCommand,
  "data-worker": async () => (await import("./commands/roles.ts")).dataWorkerCommand,
  "source-worker": async () => (await import("./commands/roles.ts")).sourceWorkerCommand,
  journal: async () => (await import("./commands/roles.ts")).journalCommand,
  scan: async () => (await import("./commands/roles.ts")).scanCommand,
  safe: async () => (await import("./commands/roles.ts")).safeCommand,
};

const root: CommandDef = {
  meta: { name: "task-engine", version, description: "A light-weight, secure task queue for Raspberry Pi robots" },
  args: { version: { type: "boolean", alias: "v", description: "Print the version" } },
  subCommands: verbs,
};

const main = async (argv: readonly string[]): Promise<void> => {
  if (argv.length === 1 && (argv[0] === "--version" || argv[0] === "-v")) {
    return printResult(version);
  }
  const { run } = await import("./commands/run.ts");
  await run(root, hiddenVerbs, argv);
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
