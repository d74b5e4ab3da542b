/**
 * What travels between router and workers: `[HEADER, body × n]`, without a delimiter, both ends being DEALER and ROUTER.
 * HEADER is a JSON object whose `type` says what it is. Bodies are TASK and DATA frames as requestors know them.
 */
import * as v from "valibot";
import { messageJobsMax, nameLengthMax, workerTasksMax } from "../limits.ts";
import { ProtocolError } from "./errors.ts";
import { badFrame, checkFrame, decodeObject } from "./frames.ts";

const jobId = v.pipe(v.number(), v.safeInteger(), v.minValue(1));
const jobIds = v.pipe(v.array(jobId), v.nonEmpty(), v.maxLength(messageJobsMax));
const names = v.array(v.pipe(v.string(), v.nonEmpty(), v.maxLength(nameLengthMax)));

/* ── From a worker ───────────────────────────────────────────────────────────────────────────────────────────────── */

const readySchema = v.object({
  type: v.literal("READY"),
  role: v.picklist(["task", "data"]),
  /** `TASK-<pid>`: who answers, as requestors see it. */
  id: v.pipe(v.string(), v.nonEmpty(), v.maxLength(nameLengthMax)),
  pid: v.pipe(v.number(), v.integer()),
  /** Without the prefix `task_`; a data worker has none. */
  tasks: v.pipe(names, v.maxLength(workerTasksMax)),
  /** Where requestors reach this worker directly, or subscribers its data; empty for nowhere. */
  endpoint: v.pipe(v.string(), v.maxLength(256)),
});
const beatSchema = v.object({ type: v.literal("BEAT") });
/** One DATA frame a job follows: its result, or for FAIL its `{code, message}`. `ms`: how long each ran. */
const doneSchema = v.object({ type: v.literal("DONE"), jobs: jobIds, ms: v.array(v.number()) });
const failSchema = v.object({ type: v.literal("FAIL"), jobs: jobIds, ms: v.array(v.number()) });
/** One DATA frame follows, which the router gives to the data worker. */
const publishSchema = v.object({
  type: v.literal("PUBLISH"),
  topic: v.pipe(v.string(), v.nonEmpty(), v.maxLength(nameLengthMax)),
});
const fromWorkerSchema = v.variant("type", [readySchema, beatSchema, doneSchema, failSchema, publishSchema]);

export type WorkerHeader = v.InferOutput<typeof fromWorkerSchema>;
export type ReadyHeader = v.InferOutput<typeof readySchema>;
export type WorkerRole = ReadyHeader["role"];

/* ── From the router ─────────────────────────────────────────────────────────────────────────────────────────────── */

const welcomeSchema = v.object({ type: v.literal("WELCOME") });
/** The router does not know this worker (it has been started anew): say READY again. */
const whoSchema = v.object({ type: v.literal("WHO") });
/** One TASK frame a job follows. `serials`: the requestors' names of the jobs. */
const jobsSchema = v.object({ type: v.literal("JOBS"), jobs: jobIds, serials: v.array(v.string()) });
/** One DATA frame a job follows. */
const putSchema = v.object({ type: v.literal("PUT"), jobs: jobIds, topics: names });
const getSchema = v.object({ type: v.literal("GET"), jobs: jobIds, topics: names });
const fromRouterSchema = v.variant("type", [welcomeSchema, whoSchema, beatSchema, jobsSchema, putSchema, getSchema]);

export type RouterHeader = v.InferOutput<typeof fromRouterSchema>;

export interface BackendMessage<Header> {
  readonly header: Header;
  readonly bodies: readonly Uint8Array[];
}

export const encodeBackend = (
  header: WorkerHeader | RouterHeader,
  bodies: readonly Uint8Array[] = [],
): (Uint8Array | string)[] => [JSON.stringify(header), ...bodies];

export const decodeFromWorker = (frames: readonly Uint8Array[]): BackendMessage<WorkerHeader> | ProtocolError =>
  decode(fromWorkerSchema, frames, (header) =>
    header.type === "DONE" || header.type === "FAIL"
      ? { bodies: header.jobs.length, parallel: [header.ms.length] }
      : { bodies: header.type === "PUBLISH" ? 1 : 0 },
  );

export const decodeFromRouter = (frames: readonly Uint8Array[]): BackendMessage<RouterHeader> | ProtocolError =>
  decode(fromRouterSchema, frames, (header) => {
    switch (header.type) {
      case "JOBS":
        return { bodies: header.jobs.length, parallel: [header.serials.length] };
      case "PUT":
        return { bodies: header.jobs.length, parallel: [header.topics.length] };
      case "GET":
        return { bodies: 0, parallel: [header.topics.length] };
      default:
        return { bodies: 0 };
    }
  });

const decode = <Schema extends v.GenericSchema<unknown, { type: string; jobs?: number[] }>>(
  schema: Schema,
  frames: readonly Uint8Array[],
  shapeOf: (header: v.InferOutput<Schema>) => { bodies: number; parallel?: number[] },
): BackendMessage<v.InferOutput<Schema>> | ProtocolError => {
  const [headerBytes, ...bodies] = frames;
  if (headerBytes === undefined) return badFrame("HEADER", "missing");
  const value = decodeObject(headerBytes, "HEADER");
  if (value instanceof ProtocolError) return value;
  const header = checkFrame(schema, value, "HEADER");
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
