/** The jobs that a task worker holds for the router: from its message to the executor, and from there to the answer. */
import { performance } from "node:perf_hooks";
import { type ErrorCode, ProtocolError } from "../wire/errors.ts";
import { encodeError } from "../wire/frames.ts";
import { decodeTaskFrame } from "../wire/requests.ts";
import type { BackendLink, WorkHeader } from "./backend-link.ts";
import type { Executor, Job, Outcome } from "./executor.ts";
import { ProgressThrottle } from "./progress.ts";
import { QuickTasks } from "./quick-tasks.ts";

export interface RouterJobsOptions {
  readonly executor: Executor;
  readonly link: () => BackendLink;
  /** Notes, where a supervisor can read it after our death, which job begins. */
  readonly begin: ((job: number) => void) | null;
  /** Called after each job that was run or refused. */
  readonly ended: () => void;
  /** Is told of each message, where every message is to be printed. */
  readonly log: ((line: string) => void) | null;
}

export class RouterJobs {
  readonly #options: RouterJobsOptions;
  readonly #held = new Map<number, Job>();
  readonly #ids = new Map<Job, number>();
  readonly #throttle = new ProgressThrottle();
  readonly #quick = new QuickTasks();

  constructor(options: RouterJobsOptions) {
    this.#options = options;
  }

  /** Jobs of one message, to be run in their order. */
  take(header: WorkHeader, bodies: readonly Uint8Array[], waitedMs: number): void {
    const cameMs = performance.now() - waitedMs;
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

  abort(id: number, code: string, message: string): void {
    const job = this.#held.get(id);
    if (job !== undefined) this.#options.executor.stop(job, code as ErrorCode, message);
  }

  /** The router has given up all of it: what runs should end, what waits must not begin, and nobody wants the answers. */
  drop(): void {
    const { executor } = this.#options;
    const held = [...this.#held.values()];
    this.#held.clear();
    this.#ids.clear();
    for (const job of held) executor.stop(job, "INTERRUPTED", "the connection to the router is lost");
  }

  progress(job: Job, frame: Uint8Array): void {
    const id = this.#ids.get(job);
    if (id !== undefined) this.#throttle.report(() => this.#options.link().progress(id, frame));
  }

  #submit(id: number, body: Uint8Array, serial: string, expiresMs: number): void {
    this.#options.log?.(`Received task: ${Buffer.from(body).toString()}`);
    const decoded = decodeTaskFrame(body);
    if (decoded instanceof ProtocolError) return this.#refuse(id, decoded.code, decoded.message);
    const { begin, executor } = this.#options;
    const job: Job = {
      name: decoded.name,
      task: decoded.task,
      serial,
      done: (outcome) => this.#answer(id, job, outcome),
      ...(begin !== null && { begin: () => begin(id) }),
      expiresMs,
    };
    if (executor.submit(job) === "full") return this.#refuse(id, "QUEUE_FULL", "the worker's queue is full");
    this.#held.set(id, job);
    this.#ids.set(job, id);
  }

  #answer(id: number, job: Job, outcome: Outcome): void {
    this.#throttle.reset();
    this.#ids.delete(job);
    // Dropped meanwhile: the router would count a late answer.
    if (!this.#held.delete(id)) return;
    const link = this.#options.link();
    // It has not begun, and here it will not: another worker may have it.
    if (!outcome.ok && outcome.code === "SHUTTING_DOWN") return link.giveBack(id);
    const body = outcome.ok ? outcome.data : encodeError(outcome.code, outcome.message);
    this.#options.log?.(`Task complete: ${Buffer.from(body).toString()}`);
    link.answer(outcome.ok ? "DONE" : "FAIL", id, outcome.ms, body);
    this.#quick.ran(job.name, outcome.ms);
    const next = this.#options.executor.next;
    // Only one of ours brings us back here.
    if (next === null || !this.#ids.has(next) || !this.#quick.has(next.name)) link.flush();
    this.#options.ended();
  }

  #refuse(id: number, code: ErrorCode, message: string): void {
    this.#options.link().answer("FAIL", id, 0, encodeError(code, message));
    this.#options.link().flush();
  }
}
