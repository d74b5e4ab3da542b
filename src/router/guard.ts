/**
 * What the router does in place of a supervisor that has died. The kernel kills the workers then, so nothing that ran can bring its
 * own hardware to rest: that is done here, in a process made for it, which dies with this one.
 */
import { readFileSync } from "node:fs";
import { withChannel } from "../channel.ts";
import {
  type ChildMessage,
  ownProgram,
  safeFlags,
  safeVerb,
  supervisorVariable,
  type TasksFolder,
} from "../lifecycle.ts";
import { killMs, safeMs } from "../limits.ts";
import { warn } from "../log.ts";

export interface Unsafe {
  readonly folder: TasksFolder;
  /** The task of `on-stop`, if there is one. */
  readonly hook: string | null;
  /** Those with an `onStop` of which jobs may have been running. */
  readonly tasks: readonly string[];
}

/** ms between two looks at processes that are dying. */
const lookMs = 10;

/** Waits until these processes are gone, and no longer than a killed one may take. */
export const allGone = async (pids: readonly number[]): Promise<void> => {
  const overAtMs = performance.now() + killMs;
  for (let left = pids.filter(isAlive); left.length > 0; left = left.filter(isAlive)) {
    if (performance.now() > overAtMs) {
      warn(`[ROUTER-MASTER] Processes ${left.join(", ")} do not end, and are left to the system`);
      return;
    }
    await Bun.sleep(lookMs);
  }
};

/** proc_pid_stat(5): behind the name, which may hold anything, comes the state. Who is a zombie does nothing any more. */
const isAlive = (pid: number): boolean => {
  try {
    return /\) [^ZX]/.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return false;
  }
};

/** Runs what makes them safe, and waits for it; one that hangs is killed. */
export const makeSafe = async (unsafe: Unsafe): Promise<void> => {
  if (unsafe.hook === null && unsafe.tasks.length === 0) return;
  const failure = await run(commandOf(unsafe)).catch(({ message }: Error) => message);
  if (failure !== null) warn(`[ROUTER-MASTER] The robot may not be safe: what should have made it so ${failure}`);
};

const commandOf = ({ folder, hook, tasks }: Unsafe): readonly string[] => [
  ...ownProgram(),
  ...safeVerb(folder),
  ...safeFlags(hook, tasks, { code: "INTERRUPTED", message: "the supervisor has died" }),
];

/** Null, or why that has come to nothing. Rejects with what Bun.spawn throws if the system has no process to give. */
const run = async (command: readonly string[]): Promise<string | null> => {
  let fatal: string | null = null;
  // By the channel's end it knows that this process has died, as every child does of its supervisor.
  const { channel, started: child } = withChannel(
    (message: ChildMessage) => {
      if (message.type === "fatal") fatal = message.message;
    },
    (theirs) =>
      Bun.spawn({
        cmd: [...command],
        env: { ...process.env, [supervisorVariable]: String(process.pid) },
        stdio: ["ignore", "inherit", "inherit", theirs],
        timeout: safeMs,
        killSignal: "SIGKILL",
      }),
  );
  await child.exited;
  await channel.ended;
  if (child.exitCode === 0) return null;
  if (fatal !== null) return `cannot start: ${fatal}`;
  return child.signalCode === null ? `ended with exit code ${child.exitCode}` : `ended by ${child.signalCode}`;
};
