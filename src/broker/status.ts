/** What the router tells of itself: the answers to CONTROL `tasks` and `status`. */

import {
  batchTasksMax,
  frameBytesMax,
  memoryBytesMax,
  queueBytesMax,
  queueJobsMax,
  workerCreditMax,
  workersMax,
} from "../limits.ts";
import type { StopResult } from "../protocol/blocked.ts";
import type { Json } from "../protocol/json.ts";
import { type Job, resourcesOf, taskQueue } from "./job.ts";
import type { Jobs } from "./jobs.ts";
import type { Statistics } from "./statistics.ts";
import type { TaskDirectory } from "./task-directory.ts";
import type { Held, Workers } from "./workers.ts";

export const reportTasks = (catalogue: TaskDirectory, workers: Workers): Json => ({
  tasks: catalogue.taskNames.map((name) => ({ name, workers: workers.serving(taskQueue(name)).length })),
  data: [...catalogue.dataEndpoints],
});

/** `insecure`: without keys at an address that others reach. */
export type SecurityKind = "curve" | "none" | "insecure";

/** What holds for the engine as a whole. */
export interface EngineState {
  readonly draining: boolean;
  readonly security: SecurityKind;
  readonly stopped: StopResult | null;
}

// Nobody has asked for what makes something safe.
const waitingIn = ({ queues, lifecycle: endings }: Jobs): number => queues.jobs - endings.safeStops.waiting;
const isAskedFor = ({ job }: Held): boolean => job.kind !== "safe";

export const reportStatus = (
  catalogue: TaskDirectory,
  workers: Workers,
  jobs: Jobs,
  statistics: Statistics,
  engine: EngineState,
): Json => ({
  ...engine,
  stopped: engine.stopped && { ...engine.stopped },
  jobs: {
    ...statistics.report(),
    waiting: waitingIn(jobs),
    held: [...workers].reduce((sum, { held }) => sum + [...held.values()].filter(isAskedFor).length, 0),
  },
  queue: { jobs: waitingIn(jobs), bytes: jobs.queues.bytes },
  tasks: catalogue.taskNames.map((name) => ({
    name,
    workers: workers.serving(taskQueue(name)).length,
    waiting: jobs.queues.depth(taskQueue(name)),
    ...statistics.runsOf(name),
  })),
  locks: [...jobs.lifecycle.locks.all()].map(({ mayPass: _, resources, ...it }) => ({
    resources: [...resources],
    ...it,
  })),
  quarantined: jobs.lifecycle.quarantine.tasks.map((it) => ({ ...it })),
  resources: resourcesReport(jobs),
  safings: jobs.lifecycle.safeStops.report().map(({ why, ...safing }) => ({ ...safing, why: { ...why } })),
  workers: [...workers].map(({ ready: { id, role, pid, endpoint, supervised = false }, held, retired, givenUp }) => ({
    id,
    role,
    pid,
    endpoint,
    supervised,
    held: held.size,
    state: retired ?? (givenUp.size > 0 ? "stuck" : held.size > 0 ? "busy" : "idle"),
  })),
  limits: { queueJobsMax, queueBytesMax, frameBytesMax, batchTasksMax, workerCreditMax, workersMax, memoryBytesMax },
});

/** Every resource that is held or waited for. */
const resourcesReport = (jobs: Jobs): Json[] => {
  const waiting = new Map<string, number>();
  for (const job of jobs.queues) {
    if (job.kind !== "task") continue;
    for (const resource of resourcesOf(job)) waiting.set(resource, (waiting.get(resource) ?? 0) + 1);
  }
  const held = new Map(jobs.lifecycle.resources);
  return [...new Set([...held.keys(), ...waiting.keys()])].sort().map((name) => ({
    name,
    holder: holderReport(jobs, held.get(name)),
    waiting: waiting.get(name) ?? 0,
  }));
};

/** What makes it safe says more than the job that it is made safe for, and that nothing does says most. */
const holderReport = ({ lifecycle: endings }: Jobs, holders: Iterable<Job> = []): Json => {
  const all = [...holders];
  const isUnsafe = (it: Job): boolean => endings.locks.by(it)?.mayPass === false;
  const holder = all.find(isUnsafe) ?? all.find(({ kind }) => kind === "safe") ?? all[0];
  if (holder === undefined) return null;
  const state = isUnsafe(holder) ? "unsafe" : holder.kind === "safe" ? "safing" : "held";
  return { task: holder.name, serial: holder.request?.meta.serial ?? "", state };
};
