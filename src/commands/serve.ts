/**
 * `serve` runs the engine, its router, workers and supervisor, until Ctrl-C or SIGTERM, or until
 * its terminal is closed. It prints the tasks that it has found, each process that it starts, and
 * one line once all of them are ready.
 *
 * SIGHUP (`kill -HUP`) replaces the task workers one by one, with the task files as they now are,
 * without losing a job. With keys (`--key`) it also reads the authorized clients again and
 * disconnects those that are no longer authorized. Under systemd (see `service.ts`) it notifies
 * systemd of ready, reload and stop, and feeds its watchdog.
 *
 * Exits with 0 after a clean stop; 1 if it could not start or continue; 2 for wrong flags; 130 if
 * it was told twice to stop.
 */
import { type Config, ConfigError, configFlags, configText, loadConfig } from "../config.ts";
import { stopMsMax } from "../limits.ts";
import { warn } from "../process/log.ts";
import { CertificateError } from "../security/certificate.ts";
import { engineFolder } from "../security/state-folders.ts";
import { Keyring } from "../supervisor/keyring.ts";
import { reachable, rolesOf } from "../supervisor/roles.ts";
import { onSignals } from "../supervisor/signals.ts";
import { Supervisor } from "../supervisor/supervisor.ts";
import { Notifier } from "../systemd/notify.ts";
import { StartError } from "../transport/start-error.ts";
import { defineCommand, ExitError } from "./command.ts";

export const serveCommand = defineCommand({
  meta: { name: "serve", description: "Run the engine: router, task workers and data workers" },
  args: configFlags,
  run: async ({ args }) => {
    const sources = { flags: args, environment: { ...process.env }, folder: process.cwd() };
    const config = await loadConfig(sources).catch(throwExitError);
    await tryHttp(config);
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
      schedules: config.schedules,
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
      if (configText(sources) !== settings) {
        warn("[ENGINE] The file of settings has changed; it is read only at start, so restart the engine for that");
      }
      supervisor.reload();
    };
    onSignals({ stop: () => supervisor.stop(), reload });
    void systemd?.watch(() => supervisor.soundness());
    const outcome = await supervisor.run();
    await systemd?.close();
    if (outcome.type === "failed") throw new ExitError(outcome.reason, 1);
    if (outcome.type === "killed") {
      throw new ExitError("stopped at once, on a second signal; running jobs were cut off", 130);
    }
  },
});

/**
 * The gateway starts last, and is started again when it dies: whoever types a port that is taken
 * has to hear of it now.
 */
const tryHttp = async ({ http, tokens, tlsCert, tlsKey }: Config): Promise<void> => {
  if (http === null) return;
  const { tryGateway } = await import("./gateway.ts");
  await tryGateway(http, { tokens, cert: tlsCert, key: tlsKey }).catch((failure: unknown) => {
    throw failure instanceof StartError ? new ExitError(`http: ${failure.message}`, 1) : failure;
  });
};

const keyringOf = ({ key, authorized }: Config): Keyring | null => {
  if (key === null || authorized === null) return null;
  try {
    return new Keyring(key, authorized);
  } catch (failure) {
    throw failure instanceof CertificateError ? new ExitError(failure.message, 1) : failure;
  }
};

const throwExitError = (failure: unknown): never => {
  throw failure instanceof ConfigError ? new ExitError(failure.message, 1) : failure;
};
