/** Who gets what next: hands out, best rank first, what workers can take. */
import type { Effect } from "./effects.ts";
import { handOver, runsOfOneKind } from "./handover.ts";
import { type Job, resourcesOf } from "./job.ts";
import type { Jobs } from "./jobs.ts";
import { lockedStop } from "./locks.ts";
import { preempt } from "./preempt.ts";
import { type JobQueues, rankOf } from "./queue.ts";
import { runsAlone, type Worker, type Workers } from "./workers.ts";

export const dispatch = (jobs: Jobs, workers: Workers, now: number): Effect[] => {
  const { queues, lifecycle: endings } = jobs;
  const effects: Effect[] = [];
  const aborts: Effect[] = [];
  const handed = new Map<Worker, Job[]>();
  // What waiting jobs need that were before those that come now: none of them is overtaken for ever.
  const claimed = new Set<string>();
  // Workers that are to get idle for what takes a whole one; short jobs that stream to them would keep them busy for ever.
  const kept = new Set<Worker>();
  const canMove = (name: string): boolean => {
    const job = queues.first(name);
    if (job === undefined) return false;
    return job.expiresAt <= now || needsMore(job) || workers.freeFor(job) !== undefined;
  };
  // A queue leaves this set once it is empty or its first job has to wait; no worker gets freer meanwhile. Those that
  // nobody can take from do not even enter it: a thousand of them would be compared with each other a million times.
  const names = new Set([...queues.names()].filter(canMove));
  while (names.size > 0) {
    const name = bestOf(names, queues);
    const job = queues.first(name);
    if (job === undefined) {
      names.delete(name);
      continue;
    }
    if (job.expiresAt <= now) {
      effects.push(...endings.expire(job, now));
      continue;
    }
    // It waits for its end, and claims nothing.
    if (endings.blockedReason(job) !== null) {
      names.delete(name);
      continue;
    }
    const isBlocked = endings.isBlocked(job, claimed);
    const worker = isBlocked ? undefined : workers.freeFor(job, kept);
    if (worker === undefined) {
      const lock = isBlocked ? endings.locks.before(job) : null;
      if (lock !== null && !lock.mayPass) {
        effects.push(...endings.stop(job, lockedStop(lock), now));
        continue;
      }
      names.delete(name);
      // What could not be run anyway takes nothing from others, and keeps nothing from them.
      if (!workers.canServe(job.queue)) continue;
      if (isBlocked) aborts.push(...preempt(jobs, job, now));
      const next = isBlocked || !runsAlone(job) ? undefined : workers.nearestFor(job, kept);
      if (next !== undefined) kept.add(next);
      for (const resource of resourcesOf(job)) claimed.add(resource);
      continue;
    }
    jobs.assign(worker, job, now);
    const others = handed.get(worker);
    if (others === undefined) handed.set(worker, [job]);
    else others.push(job);
  }
  for (const [worker, its] of handed) for (const run of runsOfOneKind(its)) effects.push(handOver(worker, run, now));
  // Last: what is to end may have been handed over just now, and a worker heeds no signal for what it does not know yet.
  return [...effects, ...aborts];
};

/** Where such a job has to wait, it has a say in what others get. */
const needsMore = (job: Job): boolean => resourcesOf(job).length > 0 || runsAlone(job);

/** The queue whose first job is the first of all; an empty one before all others. */
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
