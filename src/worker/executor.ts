/**
 * The heart of a task worker: runs jobs one at a time, in the order they came, and makes a frame or an error of what comes
 * out. It knows no socket; what it is given are decoded frames, and what it gives are encoded ones.
 */
import { taskSliceMs, workerQueueJobsMax } from "../limits.ts";
import type { ErrorCode } from "../wire/errors.ts";
import { shorten, type Task } from "../wire/frames.ts";
import type { Json, JsonObject } from "../wire/json.ts";
import { BadArgs, type Checked } from "./arguments.ts";
import { type ContextHooks, JobContext } from "./context.ts";
import { FailureLog } from "./failure-log.ts";
import { dataFrame } from "./result.ts";
import type { RegisteredTask, Registry } from "./task.ts";
import { thrownLines, thrownMessage } from "./thrown.ts";

export interface Job {
  /** without the prefix `task_` */
  readonly name: string;
  /** The requestor's name for the job; empty if it gave none. */
  readonly serial: string;
  /** Its TASK frame. The task may change the arguments in it. */
  readonly task: Task;
  /** It must not begin after this time of performance.now(); left out: whenever. */
  readonly expiresMs?: number;
  /** Called right before it begins. */
  readonly begin?: () => void;
  /** Called once, never from within `submit`. What it throws is not caught here. */
  readonly done: (outcome: Outcome) => void;
}

/** How a job ended. `data` is its DATA frame `{data, pack}`, `ms` how long it ran (0 if it never did). */
export type Outcome =
  | { readonly ok: true; readonly data: Buffer; readonly ms: number }
  | { readonly ok: false; readonly code: ErrorCode; readonly message: string; readonly ms: number };

export type ExecutorHooks = ContextHooks<Job>;

export class Executor {
  readonly #waiting: Job[] = [];
  readonly #failures = new FailureLog();
  #running: JobContext<Job> | null = null;
  /** A turn is due or a job runs: whoever adds a job need not wake anybody. */
  #isAwake = false;
  #sliceEndMs = 0;
  #drained: PromiseWithResolvers<void> | null = null;

  constructor(
    private readonly registry: Registry,
    private readonly hooks: ExecutorHooks,
  ) {}

  /** jobs that run: 0 or 1 */
  get running(): number {
    return this.#running === null ? 0 : 1;
  }

  /** jobs that wait */
  get queued(): number {
    return this.#waiting.length;
  }

  /** The job that will be begun next; null where none waits. */
  get next(): Job | null {
    return this.#waiting[0] ?? null;
  }

  /** `full`: nothing was taken and `done` will not be called. After `drain` every job is SHUTTING_DOWN. */
  submit(job: Job): "accepted" | "full" {
    if (this.#drained !== null) {
      queueMicrotask(() => job.done(shuttingDown));
      return "accepted";
    }
    if (this.#waiting.length >= workerQueueJobsMax) return "full";
    this.#waiting.push(job);
    if (!this.#isAwake) {
      this.#isAwake = true;
      queueMicrotask(this.#turn);
    }
    return "accepted";
  }

  /**
   * Ends a job early: one that waits is done at once, with this code; one that runs is asked by its signal and need not obey.
   * Does nothing for a job that is done.
   */
  stop(job: Job, code: ErrorCode, message: string): void {
    if (this.#running?.job === job) {
      this.#running.abort(new Error(`${code}: ${message}`));
      return;
    }
    const index = this.#waiting.indexOf(job);
    if (index < 0) return;
    this.#waiting.splice(index, 1);
    job.done({ ok: false, code, message, ms: 0 });
  }

  /** Asks the job that runs to end early, by its signal; `reason` is for the person who reads why. It need not obey. */
  abort(reason: string): void {
    this.#running?.abort(new Error(reason));
  }

  /**
   * Answers all that waits, and all that comes from now on, with SHUTTING_DOWN. The promise is kept when nothing runs any
   * more; it has no bound of its own, since only the supervisor can end a task that does not end itself.
   */
  drain(): Promise<void> {
    if (this.#drained !== null) return this.#drained.promise;
    this.#drained = Promise.withResolvers();
    for (const job of this.#waiting.splice(0)) queueMicrotask(() => job.done(shuttingDown));
    if (this.#running === null) queueMicrotask(this.#drained.resolve);
    return this.#drained.promise;
  }

  readonly #turn = (): void => {
    this.#sliceEndMs = performance.now() + taskSliceMs;
    this.#runWaiting();
  };

  /** Runs what waits back to back, until a job must be awaited, nothing is left, or sockets and timers want their turn. */
  #runWaiting(): void {
    for (let job = this.#waiting.shift(); job !== undefined; job = this.#waiting.shift()) {
      const endedMs = this.#start(job);
      if (endedMs === "later") return;
      if (endedMs >= this.#sliceEndMs) {
        setImmediate(this.#turn);
        return;
      }
    }
    this.#isAwake = false;
  }

  /** Runs a job. Returns when it ended, a time of performance.now(), or that it goes on and will call `#resume`. */
  #start(job: Job): number | "later" {
    const startedMs = performance.now();
    const task = this.registry.get(job.name);
    if (task === undefined) {
      job.done({
        ok: false,
        code: "UNKNOWN_TASK",
        message: `this worker has no task ${JSON.stringify(job.name)}`,
        ms: 0,
      });
      return startedMs;
    }
    if (job.expiresMs !== undefined && startedMs > job.expiresMs) {
      job.done({ ok: false, code: "EXPIRED", message: "it was not started within its ttlMs", ms: 0 });
      return startedMs;
    }
    const context = new JobContext(job, this.hooks);
    this.#running = context;
    job.begin?.();
    let result: unknown;
    try {
      result = run(task, context);
      if (isThenable(result)) {
        // Two handlers of one `then`: what `done` throws in the first must not arrive in the second as if the task threw it.
        Promise.resolve(result).then(
          (value) => this.#resume(this.#succeed(context, value, startedMs)),
          (thrown) => this.#resume(this.#fail(context, thrown, startedMs)),
        );
        return "later";
      }
    } catch (thrown) {
      return this.#fail(context, thrown, startedMs);
    }
    return this.#succeed(context, result, startedMs);
  }

  /** After a job that had to be awaited. A chain of such jobs may be one long row of microtasks: the slice goes on. */
  #resume(endedMs: number): void {
    if (endedMs >= this.#sliceEndMs) setImmediate(this.#turn);
    else this.#runWaiting();
  }

  #succeed(context: JobContext<Job>, result: unknown, startedMs: number): number {
    let data: Buffer;
    try {
      data = dataFrame(result ?? null, "result");
    } catch (thrown) {
      return this.#fail(context, thrown, startedMs);
    }
    const endedMs = performance.now();
    this.#end(context, { ok: true, data, ms: endedMs - startedMs });
    return endedMs;
  }

  /** The requestor gets the message, the log the stack. */
  #fail(context: JobContext<Job>, thrown: unknown, startedMs: number): number {
    const endedMs = performance.now();
    const { name, serial } = context.job;
    if (thrown instanceof BadArgs) {
      this.#end(context, { ok: false, code: "BAD_ARGS", message: shorten(thrown.message), ms: endedMs - startedMs });
      return endedMs;
    }
    this.#failures.add(endedMs, () => {
      const [first, ...rest] = thrownLines(thrown);
      return [`${this.hooks.tag} Task failed: ${name}${serial === "" ? "" : ` (${serial})`}: ${first}`, ...rest];
    });
    const message = shorten(thrownMessage(thrown));
    this.#end(context, { ok: false, code: "TASK_ERROR", message, ms: endedMs - startedMs });
    return endedMs;
  }

  #end(context: JobContext<Job>, outcome: Outcome): void {
    context.end();
    this.#running = null;
    context.job.done(outcome);
    this.#drained?.resolve();
  }
}

const run = (task: RegisteredTask, context: JobContext<Job>): unknown => {
  const { args, kwargs } = context.job.task;
  if (task.check === null) return task.run(args, kwargs, context);
  const checked = task.check(args, kwargs);
  if (!isThenable(checked)) return runChecked(task, checked, context);
  return checked.then((later) => {
    // Told to end while it was being checked: then it does not begin.
    context.signal.throwIfAborted();
    return runChecked(task, later, context);
  });
};

/** What a schema's output is only its task knows. */
const runChecked = (task: RegisteredTask, { args, kwargs }: Checked, context: JobContext<Job>): unknown =>
  task.run(args as Json[], kwargs as JsonObject, context);

const shuttingDown: Outcome = { ok: false, code: "SHUTTING_DOWN", message: "the engine is stopping", ms: 0 };

const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
