/**
 * The messages between router and workers: `[HEADER, body × n]`, without a delimiter. HEADER is a
 * JSON object with a `type`. Bodies are TASK and DATA frames as requestors send them.
 */
import * as v from "valibot";
import { dataEndpointsMax, messageEventsMax, messageJobsMax, sourcesMax, watchedTopicsMax } from "../limits.ts";
import { ProtocolError } from "./errors.ts";
import type { Frame } from "./frame.ts";
import { journalSchemas, toJournalSchemas } from "./journal.ts";
import type { Json, JsonObject } from "./json.ts";
import { dataPortsSchema, readySchema } from "./ready.ts";
import { sourcesSchema, storeSchema } from "./reports.ts";
import { badFrame, checkFrame, decodeObject, type HeaderSchema, headerSchema, nameSchema } from "./schema.ts";
import { binaryTypeSchema } from "./values.ts";

const jobId = v.pipe(v.number(), v.safeInteger(), v.minValue(1));
const jobIds = v.pipe(v.array(jobId), v.nonEmpty(), v.maxLength(messageJobsMax));
const name = nameSchema();
const names = v.array(name);

type Header = { readonly type: string; readonly jobs?: number[] };
type AnySchema = HeaderSchema<string, v.GenericSchema<unknown, Header>>;
type OutputOf<Schema extends AnySchema> = Schema extends AnySchema
  ? v.InferOutput<ReturnType<Schema["schema"]>>
  : never;
type HeaderOf<Schemas> = Schemas extends ReadonlyMap<string, infer Schema extends AnySchema> ? OutputOf<Schema> : never;

/**
 * Schemas by their type. valibot's `variant` would try one after the other, and report on each that
 * does not fit.
 */
function byType<const Schema extends AnySchema>(schemas: readonly Schema[]): ReadonlyMap<string, Schema> {
  return new Map(schemas.map((schema) => [schema.type, schema]));
}

/* ── From a worker ── */

/**
 * ms on the router's monotonic clock at sending. A worker that compares messages by it sees how
 * late one came.
 */
const at = v.optional(v.number());
const beatSchema = headerSchema("BEAT", () => ({ at }));
/**
 * One DATA frame a job follows: its result, or for FAIL its `{code, message}`. `ms`: run times.
 * `unsafe`: jobs that did not end by themselves, and whose task's `onStop` failed here.
 */
const answer = () => ({ jobs: jobIds, ms: v.array(v.number()), unsafe: v.optional(v.array(jobId)) });
export const doneSchema = headerSchema("DONE", () => ({
  ...answer(),
  /**
   * How to read each result, if any is binary: null for a DATA frame, else the body is the bytes
   * themselves.
   */
  contentTypes: v.optional(v.array(v.nullable(binaryTypeSchema()))),
}));
const failSchema = headerSchema("FAIL", answer);
/** The job's function has returned, and its task's `onStop` begins. */
const safingSchema = headerSchema("SAFING", () => ({ job: jobId }));
/** One DATA frame follows, for the data worker. `task`: the publishing task, for people. */
const publishSchema = headerSchema("PUBLISH", () => ({ topic: name, task: v.optional(name) }));
/** One DATA frame follows: the job's progress; a line of its log, `{level, text}`. */
const progressSchema = headerSchema("PROGRESS", () => ({ job: jobId }));
const logSchema = headerSchema("LOG", () => ({ job: jobId }));
/** These jobs have not begun here and will not: the router may give them to another worker. */
const returnSchema = headerSchema("RETURN", () => ({ jobs: jobIds }));
/** The worker wants no more jobs, and gets GOODBYE once it holds none. */
const leaveSchema = headerSchema("LEAVE");
/**
 * From a data worker, at each change and after each WELCOME: the engine's own topics that have
 * subscribers there.
 */
const watchedSchema = headerSchema("WATCHED", () => ({ topics: v.pipe(names, v.maxLength(watchedTopicsMax)) }));
/** From a data worker: it has taken one EVENTS, so that the router may send another one. */
const heardSchema = headerSchema("HEARD");
/**
 * From a worker that publishes: it wants OWNERS now, and at each change from then on.
 */
const wantsOwnersSchema = headerSchema("OWNERS");
const fromWorker = byType([
  readySchema,
  beatSchema,
  doneSchema,
  failSchema,
  safingSchema,
  progressSchema,
  logSchema,
  publishSchema,
  returnSchema,
  leaveSchema,
  sourcesSchema,
  watchedSchema,
  heardSchema,
  wantsOwnersSchema,
  storeSchema,
  ...journalSchemas,
]);

export type WorkerHeader = HeaderOf<typeof fromWorker>;
export type ReadyHeader = OutputOf<typeof readySchema>;

/* ── From the router ── */

const welcomeSchema = headerSchema("WELCOME", () => ({ at }));
/** The router does not know this worker, since it was restarted: the worker sends READY again. */
const whoSchema = headerSchema("WHO");
/** The other answer to READY: the worker is not admitted. */
const refusedSchema = headerSchema("REFUSED", () => ({ code: v.string(), message: v.string() }));
/**
 * One TASK frame a job follows. `serials`: the requestors' names of the jobs. `ttlMs`, if any job
 * has one: ms from now after which each must not begin, null for no limit.
 */
export const jobsSchema = headerSchema("JOBS", () => ({
  jobs: jobIds,
  serials: v.array(v.string()),
  ttlMs: v.optional(v.array(v.nullable(v.number()))),
  at,
}));
/**
 * The worker drops this job if it has not begun, else raises its abort signal. It sends DONE or
 * FAIL in either case.
 */
const abortSchema = headerSchema("ABORT", () => ({ job: jobId, code: v.string(), message: v.string() }));
/**
 * The worker runs this task's `onStop`, after a job that ended with this code, and answers as for a
 * job.
 */
const safeSchema = headerSchema("SAFE", () => ({ job: jobId, task: name, code: v.string(), message: v.string() }));
/**
 * For a worker with `stops`, at each change and before each WELCOME: the emergency stop that holds,
 * or null. Jobs from the router get ABORT besides.
 */
const stoppedSchema = headerSchema("STOPPED", () => ({
  stopped: v.nullable(v.object({ reason: v.string(), since: v.number() })),
}));
/** The answer to LEAVE: the worker holds no job and gets none. */
const goodbyeSchema = headerSchema("GOODBYE");
/** One DATA frame a job follows. */
const putSchema = headerSchema("PUT", () => ({ jobs: jobIds, topics: names }));
const getSchema = headerSchema("GET", () => ({ jobs: jobIds, topics: names }));
/**
 * One DATA frame a topic follows: a value of one of the engine's own topics. `lost`, if there are
 * any: the number of events of that topic that were lost right before each.
 */
const eventsSchema = headerSchema("EVENTS", () => ({
  topics: v.pipe(names, v.nonEmpty(), v.maxLength(messageEventsMax)),
  lost: v.optional(v.array(v.pipe(v.number(), v.safeInteger(), v.minValue(0)))),
}));
/**
 * To data workers where there are several, at each change: those that share the topics now. What a
 * data worker has of another one's topics it hands over. Also to each worker that has asked for it.
 */
const ownersSchema = headerSchema("OWNERS", () => ({
  workers: v.pipe(v.array(dataPortsSchema()), v.maxLength(dataEndpointsMax)),
}));
/**
 * To data workers: the topics of sources with a `staleMs`, which must have a value each so many ms.
 */
const stalenessSchema = headerSchema("STALENESS", () => ({
  topics: v.pipe(v.array(v.object({ topic: name, staleMs: v.number() })), v.maxLength(sourcesMax)),
}));
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
  eventsSchema,
  ownersSchema,
  stalenessSchema,
  ...toJournalSchemas,
  goodbyeSchema,
]);

export type RouterHeader = HeaderOf<typeof fromRouter>;

/* ── Both ways ── */

const isJobId = (value: Json): value is number => Number.isSafeInteger(value) && Number(value) >= 1;
const isNumber = (value: Json): value is number => typeof value === "number";
const isString = (value: Json): value is string => typeof value === "string";

/** A loop, since `every` would take a closure for each header. */
const isListOf = <Item extends Json>(
  value: Json | undefined,
  isItem: (item: Json) => item is Item,
): value is Item[] => {
  if (!Array.isArray(value)) return false;
  for (let index = 0; index < value.length; index++) if (!isItem(value[index] as Json)) return false;
  return true;
};

const areJobIds = (value: Json | undefined): value is number[] =>
  isListOf(value, isJobId) && value.length > 0 && value.length <= messageJobsMax;

/** DONE and FAIL without `unsafe` and binary results; see `frames.ts`. */
export const fastAnswer = ({ type, jobs, ms, unsafe, contentTypes }: JsonObject) =>
  unsafe === undefined && contentTypes === undefined && areJobIds(jobs) && isListOf(ms, isNumber)
    ? { type, jobs, ms }
    : undefined;

/** JOBS of which none expires. */
export const fastJobs = ({ type, jobs, serials, ttlMs, at }: JsonObject) =>
  ttlMs === undefined && at === undefined && areJobIds(jobs) && isListOf(serials, isString)
    ? { type, jobs, serials }
    : undefined;

const fastHeaders: ReadonlyMap<string, (header: JsonObject) => unknown> = new Map<
  string,
  (header: JsonObject) => unknown
>([
  ["DONE", fastAnswer],
  ["FAIL", fastAnswer],
  ["JOBS", fastJobs],
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
  decode(fromWorker, frames, (header) => {
    switch (header.type) {
      case "DONE":
      case "FAIL":
        return { bodies: header.jobs.length, parallel: parallelOf(header) };
      case "RECOVERED":
        return { bodies: 2 * header.kept.length };
      default:
        return { bodies: withBody.has(header.type) ? 1 : 0 };
    }
  });

const withBody: ReadonlySet<string> = new Set(["PUBLISH", "PROGRESS", "LOG", "LOGGED"]);

const parallelOf = (header: Extract<WorkerHeader, { type: "DONE" | "FAIL" }>): number[] =>
  header.type === "DONE" && header.contentTypes !== undefined
    ? [header.ms.length, header.contentTypes.length]
    : [header.ms.length];

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
      case "APPEND":
        return { bodies: header.entries.length };
      case "EVENTS": {
        const items = header.topics.length;
        return { bodies: items, items, parallel: [header.lost?.length ?? items] };
      }
      default:
        return { bodies: 0 };
    }
  });

const decode = <Schema extends AnySchema>(
  schemas: ReadonlyMap<string, Schema>,
  frames: readonly Frame[],
  shapeOf: (header: OutputOf<Schema>) => { bodies: number; items?: number; parallel?: number[] },
): BackendMessage<OutputOf<Schema>> | ProtocolError => {
  const [headerBytes, ...bodies] = frames;
  if (headerBytes === undefined) return badFrame("HEADER", "missing");
  const value = decodeObject(headerBytes, "HEADER");
  if (value instanceof ProtocolError) return value;
  // An untrusted object may have a toString that is no function, so it must not become a key.
  const schema = typeof value.type === "string" ? schemas.get(value.type) : undefined;
  if (schema === undefined) return badFrame("HEADER.type", `not one of ${[...schemas.keys()].join(", ")}`);
  const fast = fastHeaders.get(schema.type)?.(value) as OutputOf<Schema> | undefined;
  const header = fast ?? (checkFrame(schema.schema, value, "HEADER") as OutputOf<Schema> | ProtocolError);
  if (header instanceof ProtocolError) return header;
  const shape = shapeOf(header);
  if (bodies.length !== shape.bodies) {
    return badFrame("message", `${header.type} with ${bodies.length} frames after HEADER instead of ${shape.bodies}`);
  }
  for (const length of shape.parallel ?? []) {
    if (length !== (shape.items ?? header.jobs?.length))
      return badFrame("HEADER", `${header.type} with lists of different lengths`);
  }
  return { header, bodies };
};
