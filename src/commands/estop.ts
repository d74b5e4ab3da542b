/**
 * `estop` stops the robot: every job ends, a worker that does not let go is killed, and no job
 * begins until `task-engine reset`, not even after a restart of the engine or of the machine.
 *
 * Sends CONTROL `estop` to the router and, for an engine on this machine, the same to its
 * supervisor by the socket in its state folder, both at once, so that it works past a router that
 * hangs or is dead. Prints one line as soon as one of them has confirmed that the stop is on disk.
 *
 * With `--nats` it stops robots of a fleet, see `fleet-stop.ts`.
 *
 * Exits with 0 then; 1 if the engine refused, or has stopped but cannot put the stop on disk, or if
 * stdout cannot be written (the error says that the robot is stopped); 2 for wrong usage; 3 if
 * nothing answered in time.
 */
import { requestTimeoutMs, stopAnswerMs, stopReasonLengthMax } from "../limits.ts";
import { warn } from "../process/log.ts";
import { printable } from "../process/streams.ts";
import type { StopResult } from "../protocol/blocked.ts";
import { stopBySocket } from "../supervisor/stop-socket.ts";
import { defineCommand, ExitError, UsageError } from "./command.ts";
import { engineArgs, waitFrom, withEngine } from "./engine.ts";
import { fleetArgs, groupFlag, isForFleet } from "./fleet.ts";
import { locateEngine, stateFlag, stopSocketPaths } from "./locate.ts";
import { printDone } from "./output.ts";

export const estopCommand = defineCommand({
  meta: { name: "estop", description: "Stop the robot at once, until it is reset" },
  args: {
    reason: { type: "string", valueHint: "text", description: "The reason, which status and errors show" },
    state: stateFlag,
    ...engineArgs,
    ...fleetArgs,
    group: { ...groupFlag, description: "With --nats: all robots of the group" },
    all: { type: "boolean", description: "With --nats: all robots" },
  },
  run: async ({ args: { reason = "", state, ...flags } }) => {
    if (reason.length > stopReasonLengthMax) {
      throw new UsageError(`--reason has ${reason.length} characters; the limit is ${stopReasonLengthMax}`);
    }
    if (isForFleet({ state, ...flags })) {
      const { stopRobots } = await import("./fleet-stop.ts");
      return stopRobots(flags, reason);
    }
    // Settings that cannot be read must not prevent a stop.
    const location = await locateEngine(flags, warn);
    const timeout = AbortSignal.timeout(waitFrom(flags, requestTimeoutMs));
    const known = state === undefined ? location : { ...location, state };
    const ways: Way[] = [["router", withEngine(flags, (engine) => engine.estop(reason), { known })]];
    const sockets = stopSocketPaths(location, state);
    if (sockets.length > 0) ways.push(["supervisor", stopByAnyOf(sockets, reason, timeout)]);
    await printDone(await firstDurable(ways));
    // The other way may still wait for an answer that never comes.
    process.exit(0);
  },
});

type Way = readonly [name: string, stopping: Promise<StopResult>];

interface StopAnswer {
  readonly name: string;
  readonly stop: StopResult;
}

/**
 * Waits for the first answer that is durable and returns its line. An answer that is not waits for
 * a better one by the other way, for at most `stopAnswerMs`, and then throws ExitError. Throws the
 * errors of both ways if there is no answer.
 */
const firstDurable = async (ways: readonly Way[]): Promise<string> => {
  const overAtMs = performance.now() + stopAnswerMs;
  const failures: unknown[] = [];
  const attempts = ways.map(async ([name, stopping]): Promise<StopAnswer> => {
    try {
      return { name, stop: await stopping };
    } catch (failure) {
      failures.push(failure);
      throw failure;
    }
  });
  const durable = attempts.map(async (attempt) => {
    const answer = await attempt;
    return answer.stop.durable ? answer : Promise.reject(answer);
  });
  const patient = async (): Promise<StopAnswer> => {
    const first = await Promise.any(attempts);
    await Promise.race([Promise.allSettled(attempts), Bun.sleep(Math.max(0, overAtMs - performance.now()))]);
    return first;
  };
  const answer = await Promise.any([...durable, patient()]).catch(() => null);
  if (answer === null) throw notStopped(failures);
  return describeAnswer(answer, failures);
};

/** Throws ExitError if the stop is not on disk. */
const describeAnswer = ({ name, stop }: StopAnswer, failures: readonly unknown[]): string => {
  const { reason, since, durable, why = "the engine does not say whether it is on its disk" } = stop;
  const line = `stopped since ${new Date(since * 1000).toISOString()}${reason === "" ? "" : `: ${printable(reason)}`}`;
  const others = failures.length === 0 ? "" : ` (confirmed by the ${name} alone; ${messagesOf(failures)})`;
  if (durable) return `${line}; task-engine reset ends it${others}`;
  throw new ExitError(
    `${line}, but the stop will not outlast this engine: ${printable(why)}; fix that and run estop again${others}`,
    1,
  );
};

/** Wrong usage takes precedence; a refusal by the engine counts more than a missing answer. */
const notStopped = (failures: readonly unknown[]): ExitError => {
  const usage = failures.find((failure) => failure instanceof UsageError);
  if (usage !== undefined) return usage;
  const isRefused = failures.some((failure) => failure instanceof ExitError && failure.exitCode === 1);
  // An engine that has not answered in time may have received the stop.
  const outcome = isRefused ? "NOT stopped" : "NOT known to be stopped";
  return new ExitError(`${outcome}: ${messagesOf(failures)}`, isRefused ? 1 : 3);
};

const messagesOf = (failures: readonly unknown[]): string =>
  failures.map((failure) => (failure instanceof Error ? failure.message : String(failure))).join("; ");

/** Stops the engine by the one of the sockets at which it listens. */
const stopByAnyOf = (paths: readonly string[], reason: string, timeout: AbortSignal): Promise<StopResult> =>
  Promise.any(paths.map((path) => stopBySocket(path, reason, timeout))).catch(({ errors }: AggregateError) => {
    throw new Error(messagesOf(errors));
  });
