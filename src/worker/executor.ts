/**
 * The heart of a task worker: runs jobs one at a time, in the order they came, and makes a frame or an error of what comes
 * out. It knows no socket; what it is given are decoded frames, and what it gives are encoded ones.
 *
 * A job that has begun and has failed or was told to end is followed by its task's `onStop`, before it is answered and before
 * anything else begins. An `onStop` alone, for a job of another process, goes before all jobs that wait. Nothing ends an
 * `onStop` early: the emergency stop and the stop of the engine wait for it.
 */
import { catchUpAfterMs, taskSliceMs, workerQueueJobsMax } from "../limits.ts";
import type { ErrorCode } from "../protocol/errors.ts";
import { shorten } from "../protocol/errors.ts";
import type { Json, JsonObject } from "../protocol/json.ts";
import { BadArgs, type CheckedArguments } from "../tasks/arguments.ts";
import type { RegisteredTask, Registry, StopReason } from "../tasks/task.ts";
import { isA, thrownLines, thrownMessage } from "../tasks/thrown.ts";
import { type ContextHooks, JobContext } from "./context.ts";
import { within } from "./culprit.ts";
import { EmergencyStop } from "./emergency-stop.ts";
import { FailureLog } from "./failure-log.ts";
import { isSafeJob, type Job, leftUnbegun, type Outcome, type SafeJob, type Work } from "./job.ts";
import { dataFrame } from "./result.ts";
import { Safing } from "./safing.ts";

export interface ExecutorHooks extends ContextHooks<Job> {
  /** A job of this task is about to begin, or its `onStop` alone; and that has ended, with all that belongs to it. */
  readonly begins?: (task: string) => void;
  readonly ends?: () => void;
  /** Nothing runs and nothing waits any more. */
  readonly idle?: () => void;
  /** Work begins after a while in which none did, or one took long: what has come meanwhile should be heard first. */
  readonly catchUp?: (awayMs: number) => void;
}

/** When something ended, a time of performance.now(); or it goes on and will call `#resume`. */
type Ended = number | "later";

export class Executor {
  readonly #waiting: Work[] = [];
  readonly #failures = new FailureLog();
  readonly #safing: Safing;
  /** The job that runs, until it lets go. */
  #running: JobContext<Job> | null = null;
  #isSafing = false;
  /** A turn is due or something runs: whoever adds a job need not wake anybody. */
  #isAwake = false;
  #sliceEndMs = 0;
  /** Kept when the job that runs lets go; null where nobody waits for that. */
  #letGo: PromiseWithResolvers<void> | null = null;
  #drained: PromiseWithResolvers<void> | null = null;

  constructor(
    private readonly registry: Registry,
    private readonly hooks: ExecutorHooks,
    private readonly emergency = new EmergencyStop(),
  ) {
    this.#safing = new Safing(hooks, this.#failures);
  }

  /** jobs that run, or whose `onStop` does: 0 or 1 */
  get running(): number {
    return this.#running === null && !this.#isSafing ? 0 : 1;
  }

  /** Nothing runs, nothing waits. */
  get isIdle(): boolean {
    return !this.#isAwake;
  }

  /** jobs that wait */
  get queued(): number {
    return this.#waiting.length;
  }

  /** What will be begun next; null where nothing waits. */
  get next(): Work | null {
    return this.#waiting[0] ?? null;
  }

  runs(work: Work): boolean {
    return this.#running?.job === work;
  }

  /** `full`: nothing was taken and `done` will not be called. After `drain` everything is `leftUnbegun`. */
  submit(work: Work): "accepted" | "full" {
    if (this.#drained !== null) {
      queueMicrotask(() => work.done(leftUnbegun));
      return "accepted";
    }
    if (this.#waiting.length >= workerQueueJobsMax) return "full";
    if (isSafeJob(work)) this.#waiting.splice(this.#waiting.filter(isSafeJob).length, 0, work);
    else this.#waiting.push(work);
    if (!this.#isAwake) {
      this.#isAwake = true;
      queueMicrotask(this.#turn);
    }
    return "accepted";
  }

  /**
   * Ends work early: what waits is done at once, with this code; a job that runs is asked by its signal and need not obey, and
   * ends with this code whatever it does. Does nothing for a job that has let go, and for an `onStop` that runs.
   */
  stop(work: Work, code: ErrorCode, message: string): void {
    if (this.#running?.job === work) return this.#running.abort({ code, message });
    const index = this.#waiting.indexOf(work);
    if (index < 0) return;
    this.#waiting.splice(index, 1);
    work.done({ ok: false, code, message, ms: 0 });
  }

  /**
   * Ends all jobs but those of tasks that are allowed when stopped, if it `spares` these. The promise is kept when none of
   * them runs any more, be it that an `onStop` does; like `drain`'s, it has no bound of its own.
   */
  async halt({ code, message }: StopReason, spares: boolean): Promise<void> {
    const isMeant = (work: Work): boolean =>
      !isSafeJob(work) && !(spares && this.registry.get(work.name)?.policy.allowedWhenStopped === true);
    for (const work of this.#waiting.filter(isMeant)) this.stop(work, code, message);
    if (this.#running === null || !isMeant(this.#running.job)) return;
    this.#letGo ??= Promise.withResolvers();
    const { promise } = this.#letGo;
    this.#running.abort({ code, message });
    await promise;
  }

  /**
   * Answers all that waits, and all that comes from now on, with `leftUnbegun`. The promise is kept when nothing runs any
   * more; it has no bound of its own, since only the supervisor can end a task that does not end itself.
   */
  drain(): Promise<void> {
    if (this.#drained !== null) return this.#drained.promise;
    this.#drained = Promise.withResolvers();
    for (const work of this.#waiting.splice(0)) queueMicrotask(() => work.done(leftUnbegun));
    if (this.running === 0) queueMicrotask(this.#drained.resolve);
    return this.#drained.promise;
  }

  readonly #turn = (): void => {
    const awayMs = performance.now() - this.#sliceEndMs;
    if (awayMs >= catchUpAfterMs) this.hooks.catchUp?.(awayMs);
    this.#sliceEndMs = performance.now() + taskSliceMs;
    this.#runWaiting();
  };

  /** Runs what waits back to back, until a job must be awaited, nothing is left, or sockets and timers want their turn. */
  #runWaiting(): void {
    for (let work = this.#waiting.shift(); work !== undefined; work = this.#waiting.shift()) {
      const ended = this.#start(work);
      if (ended === "later") return;
      if (ended >= this.#sliceEndMs) {
        setImmediate(this.#turn);
        return;
      }
    }
    this.#isAwake = false;
    this.hooks.idle?.();
  }

  #start(work: Work): Ended {
    const startedMs = performance.now();
    const refuse = (code: ErrorCode, message: string): number => {
      work.done({ ok: false, code, message, ms: 0 });
      return startedMs;
    };
    const task = this.registry.get(work.name);
    if (task === undefined) return refuse("UNKNOWN_TASK", `this worker has no task ${JSON.stringify(work.name)}`);
    if (isSafeJob(work)) {
      if (task.onStop === null) return refuse("UNAVAILABLE", `the task ${work.name} of this worker has no onStop`);
      return this.#runSafeJob(task, work, startedMs);
    }
    if (work.expiresMs !== undefined && startedMs > work.expiresMs) {
      return refuse("EXPIRED", "it was not started within its ttlMs");
    }
    const stopped = this.emergency.refusal(task);
    return stopped === null ? this.#runJob(task, work, startedMs) : refuse("STOPPED", stopped);
  }

  #runJob(task: RegisteredTask, job: Job, startedMs: number): Ended {
    const context = new JobContext(job, this.hooks);
    this.#running = context;
    this.hooks.begins?.(task.name);
    job.begin?.();
    let result: unknown;
    try {
      result = within(task, run, task, context);
      if (isThenable(result)) {
        // Two handlers of one `then`: what `done` throws in the first must not arrive in the second as if the task threw it.
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

  #runSafeJob(task: RegisteredTask, job: SafeJob, startedMs: number): "later" {
    this.#isSafing = true;
    this.hooks.begins?.(task.name);
    job.begin?.();
    void this.#safing.run(task, job, job.why).then((failure) => {
      this.#isSafing = false;
      const endedMs = performance.now();
      const ms = endedMs - startedMs;
      this.#answer(
        job,
        failure === null
          ? { ok: true, data: dataFrame(null, "result"), ms }
          : { ok: false, code: failure.code, message: failure.message, ms },
      );
      this.#resume(endedMs);
    });
    return "later";
  }

  /** After what had to be awaited. A chain of such jobs may be one long row of microtasks: the slice goes on. */
  #resume(ended: Ended): void {
    if (ended === "later") return;
    if (ended >= this.#sliceEndMs) setImmediate(this.#turn);
    else this.#runWaiting();
  }

  #succeed(task: RegisteredTask, context: JobContext<Job>, result: unknown, startedMs: number): Ended {
    let data: string;
    try {
      data = dataFrame(result ?? null, "result");
    } catch (thrown) {
      return this.#fail(task, context, thrown, startedMs);
    }
    const endedMs = performance.now();
    return this.#end(task, context, { ok: true, data, ms: endedMs - startedMs }, endedMs);
  }

  /** The requestor gets the message, the log the stack. */
  #fail(task: RegisteredTask, context: JobContext<Job>, thrown: unknown, startedMs: number): Ended {
    const endedMs = performance.now();
    const { name, serial } = context.job;
    const code = isA(thrown, BadArgs) ? "BAD_ARGS" : "TASK_ERROR";
    if (code === "TASK_ERROR") {
      this.#failures.add(endedMs, () => {
        const [first, ...rest] = thrownLines(thrown);
        return [`${this.hooks.tag} Task failed: ${name}${serial === "" ? "" : ` (${serial})`}: ${first}`, ...rest];
      });
    }
    const message = shorten(thrownMessage(thrown));
    return this.#end(task, context, { ok: false, code, message, ms: endedMs - startedMs }, endedMs);
  }

  /** The job has let go. One that was told to end ends so, whatever it made of that. */
  #end(task: RegisteredTask, context: JobContext<Job>, own: Outcome, endedMs: number): Ended {
    const { job, why, hasBegun } = context;
    const outcome: Outcome = why === null ? own : { ok: false, code: why.code, message: why.message, ms: own.ms };
    context.end();
    this.#running = null;
    this.#letGo?.resolve();
    this.#letGo = null;
    if (outcome.ok || !hasBegun || task.onStop === null) {
      this.#answer(job, outcome);
      return endedMs;
    }
    this.#isSafing = true;
    job.safing?.();
    void this.#safing.run(task, job, outcome).then((failure) => {
      this.#isSafing = false;
      this.#answer(job, failure === null ? outcome : { ...outcome, isUnsafe: true });
      this.#resume(performance.now());
    });
    return "later";
  }

  #answer(work: Work, outcome: Outcome): void {
    this.hooks.ends?.();
    work.done(outcome);
    this.#drained?.resolve();
  }
}

const run = (task: RegisteredTask, context: JobContext<Job>): unknown => {
  const { args, kwargs } = context.job.task;
  if (task.check === null) return call(task, { args, kwargs }, context);
  const checked = task.check(args, kwargs);
  if (!isThenable(checked)) return call(task, checked, context);
  return checked.then((later) => {
    // Told to end while it was being checked: then it does not begin.
    context.signal.throwIfAborted();
    return call(task, later, context);
  });
};

/** What a schema's output is only its task knows. */
const call = (task: RegisteredTask, { args, kwargs }: CheckedArguments, context: JobContext<Job>): unknown => {
  context.hasBegun = true;
  return task.run(args as Json[], kwargs as JsonObject, context);
};

const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
