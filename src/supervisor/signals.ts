/** The signals that stop the engine, and the one that renews its task workers. */
import { interruptEchoMs } from "../limits.ts";
import { warn } from "../process/log.ts";
import { isTerminal } from "../process/streams.ts";
import { fs } from "../transport/fs.ts";

/**
 * For the rest of the process's life: calls `stop` for each SIGINT and SIGTERM that is meant, and `reload` for SIGHUP.
 *
 * SIGHUP is also what the system sends when the terminal goes, and then the engine stops with it, unless it was started by
 * nohup. The two are told apart by /dev/tty: it can be opened as long as the process has a terminal, and no more at the
 * moment that the terminal's own SIGHUP arrives. An engine that never had one (systemd, cron, setsid) always reloads.
 *
 * Ctrl-Z does nothing: workers would go on without a supervisor that is stopped, and nobody would end what does not let go.
 */
export const onSignals = ({ stop, reload }: { stop: () => void; reload: () => void }): void => {
  process.on("SIGTERM", stop);
  process.on("SIGTSTP", () =>
    warn("Ctrl-Z is ignored, for what moves must not be left alone; Ctrl-C stops the engine"),
  );
  onInterrupt(stop);
  const outlivesTerminal = isHangUpIgnored();
  let hadTerminal = hasTerminal();
  process.on("SIGHUP", () => {
    const hasHungUp = hadTerminal && !hasTerminal();
    // Only the first SIGHUP after a terminal is gone is its own; a shell that passes it on as well finds an engine that stops.
    hadTerminal = hadTerminal && !hasHungUp;
    if (!hasHungUp) reload();
    else if (!outlivesTerminal) stop();
  });
};

/** Calls `interrupt` for each Ctrl-C that a person meant. */
export const onInterrupt = (interrupt: () => void): void => {
  // Most are never interrupted, and need not know.
  let heed: (() => void) | undefined;
  process.on("SIGINT", () => {
    heed ??= isUnderLauncher() ? withoutEchoes(interrupt) : interrupt;
    heed();
  });
};

const hasTerminal = (): boolean => {
  try {
    fs().closeSync(fs().openSync("/dev/tty", "r"));
    return true;
  } catch {
    return false;
  }
};

/** Whether whoever started this process wants it to ignore SIGHUP, as nohup does. proc_pid_status(5): bit 0 is signal 1. */
const isHangUpIgnored = (): boolean => {
  const [, mask = "0"] = /^SigIgn:\s*([0-9a-f]+)$/m.exec(fs().readFileSync("/proc/self/status", "utf8")) ?? [];
  return (BigInt(`0x${mask}`) & 1n) === 1n;
};

/**
 * Whether another program of the same terminal has started this one, as npx does. One Ctrl-C then comes twice, from the
 * terminal and from the launcher that passes it on, and must not be taken for a person's second.
 */
const isUnderLauncher = (): boolean => {
  if (!isTerminal(0)) return false;
  // proc_pid_stat(5): the name in parentheses may hold anything; behind it come state, parent, process group.
  const [, , group] = fs()
    .readFileSync("/proc/self/stat", "utf8")
    .replace(/^.*\) /s, "")
    .split(" ");
  return Number(group) !== process.pid;
};

const withoutEchoes = (interrupt: () => void): (() => void) => {
  let lastMs = Number.NEGATIVE_INFINITY;
  return () => {
    const nowMs = performance.now();
    if (nowMs - lastMs < interruptEchoMs) return;
    lastMs = nowMs;
    interrupt();
  };
};
