/**
 * The jobs that this page knows of: those of `$engine/jobs`, and of the engine's own list where it
 * has one.
 */
import { ask, lineOf, pathOf } from "./api.ts";
import { current, update } from "./store.ts";
import type { Job, Json } from "./types.ts";

const jobsMax = 300;

const endStates: Readonly<Record<string, string>> = {
  TASK_ERROR: "failed",
  TIMEOUT: "timed_out",
};

export const isOver = ({ state }: Job): boolean =>
  !["accepted", "delayed", "queued", "dispatched", "running", "retrying"].includes(state);

/** One event of the topic `$engine/jobs`. */
export const onJobEvent = (event: Readonly<Record<string, Json>>): void => {
  const { event: kind, job: id, task, at } = event;
  if (typeof id !== "string" || typeof task !== "string" || typeof at !== "number") return;
  const known: Job = current().jobs.get(id) ?? { job: id, task, state: "queued", accepted: at };
  put([{ ...known, requestor: textOf(event.requestor), ...changeBy(kind, event, at) }]);
};

const changeBy = (kind: Json | undefined, event: Readonly<Record<string, Json>>, at: number): Partial<Job> => {
  switch (kind) {
    case "running":
      return { state: "running", started: at, worker: textOf(event.worker) };
    case "progress":
      return { state: "running", worker: textOf(event.worker), progress: event.progress ?? null };
    case "ended": {
      const code = textOf(event.code);
      const state = code === null ? "done" : (endStates[code] ?? code.toLowerCase());
      const ms = typeof event.ms === "number" ? event.ms : null;
      return { state, code, ms, ended: at, message: textOf(event.message), progress: null };
    }
    default:
      return {};
  }
};

const textOf = (value: Json | undefined): string | null => (typeof value === "string" ? value : null);

const put = (changed: readonly Job[]): void => {
  const jobs = new Map(current().jobs);
  for (const job of changed) {
    jobs.delete(job.job);
    jobs.set(job.job, job);
  }
  for (const [id, job] of jobs) {
    if (jobs.size <= jobsMax) break;
    if (isOver(job)) jobs.delete(id);
  }
  update({ jobs });
};

/**
 * Asks for the newest jobs. An engine that has no list of them says so; then events alone tell of
 * them.
 */
export const refreshJobs = async (): Promise<void> => {
  // Whatever ended while nobody listened: it is not known to be running any more.
  const known = [...current().jobs].filter(([, job]) => isOver(job));
  try {
    const { jobs } = await ask<{ jobs: Job[] }>("GET", pathOf(["jobs"]));
    update({ jobs: new Map(known), jobsFailure: null });
    put([...jobs].reverse());
  } catch (error) {
    if (current().jobsFailure === null) update({ jobs: new Map(known) });
    update({ jobsFailure: lineOf(error) });
  }
};
