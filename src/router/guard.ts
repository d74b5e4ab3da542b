/**
 * What the router does in place of a supervisor that has died. The kernel kills the workers then, and this process what they have
 * started: nothing that ran can bring its own hardware to rest. That is done here, in a process made for it, which dies with this one.
 */

import { safeMs } from "../limits.ts";
import { withChannel } from "../process/channel.ts";
import { endEngine, ownEngineNumber } from "../process/descendants.ts";
import { warn } from "../process/log.ts";
import type { ChildMessage } from "../process/messages.ts";
import { ownProgram, safeFlags, safeVerb, type TasksFolder } from "../process/program.ts";
import { supervisorVariable } from "../process/supervised.ts";

export interface Unsafe {
  readonly folder: TasksFolder;
  /** The task of `on-stop`, if there is one. */
  readonly hook: string | null;
  /** Those with an `onStop` of which jobs may have been running. */
  readonly tasks: readonly string[];
}

/** Ends all that the engine has started, makes safe what ran, and leaves nothing behind of that either. */
export const takeOver = async (unsafe: Unsafe): Promise<void> => {
  const engine = ownEngineNumber();
  if (engine !== null) await endEngine(engine);
  await makeSafe(unsafe);
  if (engine !== null) await endEngine(engine);
};

/** Runs what makes them safe, and waits for it; one that hangs is killed. */
const makeSafe = async (unsafe: Unsafe): Promise<void> => {
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
