/**
 * Runaways and locks. A runaway is a job that a worker may go on with after its end, out of reach
 * of the engine. Only a person can free a lock: a runaway, a safe stop that is unsafe, or
 * one that no worker serves. Each lock says why it is there and how to end it.
 */
import { onStopTriesMax } from "../limits.ts";
import { resourcesOf } from "./job.ts";
import { isPending, type Resources, type SafeStops, unsafeRemedy } from "./safe-stops.ts";
import type { BrokerState, EndReason, Job, Runaway } from "./state.ts";

export const runawayRemedy = "end it where it runs, then run task-engine reset";

interface Lock {
  /** Empty: no job of its task begins, and nothing else is held. */
  readonly resources: readonly string[];
  readonly task: string;
  /** seconds since 1970 */
  readonly since: number;
  readonly why: string;
  /** The action that ends it, as words that follow `why`. */
  readonly remedy: string;
  /** It may still end by itself, so jobs go on waiting for it. */
  readonly mayPass: boolean;
}

export class Runaways {
  readonly #runaways: BrokerState["runaways"] = new Map();

  /**
   * @param isServed returns true if a worker serves the task, or will: then its safe stop is run
   */
  constructor(
    private readonly resources: Resources,
    private readonly safeStops: SafeStops,
    private readonly isServed: (task: string) => boolean,
    private readonly wallSeconds: () => number,
  ) {}

  note(job: Job, state: Runaway["state"], worker: string, why: EndReason): void {
    const since = this.#runaways.get(job)?.since ?? this.wallSeconds();
    this.#runaways.set(job, { state, worker, why, since });
    this.resources.changed(job);
  }

  /**
   * Moves a runaway and its resources to a copy of its job, which is returned. The job itself may
   * be tried again, by a policy with other resources.
   */
  splitOff(job: Job): Job {
    const run: Job = { ...job, state: "ended" };
    const runaway = this.#runaways.get(job);
    if (runaway !== undefined) this.#runaways.set(run, runaway);
    this.#runaways.delete(job);
    this.resources.take(run);
    this.resources.release(job);
    return run;
  }

  stateOf(job: Job): Runaway["state"] | null {
    return this.#runaways.get(job)?.state ?? null;
  }

  /** The job has let go. Returns false if it is no runaway. */
  forget(job: Job): boolean {
    return this.#runaways.delete(job);
  }

  /** Returns true if a safe stop of this task is a runaway, and may still touch its hardware. */
  hasSafeStopOf(task: string): boolean {
    for (const { kind, name } of this.#runaways.keys()) if (kind === "safe" && name === task) return true;
    return false;
  }

  /**
   * After a reset: forgets and returns all but the stuck ones, which are known not to have let go.
   */
  reset(): [Job, EndReason][] {
    const passed = [...this.#runaways].filter(([, { state }]) => state !== "stuck");
    for (const [job] of passed) this.#runaways.delete(job);
    return passed.map(([job, { why }]) => [job, why]);
  }

  /** The lock that a waiting job waits for, one that lasts if there is one; null for none. */
  before(job: Job): Lock | null {
    const holders = resourcesOf(job).flatMap((resource) => [...this.resources.holdersOf(resource)]);
    const locks = [...holders, ...this.safeStops.of(job.name)].map((holder) => this.lockOf(holder));
    return locks.find((lock) => lock?.mayPass === false) ?? locks.find((lock) => lock !== null) ?? null;
  }

  *[Symbol.iterator](): Generator<Lock, void, undefined> {
    for (const holder of [...this.#runaways.keys(), ...this.safeStops]) {
      const lock = this.lockOf(holder);
      if (lock !== null && (holder.kind === "safe" || lock.resources.length > 0)) yield lock;
    }
  }

  /** The lock that this job is; null if it will end by itself. */
  lockOf(holder: Job): Lock | null {
    const { name: task } = holder;
    const runaway = this.#runaways.get(holder);
    const lock = (since: number, why: string, remedy: string): Lock => ({
      resources: resourcesOf(holder),
      task,
      since,
      why,
      remedy,
      mayPass: runaway?.state === "stuck",
    });
    if (runaway !== undefined) {
      const { state, worker, why, since } = runaway;
      if (state === "disconnected") return null;
      return state === "stuck"
        ? lock(since, `worker ${worker} does not let go of ${task} (${why.message})`, runawayRemedy)
        : lock(since, `${why.message}, and worker ${worker} may go on with ${task}`, runawayRemedy);
    }
    if (holder.kind !== "safe" || holder.why === undefined) return null;
    const { code, message, since } = holder.why;
    if (holder.state === "unsafe") {
      const why = `onStop of ${task} has failed ${onStopTriesMax} times, after ${code} (${message})`;
      return lock(since, why, unsafeRemedy);
    }
    if (!isPending(holder) || this.isServed(task)) return null;
    const why = `onStop of ${task} is to be run, after ${code} (${message}), and no worker serves it any more`;
    return lock(since, why, "start one, or look whether all is safe and run task-engine reset");
  }
}

/** The error of a job that waits for a lock that lasts. */
export const lockedReason = ({ resources, task, why, remedy }: Lock): EndReason => {
  const [first, ...more] = resources;
  const what =
    first === undefined
      ? `${task} is`
      : more.length === 0
        ? `resource ${first} is`
        : `resources ${resources.join(", ")} are`;
  return { code: "UNAVAILABLE", message: `${what} locked: ${why}; ${remedy}` };
};
