/**
 * What travels between router and workers: `[HEADER, body × n]`, without a delimiter, both ends being DEALER and ROUTER.
 * HEADER is a JSON object whose `type` says what it is. Bodies are TASK and DATA frames as requestors know them.
 */
import * as v from "valibot";
import { messageJobsMax, nameLengthMax, workerTasksMax } from "../limits.ts";
import { ProtocolError } from "./errors.ts";
import { plainAnswer, plainJobs } from "./fast-validate.ts";
import type { Frame } from "./frame.ts";
import { badFrame, checkFrame, decodeObject } from "./frames.ts";
import type { JsonObject } from "./json.ts";
import { policyRows } from "./policy.ts";

const jobId = v.pipe(v.number(), v.safeInteger(), v.minValue(1));
const jobIds = v.pipe(v.array(jobId), v.nonEmpty(), v.maxLength(messageJobsMax));
const name = v.pipe(v.string(), v.nonEmpty(), v.maxLength(nameLengthMax));
const names = v.array(name);

type HeaderSchema = v.GenericSchema<unknown, { readonly type: string; readonly jobs?: number[] }> & {
  readonly entries: { readonly type: v.LiteralSchema<string, undefined> };
};
type HeaderOf<Schemas> =
  Schemas extends ReadonlyMap<string, infer Schema extends HeaderSchema> ? v.InferOutput<Schema> : never;

/** Found by their type. valibot's `variant` tries one after the other, and writes a report on each that does not fit. */
function byType<const Schema extends HeaderSchema>(schemas: readonly Schema[]): ReadonlyMap<string, Schema> {
  return new Map(schemas.map((schema) => [schema.entries.type.literal, schema]));
}

/* ── From a worker ───────────────────────────────────────────────────────────────────────────────────────────────── */

const readySchema = v.object({
  type: v.literal("READY"),
  role: v.picklist(["task", "data"]),
  /** `TASK-<pid>`: who answers, as requestors see it. */
  id: v.pipe(v.string(), v.nonEmpty(), v.maxLength(nameLengthMax)),
  pid: v.pipe(v.number(), v.integer()),
  /** Without the prefix `task_`, with its policy if it has one; a data worker has none. */
  tasks: v.pipe(v.array(v.union([name, v.strictObject({ name, ...policyRows() })])), v.maxLength(workerTasksMax)),
  /** Where requestors reach this worker directly, or subscribers its data; empty for nowhere. */
  endpoint: v.pipe(v.string(), v.maxLength(256)),
  /** Its supervisor will say, when it dies, which of its jobs it had begun last, and can kill it. */
  supervised: v.optional(v.boolean()),
  /** It has a port of its own, or another source of jobs, and ends these at STOPPED: it is told of emergency stops. */
  stops: v.optional(v.boolean()),
});
/** ms, on a clock of the router's that never goes back: when this was sent. What comes late then shows by how much it is later than others. */
const at = v.optional(v.number());
const beatSchema = v.object({ type: v.literal("BEAT"), at });
/**
 * One DATA frame a job follows: its result, or for FAIL its `{code, message}`. `ms`: how long each ran. `unsafe`: those that
 * have ended other than by themselves, and whose task's `onStop` has failed here.
 */
const answer = { jobs: jobIds, ms: v.array(v.number()), unsafe: v.optional(v.array(jobId)) };
export const doneSchema = v.object({ type: v.literal("DONE"), ...answer });
const failSchema = v.object({ type: v.literal("FAIL"), ...answer });
/** The job has let go, and its task's `onStop` begins. */
const safingSchema = v.object({ type: v.literal("SAFING"), job: jobId });
/** One DATA frame follows, which the router gives to the data worker. `task`: which has published it, for people. */
const publishSchema = v.object({ type: v.literal("PUBLISH"), topic: name, task: v.optional(name) });
/** One DATA frame follows: how far the job is. */
const progressSchema = v.object({ type: v.literal("PROGRESS"), job: jobId });
/** These jobs have not begun and will not: somebody else may have them. */
const returnSchema = v.object({ type: v.literal("RETURN"), jobs: jobIds });
/** It wants no more jobs; once it holds none it is told GOODBYE. */
const leaveSchema = v.object({ type: v.literal("LEAVE") });
const fromWorker = byType([
  readySchema,
  beatSchema,
  doneSchema,
  failSchema,
  safingSchema,
  progressSchema,
  publishSchema,
  returnSchema,
  leaveSchema,
]);

export type WorkerHeader = HeaderOf<typeof fromWorker>;
export type ReadyHeader = v.InferOutput<typeof readySchema>;
export type WorkerRole = ReadyHeader["role"];

/* ── From the router ─────────────────────────────────────────────────────────────────────────────────────────────── */

const welcomeSchema = v.object({ type: v.literal("WELCOME"), at });
/** The router does not know this worker (it has been started anew): say READY again. */
const whoSchema = v.object({ type: v.literal("WHO") });
/** The other answer to READY: this worker is not admitted, for this reason. */
const refusedSchema = v.object({ type: v.literal("REFUSED"), code: v.string(), message: v.string() });
/**
 * One TASK frame a job follows. `serials`: the requestors' names of the jobs. `ttlMs`, where any job has one: ms from now
 * after which it must not begin, null for none.
 */
export const jobsSchema = v.object({
  type: v.literal("JOBS"),
  jobs: jobIds,
  serials: v.array(v.string()),
  ttlMs: v.optional(v.array(v.nullable(v.number()))),
  at,
});
/** End this job: drop it if it has not begun, else give its abort signal. It is answered all the same. */
const abortSchema = v.object({ type: v.literal("ABORT"), job: jobId, code: v.string(), message: v.string() });
/** Run this task's `onStop`, for a job of it has ended so, and answer as for a job. */
const safeSchema = v.object({ type: v.literal("SAFE"), job: jobId, task: name, code: v.string(), message: v.string() });
/**
 * To a worker that says `stops`: the emergency stop that holds, or null. It is sent at each change, and before each WELCOME.
 * Jobs of the router's are ended by ABORT all the same.
 */
const stoppedSchema = v.object({
  type: v.literal("STOPPED"),
  stopped: v.nullable(v.object({ reason: v.string(), since: v.number() })),
});
/** The answer to LEAVE: nothing is held, and nothing will come. */
const goodbyeSchema = v.object({ type: v.literal("GOODBYE") });
/** One DATA frame a job follows. */
const putSchema = v.object({ type: v.literal("PUT"), jobs: jobIds, topics: names });
const getSchema = v.object({ type: v.literal("GET"), jobs: jobIds, topics: names });
const fromRouter = byType([
  welcomeSchema,
  whoSchema,
  refusedSchema,
  beatSchema,
  jobsSchema,
  abortSchema,
  safeSchema,
  stoppedSchema,
  putSchema,
  getSchema,
  goodbyeSchema,
]);

export type RouterHeader = HeaderOf<typeof fromRouter>;

/** What recognizes most headers without valibot, which takes as long for each of their numbers as for all of it. */
const plainHeaders: ReadonlyMap<string, (header: JsonObject) => unknown> = new Map<
  string,
  (header: JsonObject) => unknown
>([
  ["DONE", plainAnswer],
  ["FAIL", plainAnswer],
  ["JOBS", plainJobs],
]);

export interface BackendMessage<Header> {
  readonly header: Header;
  readonly bodies: readonly Frame[];
}

export const encodeBackend = (header: WorkerHeader | RouterHeader, bodies: readonly Frame[] = []): Frame[] => [
  JSON.stringify(header),
  ...bodies,
];

export const decodeFromWorker = (frames: readonly Frame[]): BackendMessage<WorkerHeader> | ProtocolError =>
  decode(fromWorker, frames, (header) =>
    header.type === "DONE" || header.type === "FAIL"
      ? { bodies: header.jobs.length, parallel: [header.ms.length] }
      : { bodies: header.type === "PUBLISH" || header.type === "PROGRESS" ? 1 : 0 },
  );

export const decodeFromRouter = (frames: readonly Frame[]): BackendMessage<RouterHeader> | ProtocolError =>
  decode(fromRouter, frames, (header) => {
    switch (header.type) {
      case "JOBS":
        return {
          bodies: header.jobs.length,
          parallel: [header.serials.length, header.ttlMs?.length ?? header.jobs.length],
        };
      case "PUT":
        return { bodies: header.jobs.length, parallel: [header.topics.length] };
      case "GET":
        return { bodies: 0, parallel: [header.topics.length] };
      default:
        return { bodies: 0 };
    }
  });

const decode = <Schema extends HeaderSchema>(
  schemas: ReadonlyMap<string, Schema>,
  frames: readonly Frame[],
  shapeOf: (header: v.InferOutput<Schema>) => { bodies: number; parallel?: number[] },
): BackendMessage<v.InferOutput<Schema>> | ProtocolError => {
  const [headerBytes, ...bodies] = frames;
  if (headerBytes === undefined) return badFrame("HEADER", "missing");
  const value = decodeObject(headerBytes, "HEADER");
  if (value instanceof ProtocolError) return value;
  // Not as text: an object of a stranger's may have a toString that is none.
  const schema = typeof value.type === "string" ? schemas.get(value.type) : undefined;
  if (schema === undefined) return badFrame("HEADER.type", `not one of ${[...schemas.keys()].join(", ")}`);
  const plain = plainHeaders.get(schema.entries.type.literal)?.(value) as v.InferOutput<Schema> | undefined;
  const header = plain ?? checkFrame(() => schema, value, "HEADER");
  if (header instanceof ProtocolError) return header;
  const shape = shapeOf(header);
  if (bodies.length !== shape.bodies) {
    return badFrame("message", `${header.type} with ${bodies.length} frames after HEADER instead of ${shape.bodies}`);
  }
  for (const length of shape.parallel ?? []) {
    if (length !== header.jobs?.length) return badFrame("HEADER", `${header.type} with lists of different lengths`);
  }
  return { header, bodies };
};
