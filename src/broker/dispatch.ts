/** Dispatch: hands the waiting jobs, best rank first, to the workers that can take them. */
import { messageJobsMax } from "../limits.ts";
import type { RouterHeader } from "../protocol/backend.ts";
import { type Effect, toWorker } from "./events.ts";
import { resourcesOf, runsAlone } from "./job.ts";
import type { JobLifecycle } from "./lifecycle.ts";
import { type JobQueues, rankOf } from "./queue.ts";
import { lockedReason } from "./runaways.ts";
import type { Job, Worker } from "./state.ts";
import type { Tables } from "./tables.ts";

export const dispatch = (tables: Tables, lifecycle: JobLifecycle, now: number): Effect[] => {
  const { blocks, queues, runaways, workers } = tables;
  const effects: Effect[] = [];
  const aborts: Effect[] = [];
  const handed = new Map<Worker, Job[]>();
  // Earlier jobs wait for these resources, for ever if later jobs took them.
  const claimed = new Set<string>();
  // They get no more jobs until they are empty, for a job that runs alone; short jobs would keep
  // them busy for ever.
  const reserved = new Set<Worker>();
  const canMove = (name: string): boolean => {
    const job = queues.first(name);
    if (job === undefined) return false;
    return job.expiresAt <= now || resourcesOf(job).length > 0 || runsAlone(job) || workers.freeFor(job) !== undefined;
  };
  // A queue leaves this set once it is empty or its first job has to wait, since no worker gets
  // freer meanwhile. Queues that no worker can take from do not enter it: the search for the best
  // of a thousand of them would take a million steps.
  const names = new Set([...queues.names()].filter(canMove));
  while (names.size > 0) {
    const name = bestOf(names, queues);
    const job = queues.first(name);
    if (job === undefined) {
      names.delete(name);
      continue;
    }
    if (job.expiresAt <= now) {
      effects.push(...lifecycle.expire(job, now));
      continue;
    }
    // A blocked job waits for its end, a paused one for somebody; neither claims anything.
    if (blocks.reasonFor(job) !== null || blocks.pauseOf(job) !== undefined) {
      names.delete(name);
      continue;
    }
    const mustWait = job.kind === "task" && isHeldUp(tables, job, claimed);
    const worker = mustWait ? undefined : workers.freeFor(job, reserved);
    if (worker !== undefined && job.durable !== null && !lifecycle.durable.mayBegin(job, worker)) {
      // The worker has enough that waits for the disk, if the job is still first.
      if (queues.first(name) === job) names.delete(name);
      continue;
    }
    if (worker !== undefined) {
      lifecycle.assign(worker, job, now);
      const others = handed.get(worker);
      if (others === undefined) handed.set(worker, [job]);
      else others.push(job);
      continue;
    }
    const lock = mustWait ? runaways.before(job) : null;
    if (lock !== null && !lock.mayPass) {
      effects.push(...lifecycle.stop(job, lockedReason(lock), now));
      continue;
    }
    names.delete(name);
    // A job that no worker can take claims no resources, preempts nothing and reserves no worker.
    if (!workers.canServe(job.queue)) continue;
    if (mustWait) aborts.push(...preempt(tables, lifecycle, job, now));
    const next = mustWait || !runsAlone(job) ? undefined : workers.nearestFor(job, reserved);
    if (next !== undefined) reserved.add(next);
    for (const resource of resourcesOf(job)) claimed.add(resource);
  }
  for (const [worker, jobs] of handed) for (const run of messagesOf(jobs)) effects.push(handOver(worker, run, now));
  // Aborts come last: a worker ignores the abort of a job that it has not got yet.
  return [...effects, ...aborts];
};

/** Other jobs hold or claim its resources, or its own task is not safe. */
const isHeldUp = ({ resources, runaways, safeStops }: Tables, job: Job, claimed: ReadonlySet<string>): boolean =>
  safeStops.of(job.name).size > 0 ||
  runaways.hasSafeStopOf(job.name) ||
  resourcesOf(job).some((resource) => claimed.has(resource) || resources.holdersOf(resource).size > 0);

/** The queue whose first job is the first of all; an empty queue comes before all others. */
const bestOf = (names: ReadonlySet<string>, queues: JobQueues): string => {
  let best = "";
  let bestRank = Number.POSITIVE_INFINITY;
  for (const name of names) {
    const job = queues.first(name);
    const rank = job === undefined ? Number.NEGATIVE_INFINITY : rankOf(job);
    if (rank >= bestRank) continue;
    best = name;
    bestRank = rank;
  }
  return best;
};

/** Ends the holders of the resources of a job that preempts, if all of them are preemptible. */
const preempt = ({ resources }: Tables, lifecycle: JobLifecycle, job: Job, now: number): Effect[] => {
  if (job.options.preempt !== true) return [];
  const holders = new Set(resourcesOf(job).flatMap((resource) => [...resources.holdersOf(resource)]));
  const isPreemptible = ({ kind, policy, priority }: Job): boolean =>
    kind === "task" && policy.preemptible === true && priority < job.priority;
  if (![...holders].every(isPreemptible)) return [];
  const message = `${job.name} of priority ${job.priority} needed its resources`;
  return lifecycle.stopAll(holders, { code: "PREEMPTED", message }, now);
};

/**
 * Splits the jobs of a worker, in their order: a message has jobs of one kind, or one safe stop.
 */
const messagesOf = (jobs: readonly Job[]): Job[][] => {
  const messages: Job[][] = [];
  for (const job of jobs) {
    const last = messages.at(-1);
    if (last?.[0]?.kind === job.kind && job.kind !== "safe" && last.length < messageJobsMax) last.push(job);
    else messages.push([job]);
  }
  return messages;
};

const handOver = ({ key }: Worker, jobs: readonly Job[], now: number): Effect => {
  const ids = jobs.map((job) => job.id);
  const bodies = jobs.map((job) => job.body);
  const topics = jobs.map((job) => job.name);
  const [first] = jobs;
  if (first?.why !== undefined) {
    const { code, message } = first.why;
    return toWorker(key, { type: "SAFE", job: first.id, task: first.name, code, message });
  }
  if (first?.kind === "get") return toWorker(key, { type: "GET", jobs: ids, topics });
  if (first?.kind === "put") return toWorker(key, { type: "PUT", jobs: ids, topics }, bodies);
  const hasTtl = jobs.some((job) => job.expiresAt < Number.POSITIVE_INFINITY);
  const serials = jobs.map((job) => (job.request ?? job.origin)?.meta.serial ?? "");
  const ttlMs = (job: Job): number | null => (job.expiresAt < Number.POSITIVE_INFINITY ? job.expiresAt - now : null);
  const header: RouterHeader = { type: "JOBS", jobs: ids, serials };
  return toWorker(key, hasTtl ? { ...header, ttlMs: jobs.map(ttlMs), at: now } : header, bodies);
};
