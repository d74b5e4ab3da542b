/**
 * The router without its supervisor. When the supervisor dies, the kernel kills the workers, and
 * the router kills the programs that they have started. No worker is left to make its own hardware
 * safe, so a process of its own does that, which dies with the router.
 */
import { safeMs } from "../limits.ts";
import { channelDescriptor, withChannel } from "../process/channel.ts";
import { endEngine, ownEngineNumber } from "../process/descendants.ts";
import { warn } from "../process/log.ts";
import type { ChildMessage, PythonTasks } from "../process/messages.ts";
import { ownProgram, safeFlags, safeVerb, type TasksFolder } from "../process/program.ts";
import { supervisorVariable } from "../process/supervised.ts";

interface Unsafe {
  readonly folder: TasksFolder;
  /** The task of `on-stop`, if there is one. */
  readonly hook: string | null;
  /** Tasks with an `onStop` of which jobs may have been running. */
  readonly tasks: readonly string[];
  /** Those of Python, which another program makes safe; null for none. */
  readonly python: PythonTasks | null;
}

interface Command {
  readonly cmd: readonly string[];
  readonly argv0: string;
  /** An open file for the descriptor after the channel. */
  readonly descriptors: readonly number[];
}

/** Ends all programs of the engine, runs the safe stops, and ends the programs of these. */
export const takeOver = async ({ folder, hook, tasks, python }: Unsafe): Promise<void> => {
  const engine = ownEngineNumber();
  if (engine !== null) await endEngine(engine);
  const isPython = (task: string): boolean => python?.names.includes(task) === true;
  await Promise.all([
    makeSafe(
      folder,
      hook !== null && !isPython(hook) ? hook : null,
      tasks.filter((task) => !isPython(task)),
      null,
    ),
    makeSafe(folder, hook !== null && isPython(hook) ? hook : null, tasks.filter(isPython), python),
  ]);
  if (engine !== null) await endEngine(engine);
};

/** @param python null for the tasks of this program */
const makeSafe = async (
  folder: TasksFolder,
  hook: string | null,
  tasks: readonly string[],
  python: PythonTasks | null,
): Promise<void> => {
  if (hook === null && tasks.length === 0) return;
  const why = { code: "INTERRUPTED", message: "the supervisor has died" } as const;
  const argv = [...safeVerb(folder), ...safeFlags(hook, tasks, why)];
  const failure = await commandOf(argv, python)
    .then(run)
    .catch(({ message }: Error) => message);
  if (failure !== null) warn(`[ROUTER-MASTER] The robot may not be safe: its safe stop ${failure}`);
};

const commandOf = async (argv: readonly string[], python: PythonTasks | null): Promise<Command> => {
  if (python === null) return { cmd: [...ownProgram(), ...argv], argv0: process.execPath, descriptors: [] };
  const { programText, pythonCommand, sealedMemory } = await import("../python/program.ts");
  const cmd = pythonCommand(python.interpreter, channelDescriptor + 1, argv);
  return { cmd, argv0: python.interpreter, descriptors: [sealedMemory(Buffer.from(programText))] };
};

/** Returns null, or words on its failure. Rejects with the error of Bun.spawn. */
const run = async ({ cmd, argv0, descriptors }: Command): Promise<string | null> => {
  let fatal: string | null = null;
  // The end of the channel tells the process that the router has died.
  const { channel, started: child } = withChannel(
    (message: ChildMessage) => {
      if (message.type === "fatal") fatal = message.message;
    },
    (theirs) =>
      Bun.spawn({
        cmd: [...cmd],
        argv0,
        env: { ...process.env, [supervisorVariable]: String(process.pid) },
        stdio: ["ignore", "inherit", "inherit", theirs, ...descriptors],
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
