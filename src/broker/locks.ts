/**
 * What stays held though nothing here will free it: by a job of a worker that nobody here can kill, and by an `onStop` that has failed
 * too often, or that nobody serves. A person has to look; each lock says what for, and how it is ended.
 */
import { onStopTriesMax } from "../limits.ts";
import { packNow } from "../protocol/frames.ts";
import { type Job, resourcesOf, type Stop } from "./job.ts";
import type { Resources } from "./resources.ts";
import type { SafeStops } from "./safe-stops.ts";

export interface Lock {
  /** May be none: then no job of its task begins, and nothing else is held. */
  readonly resources: readonly string[];
  readonly task: string;
  /** seconds since 1970 */
  readonly since: number;
  readonly why: string;
  /** What to do, as a sentence that goes on from there. */
  readonly remedy: string;
  /** It may still end by itself: what waits for it goes on waiting. */
  readonly mayPass: boolean;
}

/** A job that its worker, which nobody here can kill, may go on with. */
interface OutOfReach {
  /** The worker is there and does not let go; is gone, and so lets go within a bounded time; or was cut off, and nobody will hear of it. */
  readonly state: "stuck" | "lost" | "abandoned";
  readonly worker: string;
  readonly why: Stop;
  readonly since: number;
}

export class Locks {
  readonly #outOfReach = new Map<Job, OutOfReach>();

  /** @param isServed whether a worker serves that task, or will: its `onStop` is run then */
  constructor(
    private readonly resources: Resources,
    private readonly safings: SafeStops,
    private readonly isServed: (task: string) => boolean,
  ) {}

  note(job: Job, state: OutOfReach["state"], worker: string, why: Stop): void {
    const since = this.#outOfReach.get(job)?.since ?? packNow();
    this.#outOfReach.set(job, { state, worker, why, since });
  }

  /** Whether this is out of reach. */
  has(job: Job): boolean {
    return this.#outOfReach.has(job);
  }

  /** Whether a run of this task's `onStop` is out of reach, and may still come. */
  isAwaited(task: string): boolean {
    for (const { kind, name } of this.#outOfReach.keys()) if (kind === "safe" && name === task) return true;
    return false;
  }

  /** It has let go. */
  forget(job: Job): boolean {
    return this.#outOfReach.delete(job);
  }

  isAbandoned(job: Job): boolean {
    return this.#outOfReach.get(job)?.state === "abandoned";
  }

  /** Somebody has looked: gives those that are not free for want of news, and forgets them. One that is known not to have let go stays. */
  takeUnheard(): [Job, Stop][] {
    const unheard = [...this.#outOfReach].filter(([, { state }]) => state !== "stuck");
    for (const [job] of unheard) this.#outOfReach.delete(job);
    return unheard.map(([job, { why }]) => [job, why]);
  }

  /** What keeps a waiting job from what it needs, first what lasts; null for nothing. */
  before(job: Job): Lock | null {
    const locks = [...this.#before(job)].map((holder) => this.by(holder)).filter((lock) => lock !== null);
    return locks.find(({ mayPass }) => !mayPass) ?? locks[0] ?? null;
  }

  /** Whether it holds what it holds until a person has looked; null where not. */
  by(holder: Job): Lock | null {
    const { name: task } = holder;
    const beyond = this.#outOfReach.get(holder);
    const lock = (since: number, why: string, remedy: string): Lock => ({
      resources: resourcesOf(holder),
      task,
      since,
      why,
      remedy,
      mayPass: beyond?.state === "stuck",
    });
    if (beyond !== undefined) {
      const { state, worker, why, since } = beyond;
      if (state === "lost") return null;
      const where = "end it where it runs, then run task-engine reset";
      return state === "stuck"
        ? lock(since, `worker ${worker} does not let go of ${task} (${why.message})`, where)
        : lock(since, `${why.message}, and worker ${worker} may go on with ${task}`, where);
    }
    if (holder.kind !== "safe" || holder.state === "held") return null;
    const since = this.safings.sinceOf(holder);
    const { code, message } = holder.why ?? { code: "INTERRUPTED", message: "" };
    if (holder.state === "ended") {
      const why = `onStop of ${task} has failed ${onStopTriesMax} times, after ${code} (${message})`;
      return lock(since, why, "make it safe by hand, mend it, then run task-engine reset");
    }
    if (this.isServed(task)) return null;
    const why = `onStop of ${task} is to be run, after ${code} (${message}), and no worker serves it any more`;
    return lock(since, why, "start one, or look whether all is safe and run task-engine reset");
  }

  /** All that there are. */
  *all(): Generator<Lock, void, undefined> {
    for (const holder of [...this.#outOfReach.keys(), ...this.safings.all()]) {
      const lock = this.by(holder);
      if (lock !== null && (holder.kind === "safe" || lock.resources.length > 0)) yield lock;
    }
  }

  *#before(job: Job): Generator<Job, void, undefined> {
    for (const resource of resourcesOf(job)) yield* this.resources.holdersOf(resource);
    yield* this.safings.of(job.name);
  }
}

/** Why a job that needs this does not begin. */
export const lockedStop = ({ resources, task, why, remedy }: Lock): Stop => {
  const [first, ...more] = resources;
  const what =
    first === undefined
      ? `${task} is`
      : more.length === 0
        ? `resource ${first} is`
        : `resources ${resources.join(", ")} are`;
  return { code: "UNAVAILABLE", message: `${what} locked: ${why}; ${remedy}` };
};
