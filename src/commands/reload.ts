/**
 * `reload` has the engine on this machine read anew its task files and who is let in, and waits until that is done. It is SIGHUP to the
 * engine, and the answer by the socket in its state folder: so it is for the engine's own user and root, as `kill` is.
 *
 * Prints how many tasks there are now. Exits with 0; 1 when the task files or the file of authorized clients are wrong (everything
 * stays as it was, or nobody is let in) or the system refuses, 2 for wrong usage, 3 when there is no such engine or no answer in time.
 */
import { dirname } from "node:path";
import { callTimeoutMs } from "../limits.ts";
import { printable } from "../process/streams.ts";
import { engineOf } from "../supervisor/lock.ts";
import { type ReloadResult, reloadBySocket } from "../supervisor/stop-socket.ts";
import { defineCommand } from "./command.ts";
import { waitFlag, waitFrom } from "./engine.ts";
import { ExitError, UsageError } from "./exit.ts";
import { printDone } from "./output.ts";
import { engineFlags, stateFlag, stopSocketPaths, whereabouts } from "./whereabouts.ts";

export const reloadCommand = defineCommand({
  meta: { name: "reload", description: "Have the engine read its task files and authorized keys anew" },
  args: { state: stateFlag, ...engineFlags, wait: waitFlag(callTimeoutMs) },
  run: async ({ args: { state, ...flags } }) => {
    const where = await whereabouts(flags);
    const paths = stopSocketPaths(where, state);
    if (paths.length === 0) throw new UsageError(`${where.endpoint} is on another machine; run reload there`);
    const silence = AbortSignal.timeout(waitFrom(flags, callTimeoutMs));
    const result = await firstOf(paths.map((path) => reloadBySocket(path, () => hangUp(path), silence)));
    if ("failure" in result) throw new ExitError(printable(result.failure), 1);
    await printDone(`reloaded: ${result.tasks} ${result.tasks === 1 ? "task" : "tasks"}`);
  },
});

/** An engine has one of the sockets. What the system refuses counts more than that nobody listens at another. */
const firstOf = async (reloads: readonly Promise<ReloadResult>[]): Promise<ReloadResult> => {
  try {
    return await Promise.any(reloads);
  } catch (failure) {
    const { errors } = failure as AggregateError;
    const refusal = errors.find((error: unknown) => error instanceof ExitError);
    throw refusal ?? new ExitError(errors.map(({ message }: Error) => message).join("; "), 3);
  }
};

/** Sends SIGHUP to the engine whose socket this is. */
const hangUp = (path: string): void => {
  try {
    const pid = engineOf(dirname(path));
    if (pid === null) throw new Error("no process has its state folder");
    process.kill(pid, "SIGHUP");
  } catch (failure) {
    const why = (failure as Error).message;
    throw new ExitError(`the engine at ${path} cannot be told: ${why}; run reload as its user or as root (sudo)`, 1);
  }
};
