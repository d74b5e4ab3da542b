/** Connects a command to a fleet on NATS: flags, files of credentials and exit codes. */
import type { NatsConnection } from "@nats-io/transport-node";
import type { Client } from "../client/client.ts";
import type { NatsFiles } from "../client/nats.ts";
import type { Robot } from "../client/robot.ts";
import { requestTimeoutMs } from "../limits.ts";
import { TaskEngineError } from "../protocol/errors.ts";
import { ExitError, UsageError } from "./command.ts";
import { type EngineFlags, usageErrorFrom, waitFrom, withEngine } from "./engine.ts";

const file = { type: "string", valueHint: "file" } as const;

/** Flags of every command that reaches NATS. */
export const natsFileArgs = {
  "nats-creds": { ...file, description: "File of NATS credentials, or of the seed of an nkey" },
  "nats-ca": { ...file, description: "Certificate by which the server's is checked, PEM: TLS" },
  "nats-cert": { ...file, description: "Own certificate for NATS, PEM" },
  "nats-key": { ...file, description: "Its secret key, PEM" },
} as const;

/** Flags of a command that asks a fleet. */
export const fleetArgs = {
  nats: { type: "string", valueHint: "url", description: "Ask a robot over NATS, such as nats://hub:4222" },
  robot: { type: "string", valueHint: "name", description: "With --nats: the robot" },
  ...natsFileArgs,
} as const;

export const groupFlag = {
  type: "string",
  valueHint: "name",
  description: "With --nats: the group; a task goes to one of it that is free",
} as const;

interface NatsFlags {
  readonly nats?: string | undefined;
  readonly "nats-creds"?: string | undefined;
  readonly "nats-ca"?: string | undefined;
  readonly "nats-cert"?: string | undefined;
  readonly "nats-key"?: string | undefined;
}

export interface FleetFlags extends NatsFlags {
  readonly robot?: string | undefined;
  readonly group?: string | undefined;
  readonly wait?: string | undefined;
}

export const natsFilesFrom = (flags: NatsFlags): NatsFiles => ({
  creds: flags["nats-creds"],
  ca: flags["nats-ca"],
  cert: flags["nats-cert"],
  key: flags["nats-key"],
});

/** Throws UsageError for flags that go with --nats alone, or with the local engine alone. */
export const isForFleet = (flags: FleetFlags & Readonly<Record<string, unknown>>): boolean => {
  const names = ["robot", "group", "all", ...Object.keys(natsFileArgs)];
  const local = ["router", "direct", "config", "server-key", "key", "state"];
  const wrong = (flags.nats === undefined ? names : local).find((name) => flags[name] !== undefined);
  if (wrong === undefined) return flags.nats !== undefined;
  throw new UsageError(flags.nats === undefined ? `--${wrong} goes with --nats` : `--${wrong} does not go with --nats`);
};

/** Does `work` with a robot, or one of a group. Throws as `withEngine`. */
export const withRobot = async <Result>(
  flags: FleetFlags,
  work: (robot: Robot) => Promise<Result>,
): Promise<Result> => {
  const { connectRobot } = await import("../client/robot.ts");
  const { nats = "", robot, group } = flags;
  const waitMs = waitFrom(flags, requestTimeoutMs);
  const connecting = connectRobot(nats, { ...natsFilesFrom(flags), robot, group, waitMs });
  await using connected = await connecting.catch(throwUsageError);
  return await work(connected).catch(throwExitError);
};

/** The robot that is named, for a command that asks one alone. Throws UsageError. */
export const robotFrom = async ({ robot }: FleetFlags): Promise<string> => {
  if (robot === undefined) throw new UsageError("name the robot: --robot NAME");
  const { checkedRobot } = await import("../client/robot.ts");
  return usageErrorFrom(() => checkedRobot(robot));
};

/** The methods that the verbs for jobs by their ids need. */
type Jobs = Pick<Client, "job" | "jobs" | "resultReply" | "cancelJob"> & Partial<Pick<Client, "logs">>;

/** Does `work` with the jobs of a robot, of a group, of the whole fleet or of the local engine. */
export const withJobs = <Result>(
  flags: FleetFlags & EngineFlags & Readonly<Record<string, unknown>>,
  work: (jobs: Jobs) => Promise<Result>,
): Promise<Result> => {
  if (!isForFleet(flags)) return withEngine(flags, work);
  if (flags.robot !== undefined || flags.group !== undefined) return withRobot(flags, work);
  return withNats(flags, async (nats) => {
    const { FleetJobs } = await import("../client/fleet-jobs.ts");
    return work(await FleetJobs.over(nats));
  });
};

/** Does `work` with a connection to NATS. Throws as `withEngine`. */
export const withNats = async <Result>(
  flags: NatsFlags,
  work: (nats: NatsConnection) => Promise<Result>,
): Promise<Result> => {
  const { connectNats } = await import("../client/nats.ts");
  const options = { ...natsFilesFrom(flags), name: `task-engine ${process.pid}`, isPatient: false };
  const nats = await connectNats(flags.nats ?? "", options).catch(throwUsageError);
  try {
    return await work(nats).catch(throwExitError);
  } finally {
    await nats.close();
  }
};

/** Throws for a connection that failed: a bad argument of it is wrong usage. */
const throwUsageError = (error: unknown): never => {
  if (error instanceof TaskEngineError && error.code === "BAD_ARGS") throw new UsageError(error.message);
  return throwExitError(error);
};

const throwExitError = (error: unknown): never => {
  if (!(error instanceof TaskEngineError)) throw error;
  if (error.code === "NO_ANSWER") throw new ExitError(error.message, 3);
  throw new ExitError(`${error.code}: ${error.message}`, 1);
};
