/**
 * The heart of a task worker: runs jobs one at a time, in the order in which they came, and makes
 * an outcome of each. It knows no socket; it takes decoded frames and gives encoded ones.
 *
 * A job that has begun and has failed or was aborted is followed by its task's `onStop`, before it
 * is answered and before anything else begins. An `onStop` alone, for a job of another process,
 * goes before all waiting jobs. Nothing in the worker ends an `onStop` early: the emergency stop
 * and the stop of the engine wait for it.
 */
import { catchUpAfterMs, taskSliceMs, workerQueueJobsMax } from "../limits.ts";
import { type ErrorCode, shorten } from "../protocol/errors.ts";
import { BadArgs } from "../tasks/arguments.ts";
import type { RegisteredTask, Registry, StopReason } from "../tasks/task.ts";
import { isA, thrownLines, thrownMessage } from "../tasks/thrown.ts";
import { type ContextHooks, dataFrame, JobContext } from "./context.ts";
import { FailureLog, runAs } from "./failures.ts";
import { isOnStopJob, leftUnbegun, type OnStopJob, type TaskJob, type TaskOutcome, type WorkerJob } from "./job.ts";
import { QuickTasks } from "./pacing.ts";
import { Restrictions } from "./restrictions.ts";
import { type BinaryFrame, encodeResult } from "./result.ts";
import { isThenable, type OnStopFailure, runOnStop, runTask } from "./user-code.ts";

interface ExecutorHooks extends ContextHooks {
  /** Called before a job of this task begins, or its `onStop` alone. */
  readonly begins?: (task: string) => void;
  /** Called when that has ended, its `onStop` included. */
  readonly ends?: () => void;
  /** Called when nothing runs and nothing waits any more. */
  readonly idle?: () => void;
  /** Called when work begins after so many ms of pause or long work: waiting messages go first. */
  readonly catchUp?: (awayMs: number) => void;
}

/**
 * idle: nothing runs, nothing waits; `submit` plans a turn.
 * between: a turn is planned or under way, and nothing runs at this moment.
 * task: a task runs; it is `#running`.
 * onStop: an `onStop` runs, after its job or alone.
 */
type Phase = "idle" | "between" | "task" | "onStop";

/** The time of performance.now() at which a job ended; "later" if it will call `#resume`. */
type Ended = number | "later";

export class Executor {
  #phase: Phase = "idle";
  /** In the order in which they will begin: every OnStopJob before every TaskJob. */
  readonly #waiting: WorkerJob[] = [];
  /** The job that runs, until it lets go; null in every phase but `task`. */
  #running: JobContext<TaskJob> | null = null;
  /** Time of performance.now() at which sockets and timers get their turn. */
  #sliceEndMs = 0;
  /** Resolved when the running job lets go; null while nobody waits for that. */
  #letGo: PromiseWithResolvers<void> | null = null;
  /** Made by `drain`, resolved when nothing runs. */
  #drained: PromiseWithResolvers<void> | null = null;
  readonly #quick = new QuickTasks();
  readonly #failures = new FailureLog();

  constructor(
    private readonly registry: Registry,
    private readonly hooks: ExecutorHooks,
    private readonly restrictions = new Restrictions(),
  ) {}

  /** Number of jobs that run, or whose `onStop` does: 0 or 1. */
  get running(): number {
    return this.#phase === "task" || this.#phase === "onStop" ? 1 : 0;
  }

  get isIdle(): boolean {
    return this.#phase === "idle";
  }

  get queued(): number {
    return this.#waiting.length;
  }

  /** The job that begins next, if it is so quick that earlier answers may wait for its own. */
  get quickNext(): WorkerJob | null {
    const next = this.#waiting[0];
    return next !== undefined && this.#quick.has(next.name) ? next : null;
  }

  runs(job: WorkerJob): boolean {
    return this.#running?.job === job;
  }

  /** Takes a job, or not if "full". After `drain` each job ends as `leftUnbegun`. */
  submit(job: WorkerJob): "accepted" | "full" {
    if (this.#drained !== null) {
      queueMicrotask(() => job.done(leftUnbegun));
      return "accepted";
    }
    if (this.#waiting.length >= workerQueueJobsMax) return "full";
    if (isOnStopJob(job)) this.#waiting.splice(this.#waiting.filter(isOnStopJob).length, 0, job);
    else this.#waiting.push(job);
    if (this.#phase === "idle") {
      this.#phase = "between";
      queueMicrotask(this.#turn);
    }
    return "accepted";
  }

  /**
   * Ends a job early. A waiting one is done at once, with this code. A running one is aborted by
   * its signal, need not obey, and ends with this code in any case. Does nothing for a job that has
   * let go, and for an `onStop` that runs.
   */
  stop(job: WorkerJob, code: ErrorCode, message: string): void {
    if (this.#running?.job === job) return this.#running.abort({ code, message });
    const index = this.#waiting.indexOf(job);
    if (index < 0) return;
    this.#waiting.splice(index, 1);
    job.done({ ok: false, code, message, ms: 0 });
  }

  /**
   * Ends all jobs of tasks, but for the tasks that are allowed when stopped if it `spares` these.
   * Resolves when none of them runs any more, though an `onStop` may; like `drain`, it has no time
   * limit of its own.
   */
  async halt({ code, message }: StopReason, spares: boolean): Promise<void> {
    const isMeant = (job: WorkerJob): boolean =>
      !isOnStopJob(job) && !(spares && this.registry.get(job.name)?.policy.allowedWhenStopped === true);
    for (const job of this.#waiting.filter(isMeant)) this.stop(job, code, message);
    if (this.#running === null || !isMeant(this.#running.job)) return;
    this.#letGo ??= Promise.withResolvers();
    const { promise } = this.#letGo;
    this.#running.abort({ code, message });
    await promise;
  }

  /**
   * Ends all that waits, and all that comes from now on, as `leftUnbegun`. Resolves when nothing
   * runs any more. It has no time limit of its own, since only the supervisor can end a task that
   * does not end itself.
   */
  drain(): Promise<void> {
    if (this.#drained !== null) return this.#drained.promise;
    this.#drained = Promise.withResolvers();
    for (const job of this.#waiting.splice(0)) queueMicrotask(() => job.done(leftUnbegun));
    if (this.running === 0) queueMicrotask(this.#drained.resolve);
    return this.#drained.promise;
  }

  readonly #turn = (): void => {
    const awayMs = performance.now() - this.#sliceEndMs;
    if (awayMs >= catchUpAfterMs) this.hooks.catchUp?.(awayMs);
    this.#sliceEndMs = performance.now() + taskSliceMs;
    this.#runWaiting();
  };

  /** Runs waiting jobs back to back, until one must be awaited, none is left, or the slice ends. */
  #runWaiting(): void {
    for (let job = this.#waiting.shift(); job !== undefined; job = this.#waiting.shift()) {
      const ended = this.#start(job);
      if (ended === "later") return;
      if (ended >= this.#sliceEndMs) {
        setImmediate(this.#turn);
        return;
      }
    }
    this.#phase = "idle";
    this.hooks.idle?.();
  }

  /** Goes on in the same slice: a chain of awaited jobs may be one long row of microtasks. */
  #resume(ended: Ended): void {
    if (ended === "later") return;
    if (ended >= this.#sliceEndMs) setImmediate(this.#turn);
    else this.#runWaiting();
  }

  #start(job: WorkerJob): Ended {
    const startedMs = performance.now();
    const refuse = (code: ErrorCode, message: string): number => {
      job.done({ ok: false, code, message, ms: 0 });
      return startedMs;
    };
    const task = this.registry.get(job.name);
    if (task === undefined) return refuse("UNKNOWN_TASK", `this worker has no task ${JSON.stringify(job.name)}`);
    if (isOnStopJob(job)) {
      if (task.onStop === null) return refuse("UNAVAILABLE", `the task ${job.name} of this worker has no onStop`);
      return this.#runOnStopJob(task, job, startedMs);
    }
    if (job.expiresMs !== undefined && startedMs > job.expiresMs) {
      return refuse("EXPIRED", "it was not started within its ttlMs");
    }
    const stopped = this.restrictions.stopRefusal(task);
    return stopped === null ? this.#runTaskJob(task, job, startedMs) : refuse("STOPPED", stopped);
  }

  #runTaskJob(task: RegisteredTask, job: TaskJob, startedMs: number): Ended {
    const context = new JobContext(job, this.hooks);
    this.#phase = "task";
    this.#running = context;
    this.hooks.begins?.(task.name);
    job.begin?.();
    let result: unknown;
    try {
      result = runAs(task, runTask, task, context);
      if (isThenable(result)) {
        // Two handlers of one `then`: an error of `done` in the first must not reach the second.
        Promise.resolve(result).then(
          (value) => this.#resume(this.#succeed(task, context, value, startedMs)),
          (thrown) => this.#resume(this.#fail(task, context, thrown, startedMs)),
        );
        return "later";
      }
    } catch (thrown) {
      return this.#fail(task, context, thrown, startedMs);
    }
    return this.#succeed(task, context, result, startedMs);
  }

  #succeed(task: RegisteredTask, context: JobContext<TaskJob>, result: unknown, startedMs: number): Ended {
    let encoded: string | BinaryFrame;
    try {
      encoded = encodeResult(result);
    } catch (thrown) {
      return this.#fail(task, context, thrown, startedMs);
    }
    const endedMs = performance.now();
    const ms = endedMs - startedMs;
    const outcome: TaskOutcome =
      typeof encoded === "string" ? { ok: true, data: encoded, ms } : { ok: true, ...encoded, ms };
    return this.#end(task, context, outcome, endedMs);
  }

  /** The requestor gets the message, the log the stack. */
  #fail(task: RegisteredTask, context: JobContext<TaskJob>, thrown: unknown, startedMs: number): Ended {
    const endedMs = performance.now();
    const { name, serial } = context.job;
    const code = isA(thrown, BadArgs) ? "BAD_ARGS" : "TASK_ERROR";
    if (code === "TASK_ERROR") {
      this.#failures.add(
        endedMs,
        () => {
          const [first = "", ...rest] = thrownLines(thrown);
          for (const line of [first, ...rest]) context.job.log?.("error", line);
          return [`${this.hooks.tag} Task failed: ${name}${serial === "" ? "" : ` (${serial})`}: ${first}`, ...rest];
        },
        context.job.id,
      );
    }
    const message = shorten(thrownMessage(thrown));
    return this.#end(task, context, { ok: false, code, message, ms: endedMs - startedMs }, endedMs);
  }

  /** The job has let go. The reason of its abort, if there was one, overrides its own outcome. */
  #end(task: RegisteredTask, context: JobContext<TaskJob>, own: TaskOutcome, endedMs: number): Ended {
    const { job, why, hasEnteredTask } = context;
    const outcome: TaskOutcome = why === null ? own : { ok: false, code: why.code, message: why.message, ms: own.ms };
    context.end();
    this.#running = null;
    this.#letGo?.resolve();
    this.#letGo = null;
    this.#quick.note(job.name, outcome.ms);
    if (outcome.ok || !hasEnteredTask || task.onStop === null) {
      this.#answer(job, outcome);
      return endedMs;
    }
    job.safing?.();
    return this.#runOnStop(task, job, outcome, (failure) =>
      failure === null ? outcome : { ...outcome, isUnsafe: true },
    );
  }

  #runOnStopJob(task: RegisteredTask, job: OnStopJob, startedMs: number): "later" {
    this.hooks.begins?.(task.name);
    job.begin?.();
    return this.#runOnStop(task, job, job.why, (failure) => {
      const ms = performance.now() - startedMs;
      if (failure === null) return { ok: true, data: dataFrame(null, "result"), ms };
      return { ok: false, code: failure.code, message: failure.message, ms };
    });
  }

  #runOnStop(
    task: RegisteredTask,
    job: WorkerJob,
    why: StopReason,
    outcomeOf: (failure: OnStopFailure | null) => TaskOutcome,
  ): "later" {
    this.#phase = "onStop";
    void runOnStop(task, job, why, this.hooks, this.#failures).then((failure) => {
      this.#answer(job, outcomeOf(failure));
      this.#resume(performance.now());
    });
    return "later";
  }

  #answer(job: WorkerJob, outcome: TaskOutcome): void {
    this.#phase = "between";
    this.hooks.ends?.();
    job.done(outcome);
    this.#drained?.resolve();
  }
}
