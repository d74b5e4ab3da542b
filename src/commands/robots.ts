/**
 * `robots` lists the robots of a fleet, those that do not answer too; `robots forget NAME` removes
 * one that does not belong to it any more.
 *
 * Asks all robots over NATS, and reads the roster of the fleet. Prints a line a robot, with
 * `--json` a list.
 *
 * Exits with 0; 1 if the roster cannot be read or has no such robot; 2 for wrong usage; 3 if NATS
 * does not answer.
 */
import type { FleetMember } from "../client/fleet.ts";
import { printable, stderr } from "../process/streams.ts";
import { defineCommand, ExitError, UsageError } from "./command.ts";
import { usageErrorFrom } from "./engine.ts";
import { natsFileArgs, withNats } from "./fleet.ts";
import { printDone, printResult } from "./output.ts";

export const robotsCommand = defineCommand({
  meta: { name: "robots", description: "List the robots of a fleet on NATS" },
  args: {
    action: { type: "positional", required: false, description: "forget, to remove a robot from the list" },
    name: { type: "positional", required: false, description: "The robot to forget" },
    nats: { type: "string", required: true, valueHint: "url", description: "NATS' server, such as nats://hub:4222" },
    ...natsFileArgs,
    json: { type: "boolean", description: "Print a list as JSON" },
  },
  run: async ({ args }) => {
    const { action, name } = args;
    if (action !== undefined && action !== "forget") {
      throw new UsageError(`ACTION is ${JSON.stringify(action)}; it can be forget`);
    }
    if (action !== undefined && name === undefined) throw new UsageError("NAME is missing: the robot to forget");
    if (name !== undefined) {
      const { checkedRobot } = await import("../client/robot.ts");
      usageErrorFrom(() => checkedRobot(name));
    }
    const { forgetRobot, listRobots } = await import("../client/fleet.ts");
    const { powerCutNote } = await import("../client/jetstream.ts");
    await withNats(args, async (nats) => {
      if (name !== undefined) {
        if (!(await forgetRobot(nats, name))) throw new ExitError(`the fleet knows no robot ${name}`, 1);
        return printDone(`${name} is forgotten; if it is still there, it comes back`);
      }
      const members = await listRobots(nats);
      const { isCertain, text } = powerCutNote(nats.info);
      if (isCertain) stderr.log(`task-engine: ${text}`);
      if (args.json) {
        const list = members.map(({ report, isThere, seenAt }) => ({ ...report, there: isThere, seen: seenAt }));
        return printResult(JSON.stringify(list));
      }
      for (const line of tableOf(members)) await printResult(line);
    });
  },
});

const headings = ["ROBOT", "STATE", "JOBS", "GROUPS", "VERSION", "SEEN", "TASKS"] as const;

const tableOf = (members: readonly FleetMember[]): string[] => {
  const rows = [headings, ...members.map(rowOf)];
  const widths = headings.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((text, column) => text.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
};

const rowOf = ({ report, isThere, seenAt }: FleetMember): readonly string[] => {
  const { robot, groups, version, jobs, tasks } = report;
  const seen = isThere ? "now" : new Date(seenAt * 1000).toISOString();
  const cells = [robot, stateOf(report, isThere), `${jobs.waiting + jobs.held}`, groups.join(","), version, seen];
  return [...cells, tasks.join(",")].map((text) => printable(text) || "-");
};

const stateOf = ({ engine, stopped }: FleetMember["report"], isThere: boolean): string => {
  if (!isThere) return stopped === null ? "silent" : "silent (stopped)";
  if (engine === "lost") return "engine lost";
  return stopped === null ? "ready" : "STOPPED";
};
