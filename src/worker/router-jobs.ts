/** The jobs that a task worker holds for the router: from its message to the executor, and from there to the answer. */
import { performance } from "node:perf_hooks";
import { type ErrorCode, ProtocolError } from "../protocol/errors.ts";
import { type Frame, textOf } from "../protocol/frame.ts";
import { encodeError, type Task } from "../protocol/frames.ts";
import { decodeTaskFrame } from "../protocol/requests.ts";
import type { BackendLink, SafeHeader, WorkHeader } from "./backend-link.ts";
import type { Executor } from "./executor.ts";
import { type Job, leftUnbegun, type Outcome, type SafeJob, type Work } from "./job.ts";
import { ProgressThrottle } from "./progress.ts";
import { QuickTasks } from "./quick-tasks.ts";

export interface RouterJobsOptions {
  readonly executor: Executor;
  readonly link: () => BackendLink;
  /** Notes, where a supervisor can read it after our death, which job begins. */
  readonly begin: ((job: number) => void) | null;
  /** Why a task must not begin now, in one line; null where it may. */
  readonly refusal: (task: string) => string | null;
  /** Called after each job that was run or refused, with the ms that it has run. */
  readonly ended: (ms: number) => void;
  /** Is told of each message, where every message is to be printed. */
  readonly log: ((line: string) => void) | null;
}

/** What the jobs of one `RouterJobs` have in common. */
interface Holder {
  begin(job: RouterJob): void;
  safing(job: RouterJob): void;
  ended(job: RouterJob, outcome: Outcome): void;
}

/** One job, as the executor takes it. */
class RouterJob implements Job {
  constructor(
    private readonly holder: Holder,
    readonly id: number,
    readonly name: string,
    readonly task: Task,
    readonly serial: string,
    readonly expiresMs: number,
  ) {}

  begin(): void {
    this.holder.begin(this);
  }

  safing(): void {
    this.holder.safing(this);
  }

  done(outcome: Outcome): void {
    this.holder.ended(this, outcome);
  }
}

export class RouterJobs {
  readonly #options: RouterJobsOptions;
  readonly #held = new Map<number, Work>();
  readonly #holder: Holder = {
    begin: ({ id }) => this.#options.begin?.(id),
    safing: (job) => this.#isHeld(job.id, job) && this.#options.link().safing(job.id),
    ended: (job, outcome) => this.#answer(job, outcome),
  };
  readonly #throttle = new ProgressThrottle();
  readonly #quick = new QuickTasks();

  constructor(options: RouterJobsOptions) {
    this.#options = options;
  }

  /** Jobs of one message, to be run in their order. */
  take(header: WorkHeader, bodies: readonly Frame[], lateMs: number): void {
    const cameMs = performance.now() - lateMs;
    for (const [index, id] of header.jobs.entries()) {
      const body = bodies[index];
      if (header.type !== "JOBS" || body === undefined) this.#refuse(id, "UNAVAILABLE", "a task worker keeps no data");
      else
        this.#submit(
          id,
          body,
          header.serials[index] || String(id),
          cameMs + (header.ttlMs?.[index] ?? Number.POSITIVE_INFINITY),
        );
    }
  }

  /** A task's `onStop`, for a job that has ended somewhere. */
  safe({ job: id, task: name, code, message }: SafeHeader): void {
    this.#options.log?.(`Told to make safe: ${name}`);
    const { begin, executor } = this.#options;
    const work: SafeJob = {
      name,
      serial: "",
      why: { code: code as ErrorCode, message },
      done: (outcome) => this.#answerSafe(id, work, outcome),
      ...(begin !== null && { begin: () => begin(id) }),
    };
    if (executor.submit(work) === "full") return this.#refuse(id, "QUEUE_FULL", "the worker's queue is full");
    this.#held.set(id, work);
  }

  abort(id: number, code: string, message: string): void {
    const work = this.#held.get(id);
    if (work !== undefined) this.#options.executor.stop(work, code as ErrorCode, message);
  }

  /**
   * The router has given up all of it: what runs should end, what waits must not begin, and nobody wants the answers. What is
   * to be made safe is all the same.
   */
  drop(): void {
    const { executor } = this.#options;
    const held = [...this.#held.values()];
    this.#held.clear();
    for (const work of held) executor.stop(work, "INTERRUPTED", "the connection to the router is lost");
  }

  progress(job: Job, frame: string): void {
    if (!(job instanceof RouterJob) || !this.#isHeld(job.id, job)) return;
    this.#throttle.report(() => this.#options.link().progress(job.id, frame));
  }

  #submit(id: number, body: Frame, serial: string, expiresMs: number): void {
    this.#options.log?.(`Received task: ${textOf(body)}`);
    const decoded = decodeTaskFrame(body);
    if (decoded instanceof ProtocolError) return this.#refuse(id, decoded.code, decoded.message);
    const { executor, refusal } = this.#options;
    // Given back, not refused: of a reset that we have not heard of yet the router may know, as of a stop that it has not.
    if (refusal(decoded.name) !== null) return this.#options.link().giveBack(id);
    const job = new RouterJob(this.#holder, id, decoded.name, decoded.task, serial, expiresMs);
    if (executor.submit(job) === "full") return this.#refuse(id, "QUEUE_FULL", "the worker's queue is full");
    this.#held.set(id, job);
  }

  #answer(job: RouterJob, outcome: Outcome): void {
    this.#throttle.reset();
    const { id } = job;
    if (!this.#release(id, job)) return;
    const link = this.#options.link();
    // Another worker may have it.
    if (outcome === leftUnbegun) return link.giveBack(id);
    const body = outcome.ok ? outcome.data : encodeError(outcome.code, outcome.message);
    this.#options.log?.(`Task complete: ${body}`);
    link.answer(outcome.ok ? "DONE" : "FAIL", id, outcome.ms, body, !outcome.ok && outcome.isUnsafe === true);
    this.#quick.ran(job.name, outcome.ms);
    const next = this.#options.executor.next;
    // Only one of ours brings us back here.
    if (!(next instanceof RouterJob) || !this.#quick.has(next.name)) link.flush();
    this.#options.ended(outcome.ms);
  }

  #answerSafe(id: number, work: SafeJob, outcome: Outcome): void {
    if (!this.#release(id, work)) return;
    if (outcome === leftUnbegun) return this.#options.link().giveBack(id);
    this.#options.log?.(`Made safe: ${work.name}${outcome.ok ? "" : `: ${outcome.code}: ${outcome.message}`}`);
    if (!outcome.ok) return this.#refuse(id, outcome.code, outcome.message, outcome.ms);
    this.#options.link().answer("DONE", id, outcome.ms, outcome.data);
    this.#options.link().flush();
  }

  /** Not where it was dropped meanwhile: the router would count a late answer, or the next one has given its number again. */
  #release(id: number, work: Work): boolean {
    return this.#isHeld(id, work) && this.#held.delete(id);
  }

  #isHeld(id: number, work: Work): boolean {
    return this.#held.get(id) === work;
  }

  #refuse(id: number, code: ErrorCode, message: string, ms = 0): void {
    this.#options.link().answer("FAIL", id, ms, encodeError(code, message));
    this.#options.link().flush();
  }
}
