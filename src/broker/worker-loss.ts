/** Workers that are lost: by their connection, their death, their rights. What they held is decided on once, by `Jobs.lose`. */
import { verdictMs } from "../limits.ts";
import type { Effect } from "./effects.ts";
import type { Jobs } from "./jobs.ts";
import { jobsOf, type Worker, type Workers } from "./workers.ts";

export class WorkerLoss {
  constructor(
    private readonly workers: Workers,
    private readonly jobs: Jobs,
  ) {}

  /**
   * The connection is gone. Of a supervised worker the supervisor will say what it had begun, if its process has died. If it
   * lives on, what it runs is out of reach, and would be run on without limits: then it is killed.
   */
  disconnected(worker: Worker, now: number): Effect[] {
    worker.isConnected = false;
    if (worker.begun !== null) return this.jobs.lose(worker, "its process has died", now);
    if (worker.ready.supervised !== true || worker.held.size === 0)
      return this.jobs.lose(worker, "its connection is gone", now);
    if (worker.retired === "killed") return [];
    worker.retired = "lost";
    this.jobs.lifecycle.timers.add({
      at: now + verdictMs,
      isAlive: () => worker.retired === "lost" && this.workers.get(worker.key) === worker,
      fire: (at) => this.jobs.kill(worker, "it has lost its connection", at),
    });
    return [];
  }

  /** Its process has another connection: what it got by the first is out of reach. False where it need not be killed for that. */
  reconnected(worker: Worker, now: number): Effect[] | false {
    if (worker.held.size === 0 || worker.begun !== null) return false;
    worker.isConnected = false;
    return worker.retired === "killed" ? [] : this.jobs.kill(worker, "it has lost its connection", now);
  }

  /** The supervisor says that its process has died. What it sent before may still be on its way until its connection is gone. */
  died(worker: Worker, begun: number, now: number): Effect[] {
    worker.begun = begun;
    if (!worker.isConnected) return this.jobs.lose(worker, "its process has died", now);
    worker.retired = "killed";
    this.jobs.loseAt(worker, now + verdictMs, "its process has died");
    return [];
  }

  /** Its rights were taken back: whether and when it lets go of what it runs, nobody will hear. */
  revoked(worker: Worker, why: string, now: number): Effect[] {
    const jobs = [...worker.givenUp.values(), ...jobsOf(worker)];
    const effects = jobs.flatMap((job) => this.jobs.lifecycle.abandon(worker, job, why));
    return [...effects, ...this.jobs.lose(worker, why, now)];
  }
}
