/** What a running task can reach of the engine. */
import { nameLengthMax } from "../limits.ts";
import { say } from "../process/log.ts";
import type { Json } from "../protocol/json.ts";
import type { StopReason, TaskContext } from "../tasks/task.ts";
import { dataFrame } from "./result.ts";

/** What a context belongs to. `name`: the task's, without the prefix `task_`. `serial`: the requestor's; may be empty. */
export interface Named {
  readonly name: string;
  readonly serial: string;
}

/** Where what a task says while it runs goes. The frames are DATA frames `{data, pack}`. */
export interface ContextHooks<Job> {
  /** Who speaks, in each line for people: `[WORKER-7758(TASK)]`. */
  readonly tag: string;
  progress(job: Job, dataFrame: string): void;
  /** False where it is lost. */
  publish(topic: string, dataFrame: string, task: string): boolean;
}

export class JobContext<Job extends Named> implements TaskContext {
  /** The task itself was called: until then nothing has moved. */
  hasBegun = false;
  /** Made when it is asked for: most tasks are over before anybody could abort them. */
  #abort: AbortController | undefined;
  #abortReason: Error | undefined;
  #why: StopReason | null = null;
  #hasEnded = false;

  constructor(
    readonly job: Job,
    private readonly hooks: ContextHooks<Job>,
  ) {}

  get jobSerial(): string {
    return this.job.serial;
  }

  get signal(): AbortSignal {
    this.#abort ??= new AbortController();
    if (this.#abortReason !== undefined) this.#abort.abort(this.#abortReason);
    return this.#abort.signal;
  }

  // Each gives a function of its own, so that a task may take it out of its context; most tasks ask for none.
  get progress(): (data: Json) => void {
    return (data) => {
      const frame = dataFrame(data, "progress");
      if (!this.#hasEnded) this.hooks.progress(this.job, frame);
    };
  }

  get log(): (line: string) => void {
    return (line) => say(`${this.hooks.tag} ${this.job.name}: ${line}`);
  }

  get publish(): (topic: string, data: Json) => boolean {
    return (topic, data) => {
      checkTopic(topic);
      return this.hooks.publish(topic, dataFrame(data, "data"), this.job.name);
    };
  }

  /** Why the task was asked to stop early; null where it was not. */
  get why(): StopReason | null {
    return this.#why;
  }

  /** Asks the task to stop early. It may be asked again; the first reason stays. */
  abort(why: StopReason): void {
    if (this.#why !== null) return;
    this.#why = why;
    this.#abortReason = new Error(`${why.code}: ${why.message}`);
    this.#abort?.abort(this.#abortReason);
  }

  /** The reply is out: what a forgotten timer of the task says now belongs to no job. */
  end(): void {
    this.#hasEnded = true;
  }
}

const checkTopic = (topic: unknown): void => {
  if (typeof topic !== "string" || topic === "" || topic.length > nameLengthMax || topic.startsWith("$")) {
    throw new TypeError(`a topic must be a string of 1 to ${nameLengthMax} characters that does not begin with $`);
  }
};
