/**
 * The answers to CONTROL `tasks` and `status`, whose words for states are those of protocol 0.2.
 */
import {
  argumentSchemasBytesMax,
  batchTasksMax,
  frameBytesMax,
  memoryBytesMax,
  queueBytesMax,
  queueJobsMax,
  workerCreditMax,
  workersMax,
} from "../limits.ts";
import type { StopResult } from "../protocol/blocked.ts";
import type { Json, JsonObject } from "../protocol/json.ts";
import type { Policy } from "../protocol/policy.ts";
import { jobsOf, resourcesOf, retryPolicyOf, taskQueue } from "./job.ts";
import { isPending } from "./safe-stops.ts";
import type { Job, Worker } from "./state.ts";
import type { Tables } from "./tables.ts";
import { mayBeginUnattended } from "./unattended.ts";

/** `insecure`: without keys at an address that others reach. */
export type SecurityKind = "curve" | "none" | "insecure";

export const reportTasks = ({ directory, workers }: Tables): Json => {
  let schemaBytes = 0;
  const schemaOf = (name: string): { readonly schema?: Json } => {
    const schema = directory.schemaOf(name);
    if (schema === undefined) return {};
    // The answer is one frame, and workers from elsewhere have schemas, too.
    schemaBytes += Buffer.byteLength(JSON.stringify(schema));
    return schemaBytes > argumentSchemasBytesMax ? {} : { schema: { ...schema } };
  };
  return {
    tasks: directory.taskNames.map((name) => ({
      name,
      workers: workers.serving(taskQueue(name)).length,
      ...limitsIn(directory.find(name)?.policy),
      ...schemaOf(name),
    })),
    data: directory.dataWorkers.map(({ publications }) => publications),
    dataWorkers: directory.owners.map((ports) => ({ ...ports })),
  };
};

/**
 * A requestor has to know before whether it must keep a job alive, and how a job may be kept for
 * later.
 */
const limitsIn = (policy: Policy = {}): JsonObject => ({
  ...(policy.deadmanMs !== undefined && { deadmanMs: policy.deadmanMs }),
  ...(mayBeginUnattended(policy) && policy.deadmanMs === undefined && { unattended: true }),
  ...(retryPolicyOf(policy) !== null && { idempotent: true }),
});

export const reportStatus = (tables: Tables, security: SecurityKind, stopped: StopResult | null): Json => {
  const { blocks, directory, ending, journal, queues, runaways, safeStops, statistics, workers } = tables;
  // Safe stops are not counted as jobs: no requestor has asked for them.
  // Nor are durable jobs that are not on the disk yet. One whose end is not, is still held.
  const unaccepted = journal.isEmpty ? 0 : [...queues].filter(({ durable }) => durable?.isAccepted === false).length;
  const waiting = queues.jobs - [...safeStops].filter(isPending).length - unaccepted;
  const ends = [...ending.values()].filter(({ durable }) => durable?.isAccepted === true).length;
  const held = [...workers].flatMap(jobsOf).filter(({ kind }) => kind !== "safe").length + ends;
  return {
    draining: blocks.closed !== null,
    security,
    stopped: stopped && { ...stopped },
    jobs: { ...statistics.report(), waiting, held },
    queue: { jobs: waiting, bytes: queues.bytes },
    tasks: directory.taskNames.map((name) => ({
      name,
      workers: workers.serving(taskQueue(name)).length,
      waiting: queues.depth(taskQueue(name)),
      ...statistics.runsOf(name),
    })),
    locks: [...runaways].map(({ mayPass: _, resources, ...lock }) => ({ resources: [...resources], ...lock })),
    quarantined: [...blocks.quarantined].map((it) => ({ ...it })),
    troubles: blocks.troubles.map((it) => ({ ...it })),
    paused: [...blocks.paused].map(({ name, since }) => ({ task: name, since })),
    resources: resourcesReport(tables),
    safings: [...safeStops].map(safeStopReport),
    workers: [...workers].map(({ ready: { id, role, pid, endpoint, supervised = false, language }, ...worker }) => ({
      id,
      role,
      pid,
      endpoint,
      supervised,
      ...(language !== undefined && { language }),
      held: worker.held.size,
      state: worker.retired ?? (worker.givenUp.size > 0 ? "stuck" : worker.held.size > 0 ? "busy" : "idle"),
    })),
    journal: journal.report && { ...journal.report },
    sources: [...workers].flatMap(sourcesReport),
    data: [...workers].flatMap(({ ready: { id }, store }) => (store === null ? [] : [{ worker: id, ...store }])),
    limits: { queueJobsMax, queueBytesMax, frameBytesMax, batchTasksMax, workerCreditMax, workersMax, memoryBytesMax },
  };
};

/** A safe stop that is not safe yet: pending, running or unsafe. */
const safeStopReport = (job: Job): Json => ({
  task: job.name,
  state: isPending(job) ? "waiting" : job.state === "unsafe" ? "failed" : "running",
  tries: job.tries,
  why: { code: job.why?.code ?? "INTERRUPTED", message: job.why?.message ?? "" },
});

/** The sources of a worker; without figures until it has reported on them. */
const sourcesReport = ({ ready: { id, sources = [] }, sources: reports }: Worker): Json[] =>
  sources.map(({ name, topic, everyMs, staleMs = null }) => {
    const { hz = null, jitterMs = null, overruns = 0, errors = 0 } = reports.get(name) ?? {};
    return { name, topic, everyMs, staleMs, worker: id, hz, jitterMs, overruns, errors };
  });

/** Every resource that is held or waited for. */
const resourcesReport = (tables: Tables): Json[] => {
  const waiting = waitingFor(tables);
  const held = new Map(tables.resources);
  return [...new Set([...held.keys(), ...waiting.keys()])].sort().map((name) => ({
    name,
    holder: holderReport(tables, [...(held.get(name) ?? [])]),
    waiting: waiting.get(name) ?? 0,
  }));
};

/** These resources as the events of `$engine/resources` show them. */
export const reportResources = (tables: Tables, names: Iterable<string>): { readonly [key: string]: Json }[] => {
  const waiting = waitingFor(tables);
  return [...names].map((name) => {
    const { state, ...holder } = holderReport(tables, [...tables.resources.holdersOf(name)]) ?? { state: "free" };
    return { name, state, holder: state === "free" ? null : holder, waiting: waiting.get(name) ?? 0 };
  });
};

/** Counts the jobs that wait for each resource. */
const waitingFor = (tables: Tables): Map<string, number> => {
  const waiting = new Map<string, number>();
  for (const job of tables.queues) {
    if (job.kind !== "task") continue;
    for (const resource of resourcesOf(job)) waiting.set(resource, (waiting.get(resource) ?? 0) + 1);
  }
  return waiting;
};

/** Reports the holder that tells most: a lock that lasts, then a safe stop, then a job. */
const holderReport = ({ runaways }: Tables, holders: readonly Job[]) => {
  const isUnsafe = (it: Job): boolean => runaways.lockOf(it)?.mayPass === false;
  const holder = holders.find(isUnsafe) ?? holders.find(({ kind }) => kind === "safe") ?? holders[0];
  if (holder === undefined) return null;
  const state = isUnsafe(holder) ? "unsafe" : holder.kind === "safe" ? "safing" : "held";
  return { task: holder.name, serial: holder.request?.meta.serial ?? "", state };
};
