/**
 * The names of a fleet on NATS: subjects, headers and the bucket of the roster, see link/LINK.md.
 * Pure.
 */
import * as v from "valibot";
import { linkMirrorHzMax, linkTaskSubjectLengthMax } from "../limits.ts";
import { lazily } from "./schema.ts";

/**
 * Names of robots and groups are one token of a subject, and a robot has none of the words that
 * stand in its place.
 */
export const robotNamePattern = /^(?!(?:all|group|robots|jobs)$)[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/;
export const groupNamePattern = /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/;

export const reservedNames = "all, group or robots";
export const nameForm = "1 to 64 characters of A-Z a-z 0-9 _ -, beginning with a letter or digit";

/**
 * Whom a request goes to. Of a group it is one robot that is free, but for stops: these go to all
 * of it.
 */
export type FleetTarget =
  | { readonly robot: string }
  | { readonly group: string }
  /** For stops alone. */
  | { readonly all: true };

/** The beginning of the subjects of a target. */
export const subjectOf = (target: FleetTarget): string => {
  if ("robot" in target) return `te.${target.robot}`;
  return "group" in target ? `te.group.${target.group}` : "te.all";
};

/** A person's words for a target: `robot r7`. */
export const targetText = (target: FleetTarget): string => {
  if ("robot" in target) return `robot ${target.robot}`;
  return "group" in target ? `group ${target.group}` : "the fleet";
};

/** The subject at which every robot of the fleet says how it is. */
export const robotsSubject = "te.robots";

/** Whether a task's name can be the end of a subject: no space, no wildcard, no empty token. */
export const isSubjectEnd = (task: string): boolean =>
  task.length <= linkTaskSubjectLengthMax && /^[^\s.*>\p{Cc}]+(?:\.[^\s.*>\p{Cc}]+)*$/u.test(task);

/** Whether a topic can be the end of a subject and of a key: others are not mirrored. */
export const isMirrored = (topic: string): boolean =>
  topic.length <= linkTaskSubjectLengthMax && /^[\w/=-]+(?:\.[\w/=-]+)*$/.test(topic);

/** The newest values of robots, by `ROBOT.TOPIC`. */
export const dataBucket = "te-data";

/**
 * Topics of a robot that its fleet gets: those that begin so, and of each at most so many values a
 * second.
 */
export interface MirrorRule {
  readonly prefix: string;
  readonly maxHz: number;
}

/** `pose@5` as a rule; null for what is none. The engine's own topics are not for the fleet. */
export const mirrorRule = (text: string): MirrorRule | null => {
  const [, prefix = "", hz = ""] = /^([^@$\s][^@\s]*)@(\d{1,3}(?:\.\d{1,3})?)$/.exec(text) ?? [];
  const maxHz = Number(hz);
  return isMirrored(prefix.replace(/\.$/, "")) && maxHz > 0 && maxHz <= linkMirrorHzMax ? { prefix, maxHz } : null;
};

const rates = `a rate above 0 and up to ${linkMirrorHzMax}`;
export const mirrorForm = `PREFIX@HZ, the beginning of topics and ${rates}, such as pose@5`;

/** The last report of each robot, by its name, without a time to live: who belongs to the fleet. */
export const rosterBucket = "te-roster";

export const fleetHeaders = {
  /** Id of a request, by which it is cancelled. */
  request: "Task-Engine-Request",
  /** `1` in a request allows replies of type PROGRESS before the last one. */
  progress: "Task-Engine-Progress",
  /** `1` in a request of a task with a dead man: the requestor sends ticks back. */
  alive: "Task-Engine-Alive",
  /** Number of a tick, which the requestor sends back to `te.ROBOT.alive`. */
  tick: "Task-Engine-Tick",
  /** META of a reply and of a mirrored value, as an engine sends it. */
  meta: "Task-Engine-Meta",
  /** The robot that sends a reply. */
  robot: "Task-Engine-Robot",
  /** Type of a reply that is not JSON, and of each mirrored value. */
  contentType: "Content-Type",
  errorCode: "Nats-Service-Error-Code",
  errorText: "Nats-Service-Error",
} as const;

/** A robot's report of itself. */
export const robotReportSchema = lazily(() =>
  v.object({
    robot: v.string(),
    groups: v.array(v.string()),
    version: v.string(),
    /**
     * `lost`: the link runs, and its engine does not answer; then the rest is as it was last known.
     */
    engine: v.picklist(["connected", "lost"]),
    /** The tasks that the fleet may run. */
    tasks: v.array(v.string()),
    /**
     * Those of them of which the fleet may keep jobs for later; absent in a link of an earlier
     * version.
     */
    detachable: v.optional(v.array(v.string()), []),
    /** The emergency stop in force. */
    stopped: v.nullable(v.object({ reason: v.string(), since: v.number() })),
    jobs: v.object({ waiting: v.number(), held: v.number() }),
    /** seconds since 1970, by the robot's clock */
    at: v.number(),
  }),
);
export type RobotReport = v.InferOutput<ReturnType<typeof robotReportSchema>>;

/** A robot's answer to a stop. `why` says why it is not durable. */
export const stopReportSchema = lazily(() =>
  v.object({
    robot: v.string(),
    reason: v.string(),
    since: v.number(),
    durable: v.boolean(),
    why: v.exactOptional(v.string()),
  }),
);

/** One line of visible characters, as a header must be. */
export const headerText = (text: string): string => text.replace(/[^\x20-\x7e\u00a0-\uffff]+/g, " ").trim();
