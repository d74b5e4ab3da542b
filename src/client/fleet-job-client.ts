/**
 * The methods of a robot or a group for jobs by their ids: those that the fleet keeps, then those
 * of the robot's engine.
 */
import type { NatsConnection } from "@nats-io/transport-node";
import { TaskEngineError } from "../protocol/errors.ts";
import type { FleetTarget } from "../protocol/fleet.ts";
import type { JobReport } from "./control-jobs.ts";
import { FleetJobs } from "./fleet-jobs.ts";
import { DetachedJob, JobClient, type JobFilter, type ResultOptions } from "./job-client.ts";
import type { DetachOptions } from "./options.ts";
import type { BinaryReply, TaskReply } from "./pending.ts";

export abstract class FleetJobClient extends JobClient {
  protected abstract readonly nats: NatsConnection;
  abstract readonly target: FleetTarget;
  #jobs: Promise<FleetJobs> | null = null;

  /** Reports on a job that the fleet keeps or has kept, or on one of the robot's engine. */
  override job(id: string): Promise<JobReport> {
    return this.#first(
      (jobs) => jobs.job(id),
      () => super.job(id),
    );
  }

  /** Lists the jobs that the fleet keeps or has kept for a group, or those of a robot's engine. */
  override async jobs(filter: JobFilter = {}): Promise<JobReport[]> {
    const { target } = this;
    return "group" in target ? (await this.#fleetJobs()).jobs(filter, target) : super.jobs(filter);
  }

  override resultReply(id: string, options: ResultOptions = {}): Promise<TaskReply | BinaryReply> {
    return this.#first(
      (jobs) => jobs.resultReply(id, options),
      () => super.resultReply(id, options),
    );
  }

  override cancelJob(id: string): Promise<boolean> {
    return this.#first(
      (jobs) => jobs.cancelJob(id),
      () => super.cancelJob(id),
    );
  }

  /** The fleet keeps the job until a robot takes it. */
  protected async detach(task: string, args: unknown[], kwargs: object, options: DetachOptions): Promise<DetachedJob> {
    const { target } = this;
    if ("all" in target) throw new TaskEngineError("BAD_ARGS", "a job goes to one robot");
    return new DetachedJob(this, await (await this.#fleetJobs()).send(target, task, args, kwargs, options));
  }

  #fleetJobs(): Promise<FleetJobs> {
    this.#jobs ??= FleetJobs.over(this.nats);
    return this.#jobs;
  }

  /** A robot's engine has ids of its own, and a fleet without JetStream keeps no jobs. */
  async #first<Result>(
    ofFleet: (jobs: FleetJobs) => Promise<Result>,
    ofEngine: () => Promise<Result>,
  ): Promise<Result> {
    try {
      return await ofFleet(await this.#fleetJobs());
    } catch (error) {
      const isElsewhere = error instanceof TaskEngineError && ["UNKNOWN_JOB", "UNAVAILABLE"].includes(error.code);
      if (!isElsewhere || !("robot" in this.target)) throw error;
      return ofEngine();
    }
  }
}
