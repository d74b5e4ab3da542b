/**
 * Jobs that a fleet keeps until a robot takes them: the names in JetStream, see link/LINK.md. Pure.
 */
import * as v from "valibot";
import { fleetJobIdLengthMax, linkConsumerNameLengthMax } from "../limits.ts";
import { idDigits, idLength } from "./control.ts";
import { lazily } from "./schema.ts";

/** The stream of all queues: a message is a job, and is gone once a robot has acknowledged it. */
export const jobsStream = "te-jobs";
export const jobsSubject = "te.jobs.>";

/** The bucket of states and results, and the stream below it. */
const statesBucket = "te-states";
export const statesStream = `KV_${statesBucket}`;
export const statesSubject = `$KV.${statesBucket}.>`;
/** The subject of a job's state; `*` for all. */
export const stateSubject = (job: string): string => `$KV.${statesBucket}.job.${job}`;
/** The subject of a job's result, by the claim of the robot that has run it. */
export const resultSubject = (job: string, claim: string): string => `$KV.${statesBucket}.result.${job}.${claim}`;

export type QueueTarget = { readonly robot: string } | { readonly group: string };

/** The subject of a queue, for one task. */
export const queueSubject = (target: QueueTarget, task: string): string =>
  "robot" in target ? `te.jobs.robot.${target.robot}.${task}` : `te.jobs.group.${target.group}.${task}`;

/** The durable consumer of a robot's own queue. */
export const robotConsumer = (robot: string): string => `robot=${robot}`;

/**
 * The durable consumer of a group's queue for one task; null for a task's name that is too long for
 * one.
 */
export const groupConsumer = (group: string, task: string): string | null => {
  const name = `group=${group}=${encodeURIComponent(task).replaceAll(".", "%2E")}`;
  return name.length <= linkConsumerNameLengthMax ? name : null;
};

/** An id of 16 characters of 5 bits each, as the engine's own are. @param bytes 16 or more */
export const jobIdOf = (bytes: Uint8Array): string =>
  Array.from(bytes.subarray(0, idLength), (byte) => idDigits[byte % idDigits.length]).join("");

/** The id of a message, or of a command; null for what none can be. */
export const checkedJobId = (id: string): string | null =>
  /^[A-Za-z0-9_=-]+$/.test(id) && id.length <= fleetJobIdLengthMax ? id : null;

/** The value of a job's state. A state whose `ended` is a number never changes again. */
export const queuedJobSchema = lazily(() =>
  v.object({
    job: v.string(),
    task: v.string(),
    /** The group whose queue it is; null for a robot's queue. */
    group: v.nullable(v.string()),
    /** The robot whose queue it is, or the one that has taken it. */
    robot: v.nullable(v.string()),
    /** `queued`, `taken`, or a word of the engine's diagram for a job that has ended. */
    state: v.string(),
    code: v.nullable(v.string()),
    message: v.nullable(v.string()),
    /** seconds since 1970: of the sender, of the robot, of the robot */
    accepted: v.number(),
    taken: v.nullable(v.number()),
    ended: v.nullable(v.number()),
    /** A random text of the robot that has taken it; empty while it is queued. */
    claim: v.string(),
    /** Its task is not idempotent: nobody else may take it any more. */
    once: v.boolean(),
    /** SHA-256 of `args` and `kwargs`, for a second request of its `unique` key. */
    hash: v.string(),
  }),
);
export type QueuedJob = Readonly<v.InferOutput<ReturnType<typeof queuedJobSchema>>>;
