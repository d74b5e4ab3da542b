/**
 * `estop --nats` stops robots of a fleet: one, those of a group, or all. Each confirms for itself.
 *
 * Tells all of them at once, and those of the roster that have not answered again and again for a
 * second. Prints a line a robot: stopped, stopped but not on its disk, refused, or no answer.
 *
 * Exits with 0 if every one has stopped for good; else 1; 2 for wrong usage; 3 if NATS does not
 * answer.
 */
import type { StopOutcome } from "../client/fleet.ts";
import { fleetAnswerMs } from "../limits.ts";
import { printable } from "../process/streams.ts";
import type { FleetTarget } from "../protocol/fleet.ts";
import { targetText } from "../protocol/fleet.ts";
import { ExitError, UsageError } from "./command.ts";
import { usageErrorFrom } from "./engine.ts";
import { type FleetFlags, withNats } from "./fleet.ts";
import { printDone } from "./output.ts";

export const stopRobots = async (
  flags: FleetFlags & { readonly all?: boolean | undefined },
  reason: string,
): Promise<void> => {
  const target = await targetOf(flags);
  const { stopFleet } = await import("../client/fleet.ts");
  await withNats(flags, async (nats) => {
    const { outcomes, unknown } = await stopFleet(nats, target, reason);
    for (const outcome of outcomes) await printDone(lineOf(outcome));
    if (unknown !== null) throw new ExitError(`${unknown}; robots that are not listed may still move`, 1);
    if (outcomes.length === 0) throw new ExitError(`the roster has no robot of the ${targetText(target)}`, 1);
    const left = outcomes.filter((outcome) => !isStopped(outcome)).map(({ robot }) => robot);
    if (left.length > 0) throw new ExitError(`not stopped for sure: ${left.join(", ")}`, 1);
  }).catch((error: unknown) => {
    if (!(error instanceof ExitError) || error.exitCode !== 3) throw error;
    throw new ExitError(`NOT known to be stopped: ${error.message}`, 3);
  });
};

const targetOf = async ({
  robot,
  group,
  all,
}: FleetFlags & { readonly all?: boolean | undefined }): Promise<FleetTarget> => {
  if ([robot, group, all].filter((given) => given !== undefined).length !== 1) {
    throw new UsageError("say which robots: --robot NAME, --group NAME or --all");
  }
  const { checkedGroup, checkedRobot } = await import("../client/robot.ts");
  return usageErrorFrom(() => {
    if (robot !== undefined) return { robot: checkedRobot(robot) };
    return group === undefined ? { all: true } : { group: checkedGroup(group) };
  });
};

const isStopped = (outcome: StopOutcome): boolean => "stop" in outcome && outcome.stop.durable;

const lineOf = (outcome: StopOutcome): string => {
  const { robot } = outcome;
  if ("failure" in outcome) {
    if (outcome.failure === null) return `${robot}: no answer within ${fleetAnswerMs} ms`;
    return `${robot}: NOT stopped: ${printable(outcome.failure)}`;
  }
  const { reason, since, durable, why = "it does not say why" } = outcome.stop;
  const text = `${robot}: stopped since ${new Date(since * 1000).toISOString()}: ${printable(reason)}`;
  return durable ? text : `${text}, but the stop will not outlast its engine: ${printable(why)}`;
};
