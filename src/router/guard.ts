/**
 * The router without its supervisor. When the supervisor dies, the kernel kills the workers, and
 * the router kills the programs that they have started. No worker is left to make its own hardware
 * safe, so a process of its own does that, which dies with the router.
 */
import { safeMs } from "../limits.ts";
import { withChannel } from "../process/channel.ts";
import { endEngine, ownEngineNumber } from "../process/descendants.ts";
import { warn } from "../process/log.ts";
import type { ChildMessage } from "../process/messages.ts";
import { ownProgram, safeFlags, safeVerb, type TasksFolder } from "../process/program.ts";
import { supervisorVariable } from "../process/supervised.ts";

interface Unsafe {
  readonly folder: TasksFolder;
  /** The task of `on-stop`, if there is one. */
  readonly hook: string | null;
  /** Tasks with an `onStop` of which jobs may have been running. */
  readonly tasks: readonly string[];
}

/** Ends all programs of the engine, runs the safe stops, and ends the programs of these. */
export const takeOver = async ({ folder, hook, tasks }: Unsafe): Promise<void> => {
  const engine = ownEngineNumber();
  if (engine !== null) await endEngine(engine);
  if (hook !== null || tasks.length > 0) {
    const why = { code: "INTERRUPTED", message: "the supervisor has died" } as const;
    const command = [...ownProgram(), ...safeVerb(folder), ...safeFlags(hook, tasks, why)];
    const failure = await run(command).catch(({ message }: Error) => message);
    if (failure !== null) warn(`[ROUTER-MASTER] The robot may not be safe: its safe stop ${failure}`);
  }
  if (engine !== null) await endEngine(engine);
};

/** Returns null, or words on its failure. Rejects with the error of Bun.spawn. */
const run = async (cmd: string[]): Promise<string | null> => {
  let fatal: string | null = null;
  // The end of the channel tells the process that the router has died.
  const { channel, started: child } = withChannel(
    (message: ChildMessage) => {
      if (message.type === "fatal") fatal = message.message;
    },
    (theirs) =>
      Bun.spawn({
        cmd,
        argv0: process.execPath,
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
