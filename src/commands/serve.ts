/**
 * `serve` runs the engine: router, workers and whatever keeps them alive, until Ctrl-C or SIGTERM, or until its terminal
 * goes. SIGHUP (`kill -HUP`) replaces the task workers one by one, with the task files as they now are, and loses nothing.
 * It prints the tasks it has found, each process it starts, and one line when all of them serve.
 * Exit: 0 after a clean stop, 1 if it could not start or go on, 2 for wrong flags, 130 if it was told twice to stop.
 */
import { defineCommand } from "citty";
import { ConfigError, configFlags, loadConfig } from "../config.ts";
import { outliveReaders } from "../supervisor/output.ts";
import { reachable, rolesOf } from "../supervisor/roles.ts";
import { onSignals } from "../supervisor/signals.ts";
import { Supervisor } from "../supervisor/supervisor.ts";
import { ExitError } from "./exit.ts";

export const serveCommand = defineCommand({
  meta: { name: "serve", description: "Run the engine: router, task workers and data workers" },
  args: configFlags,
  run: async ({ args }) => {
    outliveReaders();
    const config = await loadConfig({ flags: args, environment: process.env, folder: process.cwd() }).catch(explain);
    const supervisor = new Supervisor({
      roles: rolesOf(config),
      restartRules: config,
      graceMs: config.graceMs,
      env: config.env,
      readyLine: `[ENGINE] Ready: send tasks to tcp://${reachable(config.host)}:${config.port}`,
    });
    onSignals({ stop: () => supervisor.stop(), reload: () => supervisor.reload() });
    const outcome = await supervisor.run();
    if (outcome.type === "failed") throw new ExitError(outcome.reason, 1);
    if (outcome.type === "killed")
      throw new ExitError("stopped at once, on a second signal; running jobs were cut off", 130);
  },
});

const explain = (failure: unknown): never => {
  throw failure instanceof ConfigError ? new ExitError(failure.message, 1) : failure;
};
