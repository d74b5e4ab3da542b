/**
 * `serve` runs the engine: router, workers and whatever keeps them alive, until Ctrl-C or SIGTERM, or until its terminal
 * goes. SIGHUP (`kill -HUP`) replaces the task workers one by one, with the task files as they now are, and loses nothing.
 * With keys (`--key`), SIGHUP also reads again who is let in, and cuts off who is no more.
 * Started by systemd (see `service.ts`), it tells it when it is ready, reloads and stops, and that it is sound.
 * It prints the tasks it has found, each process it starts, and one line when all of them serve.
 * Exit: 0 after a clean stop, 1 if it could not start or go on, 2 for wrong flags, 130 if it was told twice to stop.
 */

import { type Config, ConfigError, configFlags, configText, loadConfig } from "../config.ts";
import { stopMsMax } from "../limits.ts";
import { engineFolder } from "../process/folders.ts";
import { warn } from "../process/log.ts";
import { CertificateError } from "../security/certificate.ts";
import { Keyring } from "../supervisor/keyring.ts";
import { reachable, rolesOf } from "../supervisor/roles.ts";
import { onSignals } from "../supervisor/signals.ts";
import { Supervisor } from "../supervisor/supervisor.ts";
import { Notifier } from "../systemd/notify.ts";
import { defineCommand } from "./command.ts";
import { ExitError } from "./exit.ts";

export const serveCommand = defineCommand({
  meta: { name: "serve", description: "Run the engine: router, task workers and data workers" },
  args: configFlags,
  run: async ({ args }) => {
    const sources = { flags: args, environment: { ...process.env }, folder: process.cwd() };
    const config = await loadConfig(sources).catch(explain);
    const settings = configText(sources);
    const address = `tcp://${reachable(config.host)}:${config.port}`;
    const systemd = Notifier.take(process.env, {
      readyStatus: `Serving at ${address}`,
      stopMs: config.graceMs + stopMsMax,
    });
    const supervisor = new Supervisor({
      roles: rolesOf(config),
      restartRules: config,
      graceMs: config.graceMs,
      env: config.env,
      readyLine: `[ENGINE] Ready: send tasks to ${address}`,
      safety: {
        folder: engineFolder(config.state, config.port),
        isPrivate: config.key !== null,
        stopGraceMs: config.stopGraceMs,
      },
      keyring: keyringOf(config),
      onState: (state) => systemd?.tell(state),
    });
    const reload = (): void => {
      if (configText(sources) !== settings)
        warn("[ENGINE] The file of settings has changed: it is read at a start alone; restart the engine for that");
      supervisor.reload();
    };
    onSignals({ stop: () => supervisor.stop(), reload });
    void systemd?.watch(() => supervisor.soundness());
    const outcome = await supervisor.run();
    await systemd?.close();
    if (outcome.type === "failed") throw new ExitError(outcome.reason, 1);
    if (outcome.type === "killed")
      throw new ExitError("stopped at once, on a second signal; running jobs were cut off", 130);
  },
});

const keyringOf = ({ key, authorized }: Config): Keyring | null => {
  if (key === null || authorized === null) return null;
  try {
    return new Keyring(key, authorized);
  } catch (failure) {
    throw failure instanceof CertificateError ? new ExitError(failure.message, 1) : failure;
  }
};

const explain = (failure: unknown): never => {
  throw failure instanceof ConfigError ? new ExitError(failure.message, 1) : failure;
};
