/**
 * `link` joins an engine to a fleet on NATS, see link/LINK.md. It is a client of the engine, on
 * whatever machine, and of NATS, and waits for either that is not there. `serve --nats` starts it
 * as one more process.
 *
 * Prints one line when it listens. Ends by Ctrl-C or SIGTERM. Exits with 0 then; 1 if it cannot
 * start; 2 for wrong usage.
 */
import { join } from "node:path";
import { connect } from "../client/client.ts";
import { ownerKey } from "../client/keys.ts";
import { linkGroupsMax, linkMirrorsMax, linkRightsMax, requestTimeoutMs } from "../limits.ts";
import { say, warn } from "../process/log.ts";
import { hasSupervisor, onLeaveRequest, tellSupervisor } from "../process/supervised.ts";
import { addressIn } from "../protocol/address.ts";
import { TaskEngineError } from "../protocol/errors.ts";
import { type MirrorRule, mirrorForm, mirrorRule } from "../protocol/fleet.ts";
import { engineFolders } from "../security/state-folders.ts";
import { StartError } from "../transport/start-error.ts";
import { listOf } from "./args.ts";
import { defineCommand, UsageError } from "./command.ts";
import { keyArgs, keysFrom, usageErrorFrom } from "./engine.ts";
import { natsFileArgs, natsFilesFrom } from "./fleet.ts";
import { stopWayOf } from "./gateway.ts";
import { type EngineLocation, locateEngine, locationArgs, stateFlag } from "./locate.ts";
import { runRole } from "./roles.ts";

/** @param version of this program, which the fleet is told */
export const linkCommandOf = (version: string) =>
  defineCommand({
    meta: { name: "link", description: "Join an engine to a fleet on NATS" },
    args: {
      nats: { type: "string", required: true, valueHint: "url", description: "NATS' server, such as nats://hub:4222" },
      robot: { type: "string", required: true, valueHint: "name", description: "The robot's name in the fleet" },
      groups: { type: "string", valueHint: "names", description: "Groups that it belongs to, with commas" },
      allow: {
        type: "string",
        valueHint: "right...",
        description: "What the fleet may do, such as send:count,photo (default: stops alone); may be given again",
      },
      mirror: {
        type: "string",
        valueHint: "prefix@hz...",
        description: "Topics that the fleet gets, such as pose@5 (default: none); may be given again",
      },
      ...natsFileArgs,
      state: stateFlag,
      ...locationArgs,
      ...keyArgs,
    },
    run: async ({ args }) => {
      const { nats: address, robot, state } = args;
      const location = await locateEngine(args);
      const stateFolder = state ?? location.state;
      await runRole(async () => {
        const { checkedGroup, checkedRobot } = await import("../client/robot.ts");
        const { connectNats, natsServers } = await import("../client/nats.ts");
        const { fleetAccess, Link } = await import("../link/link.ts");
        const { MsgHdrsImpl: Headers } = await import("@nats-io/transport-node");
        const allow = listOf(args, "allow");
        const rules = listOf(args, "mirror").map(ruleFrom);
        if (rules.length > linkMirrorsMax) throw new UsageError(`--mirror is given more than ${linkMirrorsMax} times`);
        const groups = usageErrorFrom(() => {
          checkedRobot(robot);
          natsServers(address);
          if (allow.length > linkRightsMax) throw new UsageError(`--allow is given more than ${linkRightsMax} times`);
          fleetAccess(allow);
          return args.groups === undefined ? [] : [...new Set(args.groups.split(",").map(checkedGroup))];
        });
        if (groups.length > linkGroupsMax) throw new UsageError(`--groups has more than ${linkGroupsMax} groups`);
        const client = usageErrorFrom(() =>
          connect(location.endpoint, {
            ...(hasSupervisor() ? { key: ownerKey } : keysFrom(args)),
            ...(stateFolder !== null && { state: stateFolder }),
            waitMs: requestTimeoutMs,
          }),
        );
        const stopBySocket = stopWayOf(location, state);
        return async () => {
          const { promise: left, resolve: leave } = Promise.withResolvers<void>();
          onLeaveRequest(leave);
          if (!hasSupervisor()) for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => leave());
          // It is online without NATS: a hub that is not there is no fault of the robot's.
          tellSupervisor({ type: "online" });
          const options = { ...natsFilesFrom(args), name: `task-engine ${robot}`, isPatient: true };
          const connecting = connectNats(address, options).catch((error: unknown) => {
            throw error instanceof TaskEngineError ? new StartError(error.message) : error;
          });
          const nats = await Promise.race([connecting, left]);
          if (nats === undefined) process.exit(0);
          const line = (text: string): void => warn(`[LINK] ${text}`);
          const link = new Link({
            ...{ nats, Headers, client, robot, groups, allow, rules, version, stopBySocket },
            takenPath: takenPathOf(location, state, robot),
            warn: line,
          });
          await link.start();
          say(`[LINK] ${robot} listens at ${address} for the engine at ${location.endpoint}`);
          void tellChanges(nats.status(), address, line, () => link.reconnected());
          await Promise.race([left, nats.closed()]);
          link.close();
          await client.close();
          await link.settled();
          // It rejects where NATS is lost, and then nobody would hear the rest either.
          if (!nats.isClosed()) await nats.drain().catch(() => nats.close());
          if (!hasSupervisor()) process.exit(0);
        };
      });
    },
  });

/** Throws UsageError. */
const ruleFrom = (text: string): MirrorRule => {
  const rule = mirrorRule(text);
  if (rule !== null) return rule;
  throw new UsageError(`--mirror ${JSON.stringify(text)} is not ${mirrorForm}`);
};

/** A fleet that is lost, and one that is there again, are worth a line. */
const tellChanges = async (
  changes: AsyncIterable<{ readonly type: string }>,
  address: string,
  line: (text: string) => void,
  onReconnect: () => void,
): Promise<void> => {
  for await (const { type } of changes) {
    if (type === "disconnect") line(`the connection to NATS at ${address} is lost; the robot goes on by itself`);
    if (type !== "reconnect") continue;
    line(`connected to NATS at ${address} again`);
    onReconnect();
  }
};

/** In the state folder of the engine; of one on another machine only where a folder is given. */
const takenPathOf = (location: EngineLocation, state: string | undefined, robot: string): string | null => {
  if (state === undefined && !location.isOnThisMachine) return null;
  const { port } = addressIn(location.endpoint);
  const [folder] = engineFolders(port, state ?? location.state, process.env);
  return folder === undefined ? null : join(folder, `fleet-${robot}.taken`);
};
