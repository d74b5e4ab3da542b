/** The methods of a client for jobs by their ids: detached ones, and those of everybody. */
import { callTimeoutMs, jobsPageMax, requestTimeoutMs, resultWaitMsMax } from "../limits.ts";
import type { BinaryData } from "../protocol/arrays.ts";
import type { ControlInput, JobStateName } from "../protocol/control.ts";
import { TaskEngineError } from "../protocol/errors.ts";
import type { Json } from "../protocol/json.ts";
import type { AcceptedJob } from "../protocol/replies.ts";
import { cancelledSchema } from "./control.ts";
import { ControlClient } from "./control-client.ts";
import {
  discardedSchema,
  type JobLogLine,
  type JobReport,
  jobSchema,
  jobsSchema,
  logsSchema,
  retriedSchema,
} from "./control-jobs.ts";
import { type BinaryReply, pickAnyReply, type ResultReply, type TaskReply, type WaitOptions } from "./pending.ts";

/** Selects the jobs that `jobs` lists. */
export interface JobFilter {
  readonly task?: string | undefined;
  readonly states?: readonly JobStateName[] | undefined;
  /** Only dead letters: durable jobs that have failed for good. */
  readonly dead?: boolean | undefined;
  /** Only those that have not ended, or have ended in the last so many ms. */
  readonly sinceMs?: number | undefined;
  /** Only those before this one, by its id. */
  readonly before?: string | undefined;
  /** At most so many: 1 to 100, the default. */
  readonly limit?: number | undefined;
}

export interface ResultOptions {
  /** ms that the client waits for the end of the job; default 60000. Then NO_ANSWER. */
  readonly waitMs?: number;
  /** Aborting it ends the waiting, and not the job. */
  readonly signal?: AbortSignal;
}

export abstract class JobClient extends ControlClient {
  /** Sends CONTROL, and gives what `pick` takes from the reply. */
  protected abstract controlReply<Result>(
    control: ControlInput,
    pick: (reply: ResultReply) => Result,
    waiting?: WaitOptions,
  ): Promise<Result>;

  /** Reports on a job; rejects with UNKNOWN_JOB if nothing is known of it (any more). */
  job(id: string): Promise<JobReport> {
    return this.control({ command: "job", job: id }, jobSchema);
  }

  /** The jobs that have not ended, and the last ones that have, the newest first. */
  async jobs({ states, ...filter }: JobFilter = {}): Promise<JobReport[]> {
    const given = Object.fromEntries(Object.entries(filter).filter(([, value]) => value !== undefined));
    const all = { limit: jobsPageMax, ...given, ...(states !== undefined && { states: [...states] }) };
    return (await this.control({ command: "jobs", ...all }, jobsSchema)).jobs;
  }

  /**
   * The result of a job, once it is there: JSON, or the bytes or the array of a binary one. Rejects
   * as `call` does if the job failed, with NO_ANSWER if it has not ended in time, and with
   * UNKNOWN_JOB if nothing is known of it (any more).
   */
  async result(id: string, options: ResultOptions = {}): Promise<Json | BinaryData> {
    return (await this.resultReply(id, options)).data;
  }

  /** As `result`, and gives the whole reply. */
  async resultReply(
    id: string,
    { waitMs = callTimeoutMs, signal }: ResultOptions = {},
  ): Promise<TaskReply | BinaryReply> {
    const endMs = performance.now() + waitMs;
    for (;;) {
      const leftMs = Math.max(0, endMs - performance.now());
      const stepMs = Math.min(Math.ceil(leftMs), resultWaitMsMax);
      const control = { command: "result", job: id, waitMs: stepMs } as const;
      // The engine's word comes first, unless there is none.
      const reply = await this.controlReply(control, (it) => it, { waitMs: stepMs + requestTimeoutMs, signal });
      if (reply.kind !== "accepted") return pickAnyReply(reply);
      if (stepMs < leftMs) continue;
      throw new TaskEngineError("NO_ANSWER", `job ${id} is ${reply.job.state}: it has not ended within ${waitMs} ms`);
    }
  }

  /**
   * The last lines of the logs of a job, of a task or of all jobs, the oldest first: what they have
   * written, and their errors. At most 1000.
   */
  async logs({
    job,
    task,
  }: {
    readonly job?: string | undefined;
    readonly task?: string | undefined;
  } = {}): Promise<JobLogLine[]> {
    const of = { ...(job !== undefined && { job }), ...(task !== undefined && { task }) };
    return (await this.control({ command: "logs", ...of }, logsSchema)).lines;
  }

  /**
   * Cancels a job by its id. Returns false if it has ended already; rejects with UNKNOWN_JOB if
   * nothing is known of it.
   */
  async cancelJob(id: string): Promise<boolean> {
    return (await this.control({ command: "cancel", job: id }, cancelledSchema)).cancelled > 0;
  }

  /**
   * Runs a dead letter again, as a new job, whose id it gives. Rejects with UNCONFIRMED for a task
   * that may move something without `confirm`, and with UNKNOWN_JOB if there is no such dead
   * letter.
   */
  async retry(id: string, { confirm = false }: { readonly confirm?: boolean } = {}): Promise<string> {
    return (await this.control({ command: "retry", job: id, confirm }, retriedSchema)).job;
  }

  /** Forgets a dead letter; rejects with UNKNOWN_JOB if there is none of this id. */
  async discard(id: string): Promise<void> {
    await this.control({ command: "discard", job: id }, discardedSchema);
  }
}

/** A job that was accepted and goes on by itself. */
export class DetachedJob {
  /** 16 characters, by which every client finds the job. */
  readonly id: string;
  /** When it was accepted. */
  readonly state: string;
  /** It is an earlier job of the same `unique` key. */
  readonly existing: boolean;

  constructor(
    private readonly client: JobClient,
    { job, state, existing }: AcceptedJob,
  ) {
    this.id = job;
    this.state = state;
    this.existing = existing;
  }

  /** As `result` of the client. */
  result(options: ResultOptions = {}): Promise<Json | BinaryData> {
    return this.client.result(this.id, options);
  }

  /** As `job` of the client. */
  report(): Promise<JobReport> {
    return this.client.job(this.id);
  }

  /** As `cancelJob` of the client. */
  cancel(): Promise<boolean> {
    return this.client.cancelJob(this.id);
  }
}
