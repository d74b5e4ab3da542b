/**
 * `reload` makes the engine read its task files and authorized keys again, and waits until that is
 * done.
 *
 * On the engine's machine, without `--key`, it sends SIGHUP, which only the engine's own user and
 * root can do, and waits for the result at the socket in its state folder. Otherwise it sends
 * CONTROL `reload`, which takes a key with the right `manage`. Prints the number of tasks.
 *
 * Exits with 0; 1 if a task file is wrong (nothing changes), the file of authorized clients is
 * wrong (no client is let in), or the engine refuses; 2 for wrong usage; 3 if there is no such
 * engine or no answer in time.
 */
import { dirname } from "node:path";
import { callTimeoutMs } from "../limits.ts";
import { printable } from "../process/streams.ts";
import { engineOf } from "../supervisor/state-folder.ts";
import { type ReloadResult, reloadBySocket } from "../supervisor/stop-socket.ts";
import { defineCommand, ExitError } from "./command.ts";
import { type EngineFlags, engineArgs, waitFlag, waitFrom, withEngine } from "./engine.ts";
import { type EngineLocation, locateEngine, stateFlag, stopSocketPaths } from "./locate.ts";
import { printDone } from "./output.ts";

export const reloadCommand = defineCommand({
  meta: { name: "reload", description: "Make the engine read its task files and authorized keys again" },
  args: { state: stateFlag, ...engineArgs, wait: waitFlag(callTimeoutMs) },
  run: async ({ args: { state, ...flags } }) => {
    const location = await locateEngine(flags);
    const paths = stopSocketPaths(location, state);
    const waitMs = waitFrom(flags, callTimeoutMs);
    const timeout = AbortSignal.timeout(waitMs);
    const result =
      paths.length === 0 || flags.key !== undefined
        ? await reloadByRequest(flags, location, waitMs)
        : await firstReload(paths.map((path) => reloadBySocket(path, () => sendHangUp(path), timeout)));
    if ("failure" in result) throw new ExitError(printable(result.failure), 1);
    await printDone(`reloaded: ${result.tasks} ${result.tasks === 1 ? "task" : "tasks"}`);
  },
});

const reloadByRequest = async (flags: EngineFlags, known: EngineLocation, waitMs: number): Promise<ReloadResult> => {
  const { tasks, failure } = await withEngine(flags, (engine) => engine.reload({ waitMs }), { known });
  return failure === null ? { tasks: tasks ?? 0 } : { failure };
};

/**
 * Returns the result of the one socket that an engine has. Throws what the system refused, or else
 * that no engine listens.
 */
const firstReload = async (reloads: readonly Promise<ReloadResult>[]): Promise<ReloadResult> => {
  try {
    return await Promise.any(reloads);
  } catch (failure) {
    const { errors } = failure as AggregateError;
    const refusal = errors.find((error: unknown) => error instanceof ExitError);
    throw refusal ?? new ExitError(errors.map(({ message }: Error) => message).join("; "), 3);
  }
};

/** Sends SIGHUP to the engine that has this socket. */
const sendHangUp = (path: string): void => {
  try {
    const pid = engineOf(dirname(path));
    if (pid === null) throw new Error("no process has its state folder");
    process.kill(pid, "SIGHUP");
  } catch (failure) {
    const why = (failure as Error).message;
    const how = "run reload as its user or as root (sudo), or with a --key that may";
    throw new ExitError(`the engine at ${path} cannot be told: ${why}; ${how}`, 1);
  }
};
