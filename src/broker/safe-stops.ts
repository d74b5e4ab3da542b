/**
 * What makes the hardware of cut-off jobs safe: runs of their tasks' `onStop`, each a job of its own kind. Until one has succeeded
 * no job of its task begins, and what the task's jobs hold is held by it. One that has failed too often stays so until `retry`.
 */

import { packNow } from "../protocol/frames.ts";
import type { Policy } from "../protocol/policy.ts";
import type { Effect } from "./effects.ts";
import { createJob, type Draft, type Job, resourcesOf, type Stop, safeQueue } from "./job.ts";
import { Multimap } from "./multimap.ts";
import type { Outcome } from "./outcome.ts";
import type { JobQueues } from "./queue.ts";
import type { Resources } from "./resources.ts";
import type { KnownTask } from "./task-directory.ts";

/** What one came to that is not done: `waiting` for a worker or its next try. */
export interface Safing {
  readonly task: string;
  readonly state: "waiting" | "running" | "failed";
  readonly tries: number;
  readonly why: Stop;
}

export class SafeStops {
  /** Those that have not succeeded, by their task. */
  readonly #byTask = new Multimap<string, Job>();
  /** seconds since 1970 */
  readonly #since = new WeakMap<Job, number>();

  constructor(
    private readonly queues: JobQueues,
    private readonly resources: Resources,
    private readonly nextId: () => number,
  ) {}

  /** Tasks whose hardware is not known to be safe. */
  get tasks(): string[] {
    return [...this.#byTask.keys()];
  }

  /** Those that are in a queue, or wait for their next try. */
  get waiting(): number {
    return [...this.all()].filter(isWaiting).length;
  }

  isPending(task: string): boolean {
    return this.#byTask.has(task);
  }

  /** A job of this task has ended so, other than by itself. Takes hold of what the task's jobs hold. */
  start(task: string, policy: Policy, why: Stop, now: number): void {
    // One that has not begun does for both.
    if ([...this.#byTask.get(task)].some(isWaiting)) return;
    const { resources = [], onStopMs } = policy;
    const draft: Draft = {
      kind: "safe",
      name: task,
      queue: safeQueue(task),
      body: "",
      bytes: 0,
      options: {},
      // Not its limits of time: they are the job's.
      policy: { onStop: true, resources, ...(onStopMs !== undefined && { onStopMs }) },
      why,
    };
    const job = createJob(draft, this.nextId(), { request: null, part: 0 }, now);
    this.#byTask.add(task, job);
    this.#since.set(job, packNow());
    this.resources.take(job);
    this.queues.push(job);
  }

  /** Jobs of before may have been cut off, and nobody knows which. */
  startAll(tasks: readonly KnownTask[], now: number): void {
    const message = "the engine was cut off while a job of it may have been running";
    for (const { name, ...policy } of tasks) {
      if (policy.onStop === true) this.start(name, policy, { code: "INTERRUPTED", message }, now);
    }
  }

  /** Takes a safing's end. */
  ended(job: Job, outcome: Outcome): Effect[] {
    if (outcome.code !== null) {
      const held = resourcesOf(job);
      const locked = held.length === 0 ? "no job of it begins" : `${held.join(", ")} stay locked`;
      const line = `onStop of ${job.name} has failed ${job.tries + 1} times (${outcome.code}), and ${locked}; make it safe by hand, mend it, then run task-engine reset`;
      return [{ to: "log", line }];
    }
    this.#byTask.delete(job.name, job);
    this.resources.release(job);
    return [];
  }

  /** Begins anew with those that have failed; frees what nobody serves that could run it, for somebody has looked. */
  retry(isServed: (task: string) => boolean): void {
    for (const job of [...this.all()].filter(({ state }) => state !== "held")) {
      if (!isServed(job.name)) {
        this.queues.remove(job);
        job.state = "ended";
        this.#byTask.delete(job.name, job);
        this.resources.release(job);
      } else if (job.state === "ended") {
        job.tries = 0;
        job.kills = 0;
        this.queues.push(job);
      }
    }
  }

  of(task: string): ReadonlySet<Job> {
    return this.#byTask.get(task);
  }

  /** seconds since 1970 */
  sinceOf(job: Job): number {
    return this.#since.get(job) ?? 0;
  }

  report(): Safing[] {
    return [...this.all()].map((job) => ({
      task: job.name,
      state: job.state === "ended" ? "failed" : job.state === "held" ? "running" : "waiting",
      tries: job.tries,
      why: job.why ?? unknown,
    }));
  }

  *all(): Generator<Job, void, undefined> {
    for (const [, its] of this.#byTask) yield* its;
  }
}

const isWaiting = ({ state }: Job): boolean => state === "queued" || state === "waiting";

const unknown: Stop = { code: "INTERRUPTED", message: "" };
