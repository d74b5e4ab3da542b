/** Workers that join: who is admitted, as what, and what becomes of the connection that one of them had before. */

import { dataEndpointsMax, refusalLinesMax, strangeWorkersMax, workersMax } from "../limits.ts";
import type { ReadyHeader } from "../protocol/backend.ts";
import type { ErrorCode } from "../protocol/errors.ts";
import { engineUser } from "../security/access.ts";
import { refusalOfWorker } from "../security/rights.ts";
import { type Effect, toWorker } from "./effects.ts";
import type { Jobs } from "./jobs.ts";
import { conflictOf } from "./policies.ts";
import type { RequestHandler } from "./request-handler.ts";
import type { Statistics } from "./statistics.ts";
import type { TaskDirectory } from "./task-directory.ts";
import type { WorkerLoss } from "./worker-loss.ts";
import type { Worker, Workers } from "./workers.ts";

export class WorkerRegistration {
  /** What the log has of it. */
  readonly #said = new Set<string>();

  constructor(
    private readonly workers: Workers,
    private readonly jobs: Jobs,
    private readonly losses: WorkerLoss,
    private readonly catalogue: TaskDirectory,
    private readonly reception: Pick<RequestHandler, "access" | "emergency">,
    private readonly statistics: Statistics,
  ) {}

  join(key: string, user: string | null, said: ReadyHeader, now: number): Effect[] {
    const refusal = refusalOfWorker(this.reception.access, user, said);
    if (refusal !== null) return this.refuse(key, said, "UNAUTHORIZED", refusal);
    // Only the engine's own have our supervisor; who else said so could have one of them killed in its place.
    const ready = isStrange(user) ? { ...said, supervised: false } : said;
    const known = this.workers.get(key);
    // Two WHO that crossed its READY bring a second one; it holds what it holds.
    if (known !== undefined && known.user === user && known.ready.pid === ready.pid) return this.#welcome(known, now);
    const effects: Effect[] = [];
    // A process has one connection: the other one of a supervised worker is gone, whether we have heard so or not.
    for (const other of [...this.workers].filter(({ ready: its }) => isSameProcess(its, ready))) {
      const end = this.losses.reconnected(other, now);
      if (end !== false) return end;
      effects.push(...this.jobs.lose(other, "it has connected anew", now));
    }
    if (known !== undefined) effects.push(...this.jobs.lose(known, "another has its name", now));
    const crowd = this.#crowdFor(user);
    if (crowd !== null) return [...effects, ...this.refuse(key, ready, "QUEUE_FULL", crowd)];
    if (ready.role === "data" && !this.catalogue.addDataEndpoint(ready.endpoint)) {
      const message = `there are ${dataEndpointsMax} endpoints of data workers already`;
      return [...effects, ...this.refuse(key, ready, "QUEUE_FULL", message)];
    }
    const conflict = conflictOf(ready, (task) => this.catalogue.inForce(task));
    // The engine's own have their files; what differs there was changed since the last reload.
    if (conflict !== null && ready.supervised !== true)
      return [...effects, ...this.refuse(key, ready, "BAD_FRAME", conflict)];
    if (conflict !== null) effects.push(...this.#say(`worker ${ready.id} has read other task files: ${conflict}`));
    const isBack = ready.tasks.some((task) => this.workers.goneOf(nameOf(task)) !== undefined);
    const worker = this.workers.add(key, user, ready, now);
    // What waits for tasks that nobody served is held to what they are now.
    if (isBack) this.jobs.queues.revise((task) => this.catalogue.find(task)?.policy);
    return [...effects, ...this.#welcome(worker, now)];
  }

  /** A worker that joins may still hold what another router has told it of an emergency stop. */
  #welcome(worker: Worker, now: number): Effect[] {
    return [...this.reception.emergency.tell([worker]), toWorker(worker.key, { type: "WELCOME", at: now })];
  }

  refuse(key: string, { id }: ReadyHeader, code: ErrorCode, message: string): Effect[] {
    this.statistics.drop("workerNotAdmitted");
    return [
      toWorker(key, { type: "REFUSED", code, message }),
      // What is wrong with its own tasks each is told by its name; what is said of many, once.
      ...this.#say(
        `worker ${id} is not admitted: ${message}; the same again is only counted`,
        code === "BAD_FRAME" ? `${id} ${message}` : message,
      ),
    ];
  }

  /** The policies of the engine's own tasks have changed: who serves one of them by another ends what it has, and is not admitted any more. */
  dismissConflicting(): void {
    for (const worker of this.workers) {
      if (worker.ready.supervised === true || worker.ready.role !== "task") continue;
      worker.dismissal = conflictOf(worker.ready, (task) => this.catalogue.inForce(task));
      if (worker.dismissal !== null) worker.retired ??= "leaving";
    }
  }

  /** Forgets those that are leaving and have nothing left. */
  release(worker: Worker, now: number): Effect[] {
    if (worker.retired !== "leaving" || worker.held.size > 0 || worker.givenUp.size > 0) return [];
    if (this.workers.get(worker.key) !== worker) return [];
    const { key, ready, dismissal } = worker;
    this.workers.remove(worker, dismissal ?? "it has left", now);
    return dismissal === null ? [toWorker(key, { type: "GOODBYE" })] : this.refuse(key, ready, "BAD_FRAME", dismissal);
  }

  /** Once: who is refused tries again with each beat. */
  #say(line: string, what = line): Effect[] {
    if (this.#said.has(what) || this.#said.size >= refusalLinesMax) return [];
    this.#said.add(what);
    return [{ to: "log", line }];
  }

  /** Why there is no room for a worker of that user; null where there is. */
  #crowdFor(user: string | null): string | null {
    if (this.workers.size >= workersMax) return `there are ${workersMax} workers already`;
    if (!isStrange(user)) return null;
    const strangers = [...this.workers].filter((worker) => isStrange(worker.user)).length;
    return strangers < strangeWorkersMax ? null : `there are ${strangeWorkersMax} workers from elsewhere already`;
  }
}

const nameOf = (task: ReadyHeader["tasks"][number]): string => (typeof task === "string" ? task : task.name);

/** Known, and not one of the engine's own. */
const isStrange = (user: string | null): boolean => user !== null && user !== engineUser;

const isSameProcess = (a: ReadyHeader, b: ReadyHeader): boolean =>
  a.supervised === true && b.supervised === true && a.pid === b.pid;
