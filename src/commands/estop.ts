/**
 * `estop` stops the robot: every job ends, whatever does not let go is killed, and nothing begins until `task-engine reset`, be
 * it that the engine or the machine is started anew meanwhile.
 *
 * Sends CONTROL `estop` to the router and, to an engine on this machine, the same to its supervisor by a socket in the engine's
 * state folder, both at once: neither a router that hangs nor a dead one is in the way. Prints one line as soon as one of
 * them has confirmed it. Exits with 0 then; 1 when the engine said no, 2 for wrong usage, 3 when nobody answered in time.
 */
import { addressIn } from "../client/endpoint.ts";
import { isLoopback } from "../exposure.ts";
import { engineFolder, stateFolders, stopSocketPath } from "../folders.ts";
import type { Stopped } from "../lifecycle.ts";
import { requestTimeoutMs, stopReasonLengthMax } from "../limits.ts";
import { printable } from "../streams.ts";
import { stopBySocket } from "../supervisor/stop-socket.ts";
import { defineCommand } from "./command.ts";
import { connectionFrom, endpointFrom, engineArgs, waitFrom, withEngine } from "./engine.ts";
import { type ExitCode, ExitError, UsageError } from "./exit.ts";
import { printResult } from "./output.ts";

const stateVariable = "TASK_ENGINE_STATE";

export const estopCommand = defineCommand({
  meta: { name: "estop", description: "Stop the robot at once, until it is reset" },
  args: {
    reason: { type: "string", valueHint: "text", description: "Why, for whoever finds it stopped" },
    state: {
      type: "string",
      valueHint: "folder",
      description: `State folder of an engine on this machine (default $${stateVariable}, or else its usual places)`,
    },
    ...engineArgs,
  },
  run: async ({ args: { reason = "", state, ...flags } }) => {
    if (reason.length > stopReasonLengthMax) {
      throw new UsageError(`--reason has ${reason.length} characters; the limit is ${stopReasonLengthMax}`);
    }
    const endpoint = endpointFrom(flags);
    const connection = connectionFrom(flags);
    const silence = AbortSignal.timeout(waitFrom(flags, requestTimeoutMs));
    const ways: Way[] = [["router", withEngine(endpoint, connection, (engine) => engine.estop(reason))]];
    const sockets = socketsOf(endpoint, state);
    if (sockets.length > 0) ways.push(["supervisor", stopByOneOf(sockets, reason, silence)]);
    await printResult(await firstOf(ways));
    // The other way may still wait for an answer that never comes.
    process.exit(0);
  },
});

type Way = readonly [name: string, stopping: Promise<Stopped>];

/** The first word that it is done. Throws what the ways have said if none has done it. */
const firstOf = (ways: readonly Way[]): Promise<string> => {
  const failures: Failure[] = [];
  const attempts = ways.map(async ([name, stopping]) => {
    try {
      return describe(await stopping, name, failures);
    } catch (failure) {
      failures.push({ name, failure });
      throw failure;
    }
  });
  return Promise.any(attempts).catch(() => {
    throw summary(failures);
  });
};

interface Failure {
  readonly name: string;
  readonly failure: unknown;
}

const describe = ({ reason, since }: Stopped, name: string, failures: readonly Failure[]): string => {
  const at = new Date(since * 1000).toISOString();
  const line = `stopped since ${at}${reason === "" ? "" : `: ${printable(reason)}`}; task-engine reset ends it`;
  if (failures.length === 0) return line;
  return `${line} (confirmed by the ${name} alone; ${failures.map(phrase).join("; ")})`;
};

const phrase = ({ failure }: Failure): string => (failure instanceof Error ? failure.message : String(failure));

/** Wrong usage is that alone; what the engine refuses counts more than that somebody else has not answered. */
const summary = (failures: readonly Failure[]): ExitError => {
  const codes = failures.map(({ failure }) => (failure instanceof ExitError ? failure.exitCode : 3));
  const usage = failures.find(({ failure }) => failure instanceof UsageError);
  if (usage !== undefined) return usage.failure as UsageError;
  const exitCode: ExitCode = codes.includes(1) ? 1 : 3;
  return new ExitError(`NOT stopped: ${failures.map(phrase).join("; ")}`, exitCode);
};

/** An engine has one of them. */
const stopByOneOf = (paths: readonly string[], reason: string, silence: AbortSignal): Promise<Stopped> =>
  Promise.any(paths.map((path) => stopBySocket(path, reason, silence))).catch(({ errors }: AggregateError) => {
    throw new Error(errors.map(({ message }: Error) => message).join("; "));
  });

/** Where the supervisor may listen; nowhere, if it is that of another machine. */
const socketsOf = (endpoint: string, state: string | undefined): string[] => {
  const { host, port } = addressIn(endpoint);
  if (state === undefined && host !== "localhost" && !isLoopback(host)) return [];
  const named = state ?? (process.env[stateVariable] || undefined);
  const folders = named === undefined ? stateFolders(process.env) : [named];
  return folders.map((folder) => stopSocketPath(engineFolder(folder, port)));
};
