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
import type { Json } from "../wire/json.ts";
import type { Catalogue } from "./catalogue.ts";
import { taskQueue } from "./job.ts";
import type { Jobs } from "./jobs.ts";
import type { Statistics } from "./statistics.ts";
import type { Workers } from "./workers.ts";

export const reportTasks = (catalogue: Catalogue, workers: Workers): Json => ({
  tasks: catalogue.taskNames.map((name) => ({ name, workers: workers.serving(taskQueue(name)).length })),
  data: [...catalogue.dataEndpoints],
});

/** `insecure`: without keys at an address that others reach. */
export type SecurityKind = "curve" | "none" | "insecure";

export const reportStatus = (
  catalogue: Catalogue,
  workers: Workers,
  jobs: Jobs,
  statistics: Statistics,
  draining: boolean,
  security: SecurityKind,
): Json => ({
  draining,
  security,
  jobs: {
    ...statistics.report(),
    waiting: jobs.queues.jobs,
    held: [...workers].reduce((sum, { held }) => sum + held.size, 0),
  },
  queue: { jobs: jobs.queues.jobs, bytes: jobs.queues.bytes },
  tasks: catalogue.taskNames.map((name) => ({
    name,
    workers: workers.serving(taskQueue(name)).length,
    waiting: jobs.queues.depth(taskQueue(name)),
    ...statistics.runsOf(name),
  })),
  workers: [...workers].map(({ ready: { id, role, pid, endpoint, supervised = false }, held, retired, stuckOn }) => ({
    id,
    role,
    pid,
    endpoint,
    supervised,
    held: held.size,
    state: retired ?? (stuckOn !== null ? "stuck" : held.size > 0 ? "busy" : "idle"),
  })),
  limits: { queueJobsMax, queueBytesMax, frameBytesMax, batchTasksMax, workerCreditMax, workersMax, memoryBytesMax },
});
