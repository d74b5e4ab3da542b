/** The messages that hand jobs to a worker. */
import { messageJobsMax } from "../limits.ts";
import type { RouterHeader } from "../protocol/backend.ts";
import { type Effect, toWorker } from "./effects.ts";
import type { Job } from "./job.ts";
import type { Worker } from "./workers.ts";

/** A message to a worker has jobs of one kind, and no more than `messageJobsMax`, or one safing; their order stays. */
export const runsOfOneKind = (jobs: readonly Job[]): Job[][] => {
  const runs: Job[][] = [];
  for (const job of jobs) {
    const run = runs.at(-1);
    if (run?.[0]?.kind === job.kind && job.kind !== "safe" && run.length < messageJobsMax) run.push(job);
    else runs.push([job]);
  }
  return runs;
};

export const handOver = (worker: Worker, jobs: readonly Job[], now: number): Effect => {
  const ids = jobs.map((job) => job.id);
  const [first] = jobs;
  if (first?.why !== undefined) {
    return toWorker(worker.key, { type: "SAFE", job: first.id, task: first.name, ...first.why });
  }
  const kind = first?.kind;
  if (kind !== "task") {
    const header: RouterHeader = {
      type: kind === "put" ? "PUT" : "GET",
      jobs: ids,
      topics: jobs.map((job) => job.name),
    };
    return toWorker(worker.key, header, kind === "put" ? jobs.map((job) => job.body) : []);
  }
  const hasTtl = jobs.some((job) => job.expiresAt < Number.POSITIVE_INFINITY);
  const serials = jobs.map((job) => job.request?.meta.serial ?? "");
  return toWorker(
    worker.key,
    { type: "JOBS", jobs: ids, serials, ...(hasTtl && { ttlMs: jobs.map((job) => ttlOf(job, now)), at: now }) },
    jobs.map((job) => job.body),
  );
};

/** ms after which it must not begin; null for none. */
const ttlOf = ({ expiresAt }: Job, now: number): number | null =>
  expiresAt === Number.POSITIVE_INFINITY ? null : expiresAt - now;
