/** The jobs that a task worker holds for the router, from its message to their answers. */

import { jobLogBytesMax } from "../limits.ts";
import type { BackendLink, SafeHeader, WorkHeader } from "../process/backend-link.ts";
import type { LogLine } from "../protocol/engine-topics.ts";
import { type ErrorCode, ProtocolError, shorten } from "../protocol/errors.ts";
import { type Frame, sizeOf, textOf } from "../protocol/frame.ts";
import { encodeData, encodeError, type Task } from "../protocol/frames.ts";
import { decodeTaskFrame } from "../protocol/requests.ts";
import type { Executor } from "./executor.ts";
import { leftUnbegun, type OnStopJob, type TaskJob, type TaskOutcome, type WorkerJob } from "./job.ts";
import { ProgressThrottle } from "./pacing.ts";

interface RouterJobsOptions {
  readonly executor: Executor;
  readonly link: () => BackendLink;
  /** Notes the begun job by its number, for the supervisor to read if this process dies. */
  readonly begin: (id: number) => void;
  /** Returns why a task of this name must not begin now, in one line; null if it may. */
  readonly refusal: (task: string) => string | null;
  /** Called after each job that was run or refused, with the ms that it ran. */
  readonly ended: (ms: number) => void;
  /** Gets a line for each message; null if they are not to be printed. */
  readonly log: ((line: string) => void) | null;
}

/** A class, not an object with closures: one is made for each job. */
class RouterJob implements TaskJob {
  /** bytes of its log so far */
  logBytes = 0;

  constructor(
    private readonly jobs: RouterJobs,
    readonly id: number,
    readonly name: string,
    readonly task: Task,
    readonly serial: string,
    readonly expiresMs: number,
  ) {}

  begin(): void {
    this.jobs.options.begin(this.id);
  }

  progress(dataFrame: string): void {
    this.jobs.progress(this, dataFrame);
  }

  log(level: LogLine["level"], text: string): void {
    this.jobs.log(this, level, text);
  }

  safing(): void {
    this.jobs.safing(this);
  }

  done(outcome: TaskOutcome): void {
    this.jobs.answer(this, outcome);
  }
}

export class RouterJobs {
  /**
   * Jobs that the router waits for, by its number. A job that was dropped is not in it, though it
   * may still run: the router would count a late answer, or has given the number to another job.
   */
  readonly #held = new Map<number, WorkerJob>();
  readonly #throttle = new ProgressThrottle();

  constructor(readonly options: RouterJobsOptions) {}

  /** Takes the jobs of one message, to be run in their order. */
  take(header: WorkHeader, bodies: readonly Frame[], lateMs: number): void {
    const cameMs = performance.now() - lateMs;
    for (const [index, id] of header.jobs.entries()) {
      const body = bodies[index];
      if (header.type !== "JOBS" || body === undefined) {
        this.#refuse(id, "UNAVAILABLE", "a task worker keeps no data");
      } else {
        const ttlMs = header.ttlMs?.[index] ?? Number.POSITIVE_INFINITY;
        this.#submit(id, body, header.serials[index] || String(id), cameMs + ttlMs);
      }
    }
  }

  #submit(id: number, body: Frame, serial: string, expiresMs: number): void {
    this.options.log?.(`Received task: ${textOf(body)}`);
    const decoded = decodeTaskFrame(body);
    if (decoded instanceof ProtocolError) return this.#refuse(id, decoded.code, decoded.message);
    const { executor, link, refusal } = this.options;
    // Given back, not refused: the router may know of a reset that has not come here yet.
    if (refusal(decoded.name) !== null) return link().giveBack(id);
    const job = new RouterJob(this, id, decoded.name, decoded.task, serial, expiresMs);
    if (executor.submit(job) === "full") return this.#refuse(id, "QUEUE_FULL", "the worker's queue is full");
    this.#held.set(id, job);
  }

  /** Takes a task's `onStop`, for a job that has ended elsewhere. */
  safe({ job: id, task: name, code, message }: SafeHeader): void {
    this.options.log?.(`Told to make safe: ${name}`);
    const job: OnStopJob = {
      name,
      serial: "",
      why: { code: code as ErrorCode, message },
      begin: () => this.options.begin(id),
      done: (outcome) => this.#answerSafe(id, job, outcome),
    };
    if (this.options.executor.submit(job) === "full") {
      return this.#refuse(id, "QUEUE_FULL", "the worker's queue is full");
    }
    this.#held.set(id, job);
  }

  abort(id: number, code: string, message: string): void {
    const job = this.#held.get(id);
    if (job !== undefined) this.options.executor.stop(job, code as ErrorCode, message);
  }

  /** The router has given up all jobs here: the running one is aborted, and none is answered. */
  drop(): void {
    const held = [...this.#held.values()];
    this.#held.clear();
    for (const job of held) this.options.executor.stop(job, "INTERRUPTED", "the connection to the router is lost");
  }

  progress(job: RouterJob, dataFrame: string): void {
    if (!this.#holds(job.id, job)) return;
    this.#throttle.report(() => this.options.link().progress(job.id, dataFrame));
  }

  /** A line beyond the limit of a job's log says so; further ones are not sent. */
  log(job: RouterJob, level: LogLine["level"], text: string): void {
    if (!this.#holds(job.id, job) || job.logBytes > jobLogBytesMax) return;
    const line = shorten(text);
    job.logBytes += sizeOf(line);
    const isFull = job.logBytes > jobLogBytesMax;
    const data = isFull
      ? { level: "warn", text: `further lines are not kept: ${jobLogBytesMax} bytes` }
      : { level, text: line };
    this.options.link().log(job.id, encodeData(data));
  }

  safing(job: RouterJob): void {
    if (this.#holds(job.id, job)) this.options.link().safing(job.id);
  }

  answer(job: RouterJob, outcome: TaskOutcome): void {
    this.#throttle.reset();
    const { id } = job;
    if (!this.#release(id, job)) return;
    const { executor, link, log } = this.options;
    // Another worker may have it.
    if (outcome === leftUnbegun) return link().giveBack(id);
    if (outcome.ok && outcome.contentType !== undefined) {
      log?.(`Task complete: ${outcome.data.length} bytes of ${outcome.contentType.contentType}`);
      link().answerBinary(id, outcome.ms, outcome.data, outcome.contentType);
      return this.options.ended(outcome.ms);
    }
    const body = outcome.ok ? outcome.data : encodeError(outcome.code, outcome.message);
    log?.(`Task complete: ${body}`);
    link().answer(outcome.ok ? "DONE" : "FAIL", id, outcome.ms, body, !outcome.ok && outcome.isUnsafe === true);
    // Only after a job of the router's there is another call of this.
    if (!(executor.quickNext instanceof RouterJob)) link().flush();
    this.options.ended(outcome.ms);
  }

  #answerSafe(id: number, job: OnStopJob, outcome: TaskOutcome): void {
    if (!this.#release(id, job)) return;
    const { link, log } = this.options;
    if (outcome === leftUnbegun) return link().giveBack(id);
    log?.(`Made safe: ${job.name}${outcome.ok ? "" : `: ${outcome.code}: ${outcome.message}`}`);
    if (!outcome.ok) return this.#refuse(id, outcome.code, outcome.message, outcome.ms);
    link().answer("DONE", id, outcome.ms, outcome.data);
    link().flush();
  }

  #holds(id: number, job: WorkerJob): boolean {
    return this.#held.get(id) === job;
  }

  #release(id: number, job: WorkerJob): boolean {
    return this.#holds(id, job) && this.#held.delete(id);
  }

  #refuse(id: number, code: ErrorCode, message: string, ms = 0): void {
    const link = this.options.link();
    link.answer("FAIL", id, ms, encodeError(code, message));
    link.flush();
  }
}
