/** The fleet as a whole: its roster, how its robots are, and stops of many. */
import type { KV } from "@nats-io/kv";
import type { Msg, NatsConnection } from "@nats-io/transport-node";
import { fleetAnswerMs, fleetRetryMs } from "../limits.ts";
import type { StopResult } from "../protocol/blocked.ts";
import { ProtocolError, TaskEngineError } from "../protocol/errors.ts";
import {
  type FleetTarget,
  fleetHeaders,
  type RobotReport,
  robotReportSchema,
  robotsSubject,
  rosterBucket,
  stopReportSchema,
  subjectOf,
} from "../protocol/fleet.ts";
import { checkFrame, decodeObject } from "../protocol/schema.ts";
import { keptTopics, openData } from "./fleet-data.ts";

/** A robot of the roster, or one that has answered and is not in it yet. */
export interface FleetMember {
  /** As it answers now, or as it was when it was last seen. */
  readonly report: RobotReport;
  readonly isThere: boolean;
  /** seconds since 1970, by the server's clock */
  readonly seenAt: number;
}

export type StopOutcome =
  | { readonly robot: string; readonly stop: StopResult }
  | { readonly robot: string; readonly failure: string }
  /** Nothing came back in time. */
  | { readonly robot: string; readonly failure: null };

const openRoster = async (nats: NatsConnection): Promise<KV> => {
  const { Kvm } = await import("@nats-io/kv");
  try {
    return await new Kvm(nats).open(rosterBucket);
  } catch (error) {
    const { message } = error as Error;
    throw new TaskEngineError("UNAVAILABLE", `the roster of the fleet cannot be read: ${message}`);
  }
};

/** The robots of the roster, with their last reports. Rejects with TaskEngineError, UNAVAILABLE. */
export const readRoster = async (nats: NatsConnection): Promise<Map<string, FleetMember>> => {
  const bucket = await openRoster(nats);
  const members = new Map<string, FleetMember>();
  try {
    for await (const entry of await bucket.history()) {
      const report = reportIn(entry.value);
      if (entry.operation !== "PUT" || report === null) members.delete(entry.key);
      else members.set(entry.key, { report, isThere: false, seenAt: entry.created.getTime() / 1000 });
    }
  } catch (error) {
    throw new TaskEngineError("UNAVAILABLE", `the roster of the fleet cannot be read: ${(error as Error).message}`);
  }
  return members;
};

/**
 * The last report of a robot; null if the roster does not have it. Rejects with TaskEngineError,
 * UNAVAILABLE.
 */
export const readRobot = async (nats: NatsConnection, robot: string): Promise<RobotReport | null> => {
  const bucket = await openRoster(nats);
  try {
    const entry = await bucket.get(robot);
    return entry === null || entry.operation !== "PUT" ? null : reportIn(entry.value);
  } catch (error) {
    throw new TaskEngineError("UNAVAILABLE", `the roster of the fleet cannot be read: ${(error as Error).message}`);
  }
};

/**
 * Removes a robot from the roster; false if it is not there. A robot that is still there comes
 * back.
 */
export const forgetRobot = async (nats: NatsConnection, robot: string): Promise<boolean> => {
  const bucket = await openRoster(nats);
  try {
    const entry = await bucket.get(robot);
    if (entry === null || entry.operation !== "PUT") return false;
    await bucket.purge(robot);
    await forgetValues(nats, robot);
    return true;
  } catch (error) {
    throw new TaskEngineError("UNAVAILABLE", `the roster of the fleet cannot be changed: ${(error as Error).message}`);
  }
};

/** Those that it has mirrored. */
const forgetValues = async (nats: NatsConnection, robot: string): Promise<void> => {
  const bucket = await openData(nats);
  if (bucket === null) return;
  for (const topic of await keptTopics(bucket, robot)) await bucket.purge(`${robot}.${topic}`);
};

/**
 * All robots: those that answer within a second as they are, the others of the roster as they were.
 */
export const listRobots = async (nats: NatsConnection): Promise<FleetMember[]> => {
  const answers = new Map<string, FleetMember>();
  const known = readRoster(nats);
  await ask(nats, robotsSubject, {
    body: "",
    take: (_, { data }) => {
      const report = reportIn(data);
      if (report !== null) answers.set(report.robot, { report, isThere: true, seenAt: Date.now() / 1000 });
    },
    answered: answers,
    expected: known.then((roster) => [...roster.keys()]),
  });
  const all = new Map([...(await known), ...answers]);
  return [...all.values()].sort((a, b) => (a.report.robot < b.report.robot ? -1 : 1));
};

/**
 * Stops robots: tells all of them at once, before the roster is read, and those of the roster that
 * have not answered again and again for a second. `unknown` says why the roster cannot be read:
 * then nobody knows whether those that have answered are all.
 */
export const stopFleet = async (
  nats: NatsConnection,
  target: FleetTarget,
  reason: string,
): Promise<{ readonly outcomes: StopOutcome[]; readonly unknown: string | null }> => {
  const answers = new Map<string, StopOutcome>();
  let unknown: string | null = null;
  const membersOf = async (): Promise<readonly string[]> => {
    if ("robot" in target) return [target.robot];
    const roster = await readRoster(nats);
    const members = [...roster.values()].map(({ report }) => report);
    return members.filter(({ groups }) => "all" in target || groups.includes(target.group)).map(({ robot }) => robot);
  };
  const expected = membersOf().catch((error: unknown) => {
    if (!(error instanceof TaskEngineError)) throw error;
    unknown = error.message;
    return null;
  });
  await ask(nats, `${subjectOf(target)}.estop`, {
    body: JSON.stringify({ reason }),
    take: (robot, message) => {
      const outcome = outcomeIn(robot, message);
      answers.set(outcome.robot, outcome);
    },
    answered: answers,
    expected,
    again: (robot) => `${subjectOf({ robot })}.estop`,
  });
  for (const robot of (await expected) ?? []) {
    if (!answers.has(robot)) answers.set(robot, { robot, failure: null });
  }
  const outcomes = [...answers.values()].sort((a, b) => (a.robot < b.robot ? -1 : 1));
  return { outcomes, unknown };
};

interface Round {
  readonly body: string;
  readonly take: (robot: string, message: Msg) => void;
  /** Answers by the names of robots. */
  readonly answered: ReadonlyMap<string, unknown>;
  /** Null if nobody knows: then all that answer in time are taken. */
  readonly expected: Promise<readonly string[] | null>;
  /** The subject at which one that has not answered is asked again. */
  readonly again?: (robot: string) => string;
}

/** Asks many at once, until all that are expected have answered, at most `fleetAnswerMs`. */
const ask = async (
  nats: NatsConnection,
  subject: string,
  { body, take, answered, expected, again }: Round,
): Promise<void> => {
  const { createInbox } = await import("@nats-io/transport-node");
  const inbox = createInbox();
  let isComplete = false;
  let names: readonly string[] | null = null;
  const { promise: complete, resolve } = Promise.withResolvers<void>();
  const look = (): void => {
    isComplete = names?.every((name) => answered.has(name)) === true;
    if (isComplete) resolve();
  };
  const subscription = nats.subscribe(inbox, {
    callback: (error, message) => {
      const robot = message.headers?.get(fleetHeaders.robot) ?? "";
      // Without a robot's name it is the server, which says that nobody listens.
      if (error !== null || robot === "") return;
      take(robot, message);
      look();
    },
  });
  nats.publish(subject, body, { reply: inbox });
  void expected.then(
    (robots) => {
      names = robots;
      look();
    },
    () => {
      isComplete = true;
      resolve();
    },
  );
  for (const endMs = performance.now() + fleetAnswerMs; !isComplete && performance.now() < endMs; ) {
    await Promise.race([complete, Bun.sleep(fleetRetryMs)]);
    const missing = (names ?? []).filter((name) => !answered.has(name));
    if (again !== undefined) for (const name of missing) nats.publish(again(name), body, { reply: inbox });
  }
  subscription.unsubscribe();
};

const reportIn = (bytes: Uint8Array): RobotReport | null => {
  const body = decodeObject(bytes, "report");
  if (body instanceof ProtocolError) return null;
  const report = checkFrame(robotReportSchema, body, "report");
  return report instanceof ProtocolError ? null : report;
};

const outcomeIn = (robot: string, { headers, data }: Msg): StopOutcome => {
  const code = headers?.get(fleetHeaders.errorCode) ?? "";
  if (code !== "") return { robot, failure: `${code}: ${headers?.get(fleetHeaders.errorText) ?? ""}` };
  const body = decodeObject(data, "reply");
  const report = body instanceof ProtocolError ? body : checkFrame(stopReportSchema, body, "reply");
  if (report instanceof ProtocolError) return { robot, failure: report.message };
  const { robot: _, ...stop } = report;
  return { robot, stop };
};
