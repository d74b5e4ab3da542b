/**
 * Resources and safe stops. A job takes all resources that it needs when it is dispatched, or none.
 * They are free again once it has ended and is known to be safe. Until then its safe stop holds
 * them, a job of its own kind that runs the `onStop` of the task; no other job of the task begins
 * meanwhile.
 */
import type { Policy } from "../protocol/policy.ts";
import { Multimap } from "./collections.ts";
import type { EngineEvents } from "./engine-events.ts";
import type { Effect, NamedPolicy } from "./events.ts";
import { createJob, resourcesOf, safeQueue } from "./job.ts";
import type { JobOutcome } from "./outcome.ts";
import type { JobQueues } from "./queue.ts";
import type { BrokerState, Draft, EndReason, Job } from "./state.ts";

export class Resources {
  readonly #holders: BrokerState["holders"] = new Multimap();

  constructor(private readonly events: EngineEvents) {}

  [Symbol.iterator](): IterableIterator<[resource: string, holders: ReadonlySet<Job>]> {
    return this.#holders[Symbol.iterator]();
  }

  holdersOf(resource: string): ReadonlySet<Job> {
    return this.#holders.get(resource);
  }

  take(job: Job): void {
    for (const resource of resourcesOf(job)) this.#holders.add(resource, job);
    this.changed(job);
  }

  release(job: Job): void {
    for (const resource of resourcesOf(job)) this.#holders.delete(resource, job);
    this.changed(job);
  }

  /** To be told of each change of their holders, and of jobs that wait for them. */
  changed(job: Job): void {
    if (this.events.watchesResources) this.events.touch(job);
  }
}

export const unsafeRemedy = "make it safe by hand, fix it, then run task-engine reset";

/** It waits for a worker, or for its next try. */
export const isPending = ({ state }: Job): boolean => state === "queued" || state === "retrying";

export class SafeStops {
  readonly #byTask: BrokerState["safeStops"] = new Multimap();

  constructor(
    private readonly queues: JobQueues,
    private readonly resources: Resources,
    private readonly nextId: () => number,
    private readonly wallSeconds: () => number,
  ) {}

  [Symbol.iterator](): IterableIterator<Job> {
    return this.#byTask.values();
  }

  /** Tasks whose hardware is not known to be safe. */
  get tasks(): string[] {
    return [...this.#byTask.keys()];
  }

  /** Safe stops of a task: running ones, one that is pending, unsafe ones. */
  of(task: string): ReadonlySet<Job> {
    return this.#byTask.get(task);
  }

  /**
   * Starts the safe stop of a job that has ended other than as done, if its task has an `onStop`.
   */
  startFor(job: Job, why: EndReason, now: number): void {
    if (job.policy.onStop === true) this.#start(job.name, job.policy, job.stop ?? why, now);
  }

  /** Jobs of an earlier router may have been cut off, and nobody knows which. */
  startAll(tasks: readonly NamedPolicy[], now: number): void {
    const message = "the engine was cut off while a job of it may have been running";
    for (const { name, schema: _, ...policy } of tasks) {
      if (policy.onStop === true) this.#start(name, policy, { code: "INTERRUPTED", message }, now);
    }
  }

  /** A safe stop has succeeded, or has failed too often. */
  end(job: Job, outcome: JobOutcome): Effect[] {
    if (outcome.code === null) {
      this.#free(job);
      return [];
    }
    job.state = "unsafe";
    this.resources.changed(job);
    const resources = resourcesOf(job);
    const locked = resources.length === 0 ? "no job of it begins" : `${resources.join(", ")} stay locked`;
    const failed = `onStop of ${job.name} has failed ${job.tries + 1} times (${outcome.code}), and ${locked}`;
    return [{ to: "log", line: `${failed}; ${unsafeRemedy}` }];
  }

  /** A person has looked: unsafe ones are tried again, those of tasks without workers are over. */
  reset(isServed: (task: string) => boolean): void {
    for (const job of [...this].filter((it) => it.state === "unsafe" || isPending(it))) {
      if (!isServed(job.name)) {
        this.queues.remove(job);
        this.#free(job);
      } else if (job.state === "unsafe") {
        job.tries = 0;
        job.kills = 0;
        this.queues.push(job);
      }
    }
  }

  #start(task: string, policy: Policy, why: EndReason, now: number): void {
    const { resources = [], onStopMs } = policy;
    const pending = [...this.of(task)].find(isPending);
    if (pending !== undefined) {
      // It serves both jobs, whose resources differ if a reload came between them.
      pending.policy = { ...pending.policy, resources: [...new Set([...resourcesOf(pending), ...resources])] };
      this.resources.take(pending);
      return;
    }
    const draft: Draft = {
      kind: "safe",
      name: task,
      queue: safeQueue(task),
      body: "",
      bytes: 0,
      options: {},
      // Without the time limits of the task, which are for its jobs.
      policy: { onStop: true, resources, ...(onStopMs !== undefined && { onStopMs }) },
      why: { ...why, since: this.wallSeconds() },
    };
    const job = createJob(draft, this.nextId(), { request: null, part: 0 }, now);
    this.#byTask.add(task, job);
    this.resources.take(job);
    this.queues.push(job);
  }

  #free(job: Job): void {
    job.state = "ended";
    this.#byTask.delete(job.name, job);
    this.resources.release(job);
  }
}
