/** The signals that stop the engine, and the one that reloads it. */
import { interruptEchoMs } from "../limits.ts";
import { warn } from "../process/log.ts";
import { isTerminal } from "../process/streams.ts";
import { fs } from "../transport/fs.ts";

/**
 * For the rest of the process's life: calls `stop` for each SIGINT and SIGTERM that is meant, and
 * `reload` for SIGHUP.
 *
 * The system also sends SIGHUP when the terminal goes, and then the engine stops, unless nohup
 * started it. /dev/tty tells the two apart: it can be opened as long as the process has a terminal,
 * and no more when the terminal's own SIGHUP arrives. An engine that never had a terminal (systemd,
 * cron, setsid) always reloads.
 *
 * Ctrl-Z is ignored: workers would go on under a halted supervisor, which could not kill what does
 * not let go.
 */
export const onSignals = ({ stop, reload }: { stop: () => void; reload: () => void }): void => {
  process.on("SIGTERM", stop);
  process.on("SIGTSTP", () =>
    warn("Ctrl-Z is ignored, because a moving robot must not be left alone; Ctrl-C stops the engine"),
  );
  onInterrupt(stop);
  const outlivesTerminal = isHangUpIgnored();
  let hadTerminal = hasTerminal();
  process.on("SIGHUP", () => {
    const hasHungUp = hadTerminal && !hasTerminal();
    // Only the first SIGHUP is the terminal's own; a shell may pass it on as well.
    hadTerminal = hadTerminal && !hasHungUp;
    if (!hasHungUp) reload();
    else if (!outlivesTerminal) stop();
  });
};

/** Calls `interrupt` for each Ctrl-C of a person. */
export const onInterrupt = (interrupt: () => void): void => {
  // Read at the first Ctrl-C: most processes get none.
  let hasLauncher: boolean | undefined;
  let lastMs = Number.NEGATIVE_INFINITY;
  process.on("SIGINT", () => {
    hasLauncher ??= isUnderLauncher();
    const nowMs = performance.now();
    if (hasLauncher && nowMs - lastMs < interruptEchoMs) return;
    lastMs = nowMs;
    interrupt();
  });
};

/**
 * Returns true if another program of the same terminal has started this one and is the leader of
 * its process group, as npx is. One Ctrl-C then arrives twice, from the terminal and from the
 * launcher that passes it on. Taken for a person's second one, the echo would kill running jobs
 * without their grace.
 */
const isUnderLauncher = (): boolean => {
  if (!isTerminal(0)) return false;
  // proc_pid_stat(5): behind the name in parentheses, which may contain anything, come state,
  // parent and process group.
  const stat = fs().readFileSync("/proc/self/stat", "utf8");
  const [, , group] = stat.replace(/^.*\) /s, "").split(" ");
  return Number(group) !== process.pid;
};

const hasTerminal = (): boolean => {
  try {
    fs().closeSync(fs().openSync("/dev/tty", "r"));
    return true;
  } catch {
    return false;
  }
};

/** Returns true if SIGHUP is ignored, as by nohup. proc_pid_status(5): bit 0 is signal 1. */
const isHangUpIgnored = (): boolean => {
  const [, mask = "0"] = /^SigIgn:\s*([0-9a-f]+)$/m.exec(fs().readFileSync("/proc/self/status", "utf8")) ?? [];
  return (BigInt(`0x${mask}`) & 1n) === 1n;
};
