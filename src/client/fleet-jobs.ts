/**
 * Jobs that the fleet keeps until a robot takes them: sent, looked at and cancelled by anybody who
 * may reach JetStream. A job's state decides about it; its message only brings it to a robot.
 */
import { createHash, randomBytes } from "node:crypto";
import type { NatsConnection } from "@nats-io/transport-node";
import {
  callTimeoutMs,
  fleetJobsLookMax,
  fleetPollMs,
  fleetPollMsMax,
  jobsPageMax,
  requestTimeoutMs,
} from "../limits.ts";
import { type ClientErrorCode, ProtocolError, TaskEngineError } from "../protocol/errors.ts";
import { isSubjectEnd, subjectOf, targetText } from "../protocol/fleet.ts";
import {
  checkedJobId,
  groupConsumer,
  jobIdOf,
  jobsStream,
  type QueuedJob,
  type QueueTarget,
  queuedJobSchema,
  queueSubject,
  resultSubject,
  stateSubject,
  statesStream,
} from "../protocol/fleet-jobs.ts";
import { taskName } from "../protocol/frames.ts";
import type { JsonObject } from "../protocol/json.ts";
import { jsonText } from "../protocol/json-encode.ts";
import type { AcceptedJob } from "../protocol/replies.ts";
import { checkFrame, decodeObject } from "../protocol/schema.ts";
import type { JobReport } from "./control-jobs.ts";
import { encodingError } from "./errors.ts";
import { readRobot, readRoster } from "./fleet.ts";
import { taskReplyIn } from "./fleet-asker.ts";
import { JetStream } from "./jetstream.ts";
import type { JobFilter, ResultOptions } from "./job-client.ts";
import type { DetachOptions } from "./options.ts";
import type { BinaryReply, TaskReply } from "./pending.ts";

/** A state with its revision, and the ms since 1970 when it was written by the server's clock. */
export interface Kept {
  readonly job: QueuedJob;
  readonly revision: number;
  readonly atMs: number;
}

export class FleetJobs {
  private constructor(
    private readonly nats: NatsConnection,
    readonly store: JetStream,
  ) {}

  static async over(nats: NatsConnection): Promise<FleetJobs> {
    const { headers } = await import("@nats-io/transport-node");
    return new FleetJobs(nats, new JetStream(nats, headers));
  }

  /**
   * Gives a job to the fleet, and its id once it is kept. Rejects with TaskEngineError: BAD_ARGS
   * for what may not begin by itself, UNKNOWN_TASK or UNAVAILABLE if no robot is known that would
   * take it, STORE_FULL, or UNAVAILABLE without JetStream.
   */
  async send(target: QueueTarget, task: string, args: unknown[], kwargs: object, options: DetachOptions) {
    const name = taskName(task);
    if (!isSubjectEnd(name)) throw badArgs(`the task ${JSON.stringify(name)} cannot be a subject of NATS`);
    const { detach: _, waitMs: __, signal: ___, keepAlive: ____, onBehalf: _____, unique, ...limits } = options;
    for (const option of ["deadmanMs", "delayMs", "notBefore"] as const) {
      if (limits[option] !== undefined) throw badArgs(`${option} does not go with a job that the fleet keeps`);
    }
    await this.#checkTask(target, name);
    const given = Object.entries(limits).filter(([, value]) => value !== undefined);
    const body = textOf({ args, kwargs, options: Object.fromEntries(given) });
    const hash = createHash("sha256").update(textOf({ args, kwargs })).digest("hex");
    const key = typeof unique === "object" ? unique.key : unique;
    const subject = queueSubject(target, name);
    const seed =
      key === undefined
        ? randomBytes(16)
        : createHash("sha256")
            .update(JSON.stringify([subject, key]))
            .digest();
    return this.#keep(subject, body, { ...newJob(jobIdOf(seed), name, target), hash });
  }

  async #keep(subject: string, body: string, job: QueuedJob): Promise<AcceptedJob> {
    const id = job.job;
    const accepted = (state: string, existing: boolean): AcceptedJob => ({ job: id, state, existing });
    const bytesMax = (this.nats.info?.max_payload ?? Number.POSITIVE_INFINITY) - headerBytesMax;
    if (Buffer.byteLength(body) > bytesMax) {
      throw new TaskEngineError("TOO_LARGE", `the job has more bytes than NATS takes (max_payload): ${bytesMax}`);
    }
    const { isNew } = await this.write(job, 0);
    const kept = isNew ? null : await this.find(id);
    if (kept !== null) {
      if (kept.job.hash !== job.hash) throw badArgs(`a job of ${job.task} with this unique key has other arguments`);
      if (kept.job.state !== "queued") return accepted(kept.job.state, true);
    }
    // Its sender may have died before it had sent the message: a second one does no harm.
    try {
      await this.store.publish(subject, body, { id });
    } catch (error) {
      const isRefused = error instanceof TaskEngineError && error.code === "STORE_FULL";
      if (isRefused && isNew) await this.store.remove(stateSubject(id));
      throw error;
    }
    return accepted("queued", !isNew);
  }

  /** A job's state with its revision; null if nothing is known of it. */
  async find(id: string): Promise<Kept | null> {
    if (checkedJobId(id) === null) return null;
    const value = await this.store.get(statesStream, stateSubject(id));
    if (value === null) return null;
    const job = jobIn(value.bytes);
    if (job === null) throw new TaskEngineError("BAD_FRAME", `the state of job ${id} could not be understood`);
    return { job, revision: value.revision, atMs: value.atMs };
  }

  /**
   * Writes a state in place of that of a revision, 0 for none; `isNew` is false if it has changed
   * meanwhile.
   */
  write(job: QueuedJob, revision: number): Promise<{ readonly isNew: boolean; readonly revision: number }> {
    return this.store.publish(stateSubject(job.job), JSON.stringify(job), { revision });
  }

  /** As of a client. */
  async job(id: string): Promise<JobReport> {
    return reportOf((await this.#known(id)).job);
  }

  /**
   * As of a client: those whose states have changed last. `states` may have `taken`.
   * @param of only those of one robot or group
   */
  async jobs(filter: JobFilter = {}, of: QueueTarget | null = null): Promise<JobReport[]> {
    const { task, states, dead, sinceMs, before, limit = jobsPageMax } = filter;
    if (dead === true || before !== undefined) throw badArgs("the fleet has no dead letters, and one page of jobs");
    const since = sinceMs === undefined ? 0 : Date.now() / 1000 - sinceMs / 1000;
    const names: readonly string[] | undefined = states;
    const found: QueuedJob[] = [];
    for (const job of await this.#newest()) {
      const isMeant =
        (task === undefined || job.task === task) &&
        (names === undefined || names.includes(job.state)) &&
        (job.ended === null || job.ended >= since) &&
        (of === null || ("robot" in of ? job.robot === of.robot : job.group === of.group));
      if (isMeant) found.push(job);
    }
    return found
      .sort((a, b) => b.accepted - a.accepted)
      .slice(0, limit)
      .map(reportOf);
  }

  /** As of a client. */
  async resultReply(
    id: string,
    { waitMs = callTimeoutMs, signal }: ResultOptions = {},
  ): Promise<TaskReply | BinaryReply> {
    const endMs = performance.now() + waitMs;
    for (let stepMs = fleetPollMs; ; stepMs = Math.min(stepMs * 1.5, fleetPollMsMax)) {
      const { job } = await this.#known(id);
      if (job.ended !== null) return this.#outcomeOf(job);
      if (signal?.aborted) throw new TaskEngineError("CANCELLED", "the wait was cancelled");
      if (performance.now() >= endMs) {
        const where = job.state === "taken" ? ` by ${job.robot}` : "";
        throw new TaskEngineError(
          "NO_ANSWER",
          `job ${id} is ${job.state}${where}: it has not ended within ${waitMs} ms`,
        );
      }
      await Bun.sleep(Math.min(stepMs, endMs - performance.now()));
    }
  }

  /**
   * As of a client. A job that a robot has taken is cancelled there; rejects with UNAVAILABLE if it
   * is not there.
   */
  async cancelJob(id: string): Promise<boolean> {
    for (;;) {
      const { job, revision } = await this.#known(id);
      if (job.ended !== null) return false;
      if (job.state === "taken") return this.#cancelAt(job.robot ?? "", id);
      const end = { code: "CANCELLED", message: "it was cancelled", ended: Date.now() / 1000 };
      if ((await this.write({ ...job, state: "cancelled", ...end }, revision)).isNew) return true;
    }
  }

  async #cancelAt(robot: string, id: string): Promise<boolean> {
    const request = JSON.stringify({ job: id });
    const reply = await this.nats
      .request(`${subjectOf({ robot })}.cancel`, request, { timeout: requestTimeoutMs })
      .catch((error: unknown) => {
        const { message } = error as Error;
        throw new TaskEngineError("UNAVAILABLE", `robot ${robot} has taken job ${id} and is not reached: ${message}`);
      });
    const body = decodeObject(reply.data, "reply");
    return !(body instanceof ProtocolError) && body.cancelled === true;
  }

  async #known(id: string): Promise<Kept> {
    const kept = await this.find(id);
    if (kept !== null) return kept;
    throw new TaskEngineError("UNKNOWN_JOB", `the fleet knows no job ${JSON.stringify(id)}, any more or at all`);
  }

  async #outcomeOf({ job: id, code, message, robot, claim }: QueuedJob): Promise<TaskReply | BinaryReply> {
    if (code !== null) throw new TaskEngineError(code as ClientErrorCode, message ?? "");
    const value = await this.store.get(statesStream, resultSubject(id, claim));
    const end = value?.bytes.indexOf(0x0a) ?? -1;
    if (value === null || end < 0) {
      throw new TaskEngineError("UNKNOWN_JOB", `job ${id} is done by ${robot}, and its result is not kept any more`);
    }
    const meta = Buffer.from(value.bytes.subarray(0, end)).toString();
    return taskReplyIn(meta, value.bytes.subarray(end + 1));
  }

  /** Refuses a task that no robot may begin by itself. */
  async #checkTask(target: QueueTarget, task: string): Promise<void> {
    const consumer = "group" in target ? groupConsumer(target.group, task) : null;
    // A robot of the group makes the consumer for what may begin by itself, and for nothing else.
    if (consumer !== null && (await this.store.hasConsumer(jobsStream, consumer))) return;
    const whole = async () => [...(await readRoster(this.nats)).values()].map(({ report }) => report);
    const robots =
      "robot" in target
        ? [await readRobot(this.nats, target.robot)].filter((report) => report !== null)
        : (await whole()).filter(({ groups }) => groups.includes(target.group));
    if (robots.some(({ detachable }) => detachable.includes(task))) return;
    const name = targetText(target);
    if (robots.length === 0) throw new TaskEngineError("UNAVAILABLE", `the roster of the fleet has no ${name}`);
    if (!robots.some(({ tasks }) => tasks.includes(task))) {
      throw new TaskEngineError("UNKNOWN_TASK", `${name} has no task ${JSON.stringify(task)} that the fleet may run`);
    }
    throw badArgs(
      `${task} may move something or has a dead man, or ${name} has no JetStream, so its jobs cannot be kept for ` +
        "later; write `moves: false` in its definition if it moves nothing, or `resumesAfterRestart: true`",
    );
  }

  /** The jobs whose states are among the newest revisions. */
  async #newest(): Promise<QueuedJob[]> {
    const found: QueuedJob[] = [];
    await this.store.readNewest(statesStream, stateSubject("*"), fleetJobsLookMax, (bytes) => {
      const job = jobIn(bytes);
      if (job !== null) found.push(job);
    });
    return found;
  }
}

/** bytes of NATS' headers of a job, and more. */
const headerBytesMax = 1_024;

const newJob = (job: string, task: string, target: QueueTarget): QueuedJob => ({
  ...{ job, task, group: null, robot: null, ...target },
  ...{ state: "queued", code: null, message: null },
  ...{ accepted: Date.now() / 1000, taken: null, ended: null },
  ...{ claim: "", once: false, hash: "" },
});

const jobIn = (bytes: Uint8Array): QueuedJob | null => {
  const body = decodeObject(bytes, "state");
  const job = body instanceof ProtocolError ? body : checkFrame(queuedJobSchema, body, "state");
  return job instanceof ProtocolError ? null : job;
};

const reportOf = ({ job, task, robot, state, code, message, accepted, taken, ended }: QueuedJob): JobReport => ({
  ...{ job, task, state, code, message, accepted, ended, serial: "", requestor: null, tries: 0 },
  ...{ due: null, started: taken, worker: taken === null ? null : robot, args: null, kwargs: null, progress: null },
  ms: taken === null || ended === null ? null : (ended - taken) * 1000,
});

const badArgs = (message: string): TaskEngineError => new TaskEngineError("BAD_ARGS", message);

const textOf = (value: JsonObject | object): string => {
  try {
    return jsonText(value, "request");
  } catch (error) {
    throw encodingError(error);
  }
};
