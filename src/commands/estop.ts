/**
 * `estop` stops the robot: every job ends, whatever does not let go is killed, and nothing begins until `task-engine reset`, be
 * it that the engine or the machine is started anew meanwhile.
 *
 * Sends CONTROL `estop` to the router and, to an engine on this machine, the same to its supervisor by a socket in the engine's
 * state folder, both at once: neither a router that hangs nor a dead one is in the way. Prints one line as soon as one of
 * them has confirmed it. Exits with 0 then; 1 when the engine said no, 2 for wrong usage, 3 when nobody answered in time.
 */
import type { Stopped } from "../lifecycle.ts";
import { requestTimeoutMs, stopReasonLengthMax } from "../limits.ts";
import { warn } from "../log.ts";
import { printable } from "../streams.ts";
import { stopBySocket } from "../supervisor/stop-socket.ts";
import { defineCommand } from "./command.ts";
import { connectionFrom, engineArgs, waitFrom, withEngine } from "./engine.ts";
import { type ExitCode, ExitError, UsageError } from "./exit.ts";
import { printResult } from "./output.ts";
import { stateFlag, stopSocketPaths, whereabouts } from "./whereabouts.ts";

export const estopCommand = defineCommand({
  meta: { name: "estop", description: "Stop the robot at once, until it is reset" },
  args: {
    reason: { type: "string", valueHint: "text", description: "Why, for whoever finds it stopped" },
    state: stateFlag,
    ...engineArgs,
  },
  run: async ({ args: { reason = "", state, ...flags } }) => {
    if (reason.length > stopReasonLengthMax) {
      throw new UsageError(`--reason has ${reason.length} characters; the limit is ${stopReasonLengthMax}`);
    }
    // Settings that cannot be read must not be in the way of a stop.
    const where = await whereabouts(flags, warn);
    const connection = connectionFrom(flags);
    const silence = AbortSignal.timeout(waitFrom(flags, requestTimeoutMs));
    const ways: Way[] = [["router", withEngine(where.endpoint, connection, (engine) => engine.estop(reason))]];
    const sockets = stopSocketPaths(where, state);
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
