/**
 * `estop` stops the robot: every job ends, a worker that does not let go is killed, and nothing
 * begins until `task-engine reset`, also after a restart of the engine or of the machine.
 *
 * Sends CONTROL `estop` to the router and, to an engine on this machine, the same to its supervisor
 * by a socket in the state folder, both at once: so neither a hanging router nor a dead one is in
 * the way. Prints one line as soon as one of them has confirmed that the stop is on the disk.
 *
 * Exits with 0 then; with 1 when the engine refused, or has stopped but cannot put the stop on the
 * disk, or when stdout cannot be written (the error says that the robot is stopped); with 2 for
 * wrong usage; with 3 when nothing answered in time.
 */

import { requestTimeoutMs, stopAnswerMs, stopReasonLengthMax } from "../limits.ts";
import { warn } from "../process/log.ts";
import { printable } from "../process/streams.ts";
import type { StopResult } from "../protocol/blocked.ts";
import { stopBySocket } from "../supervisor/stop-socket.ts";
import { defineCommand } from "./command.ts";
import { connectionFrom, engineArgs, waitFrom, withEngine } from "./engine.ts";
import { type ExitCode, ExitError, UsageError } from "./exit.ts";
import { printDone } from "./output.ts";
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
    await printDone(await bestOf(ways));
    // The other way may still wait for an answer that never comes.
    process.exit(0);
  },
});

type Way = readonly [name: string, stopping: Promise<StopResult>];

interface Answer {
  readonly name: string;
  readonly stop: StopResult;
}

interface Failure {
  readonly name: string;
  readonly failure: unknown;
}

/**
 * The first answer with `durable` true. One without waits for a better one by the other way, within
 * the time that the engine itself may take. Throws the failures of both if there is no answer.
 */
const bestOf = async (ways: readonly Way[]): Promise<string> => {
  const overAtMs = performance.now() + stopAnswerMs;
  const failures: Failure[] = [];
  const attempts = ways.map(async ([name, stopping]): Promise<Answer> => {
    try {
      return { name, stop: await stopping };
    } catch (failure) {
      failures.push({ name, failure });
      throw failure;
    }
  });
  const durable = attempts.map(async (attempt) => {
    const answer = await attempt;
    return answer.stop.durable ? answer : Promise.reject(answer);
  });
  const patient = async (): Promise<Answer> => {
    const first = await Promise.any(attempts);
    await Promise.race([Promise.allSettled(attempts), Bun.sleep(Math.max(0, overAtMs - performance.now()))]);
    return first;
  };
  const answer = await Promise.any([...durable, patient()]).catch(() => null);
  if (answer === null) throw summary(failures);
  return describe(answer, failures);
};

/** Throws ExitError where it does not last. */
const describe = ({ name, stop }: Answer, failures: readonly Failure[]): string => {
  const { reason, since, durable, why = "the engine does not say whether it is on its disk" } = stop;
  const line = `stopped since ${new Date(since * 1000).toISOString()}${reason === "" ? "" : `: ${printable(reason)}`}`;
  const others = failures.length === 0 ? "" : ` (confirmed by the ${name} alone; ${failures.map(phrase).join("; ")})`;
  if (durable) return `${line}; task-engine reset ends it${others}`;
  throw new ExitError(
    `${line}, but the stop will not outlast this engine: ${printable(why)}; mend that and run estop again${others}`,
    1,
  );
};

const phrase = ({ failure }: Failure): string => (failure instanceof Error ? failure.message : String(failure));

/** Wrong usage comes first; a refusal of the engine counts more than a missing answer. */
const summary = (failures: readonly Failure[]): ExitError => {
  const codes = failures.map(({ failure }) => (failure instanceof ExitError ? failure.exitCode : 3));
  const usage = failures.find(({ failure }) => failure instanceof UsageError);
  if (usage !== undefined) return usage.failure as UsageError;
  const exitCode: ExitCode = codes.includes(1) ? 1 : 3;
  // Where nobody has answered in time, it may have been heard all the same.
  const what = exitCode === 1 ? "NOT stopped" : "NOT known to be stopped";
  return new ExitError(`${what}: ${failures.map(phrase).join("; ")}`, exitCode);
};

/** An engine has one of them. */
const stopByOneOf = (paths: readonly string[], reason: string, silence: AbortSignal): Promise<StopResult> =>
  Promise.any(paths.map((path) => stopBySocket(path, reason, silence))).catch(({ errors }: AggregateError) => {
    throw new Error(errors.map(({ message }: Error) => message).join("; "));
  });
