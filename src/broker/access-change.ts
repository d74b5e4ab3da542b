/** A change of the rights: workers and jobs that may not be any more end, also those that run. */
import type { Access } from "../security/access.ts";
import { refusalOfWorker } from "../security/rights.ts";
import type { Effect } from "./events.ts";
import { jobsOf } from "./job.ts";
import type { JobLifecycle } from "./lifecycle.ts";
import type { Tables } from "./tables.ts";
import type { WorkerLoss } from "./worker-loss.ts";
import type { WorkerRegistration } from "./worker-registration.ts";

/** Takes the rights from now on. */
export const changeAccess = (
  tables: Tables,
  lifecycle: JobLifecycle,
  workerRegistration: WorkerRegistration,
  workerLoss: WorkerLoss,
  access: Access,
  now: number,
): Effect[] => {
  const before = tables.access;
  tables.access = access;
  const { queues, workers } = tables;
  const effects: Effect[] = [];
  for (const worker of workers) {
    const refusal = access.isAnotherSince(before, worker.user)
      ? access.revokedKeyMessage(worker.user)
      : refusalOfWorker(access, worker.user, worker.ready);
    if (refusal === null) continue;
    effects.push(...workerRegistration.refuse(worker.key, worker.ready, "UNAUTHORIZED", refusal));
    effects.push(...workerLoss.revoked(worker, refusal, now));
  }
  for (const job of [...queues, ...[...workers].flatMap(jobsOf)]) {
    // A job goes on without its request: detached ones, and those of an earlier router.
    const user = job.origin?.user ?? null;
    const refusal =
      access.refusalSince(before, user, rightOf[job.kind], job.name) ??
      (job.origin?.meta.onBehalf === undefined ? null : access.refusal(user, "delegate"));
    if (refusal === null) continue;
    effects.push(...lifecycle.stop(job, { code: "UNAUTHORIZED", message: refusal }, now));
    // At once, because the connection of its requestor will be cut.
    effects.push(...lifecycle.answerEarly(job, now));
  }
  return effects;
};

/** A safe stop has no requestor, so its right is not looked at. */
const rightOf = { task: "send", put: "write", get: "read", safe: "send" } as const;
