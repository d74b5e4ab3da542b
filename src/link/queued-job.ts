/**
 * The life of one job from the fleet's queues on this robot: taken, run by the engine, told.
 *
 * A job whose task is not idempotent begins at most once: the robot's own file says that it is
 * taken, then its state does, which only one robot can write; then NATS has confirmed that the
 * message is gone. Only then it begins. If the link ends in between, it says INTERRUPTED later.
 * A job whose task is idempotent is acknowledged after its end, and another robot may take it over.
 */
import { randomBytes } from "node:crypto";
import type { NatsConnection } from "@nats-io/transport-node";
import type { Client } from "../client/client.ts";
import type { FleetJobs, Kept } from "../client/fleet-jobs.ts";
import type { BinaryReply, TaskReply } from "../client/pending.ts";
import { fleetResultBytesMax, jetStreamMs, linkReturnMs, linkWorkingMs } from "../limits.ts";
import { bytesIn } from "../protocol/arrays.ts";
import { endStateOf } from "../protocol/control.ts";
import { ProtocolError, TaskEngineError } from "../protocol/errors.ts";
import { type QueuedJob, resultSubject } from "../protocol/fleet-jobs.ts";
import type { OnBehalf } from "../protocol/frames.ts";
import { isJsonObject } from "../protocol/json.ts";
import { EngineJob, Left, type Outcome, type QueuedMessage, Returned, retryTime } from "./engine-job.ts";
import { failureOf } from "./replies.ts";
import type { TakenFile } from "./taken-file.ts";

export interface QueueContext {
  readonly nats: NatsConnection;
  readonly client: Client;
  readonly jobs: FleetJobs;
  readonly taken: TakenFile;
  readonly robot: string;
  readonly onBehalf: OnBehalf | null;
  /** Aborted when the link ends. */
  readonly leaving: AbortSignal;
  readonly warn: (line: string) => void;
}

export class JobRun {
  readonly #claim: string;
  readonly #once: boolean;
  readonly #engine: EngineJob;
  #kept: Kept | null = null;
  #isAcknowledged = false;

  /** @param ack the subject by which JetStream hears of the message */
  constructor(
    private readonly context: QueueContext,
    private readonly message: QueuedMessage,
    private ack: string,
    claim = randomBytes(8).toString("hex"),
  ) {
    this.#claim = claim;
    this.#once = message.isIdempotent !== true;
    this.#engine = new EngineJob(context.client, context.onBehalf, context.leaving, this.#once);
  }

  /** The message has come once more. */
  again(ack: string): void {
    this.ack = ack;
    if (this.#isAcknowledged) this.#say("+ACK");
  }

  cancel(): void {
    this.#engine.cancel();
  }

  /** Resolves once the job has ended, here or for this robot. */
  async run(): Promise<void> {
    const { id } = this.message;
    const working = this.#once ? undefined : setInterval(() => this.#say("+WPI"), linkWorkingMs);
    try {
      if (this.#once && !(await this.#record())) return;
      if (!(await this.#take())) {
        if (this.#once) await this.#noted(this.context.taken.end(id, false));
        return this.#say("+ACK");
      }
      const endMs = await this.#endMs();
      if (this.#once) await this.#acknowledge();
      const onBegin = async (job: string): Promise<void> => {
        if (this.#once) await this.#noted(this.context.taken.begin(id, job));
      };
      await this.#tell(await this.#engine.run(this.message, endMs, onBegin));
      if (!this.#once) this.#say("+ACK");
    } catch (error) {
      if (error instanceof Returned) await this.#return().catch(unlessLeft);
      else if (error instanceof TaskEngineError) this.#refuse(error);
      else unlessLeft(error);
    } finally {
      clearInterval(working);
    }
  }

  /** A job that an earlier link has taken. @param begun the engine's id of it */
  async resume(begun: string | null): Promise<void> {
    const { jobs, taken } = this.context;
    const { id } = this.message;
    try {
      this.#kept = await this.#until(() => jobs.find(id));
      const isOurs = this.#kept !== null && this.#kept.job.claim === this.#claim;
      if (isOurs && this.#kept?.job.ended === null) {
        const why = "the robot's link ended before it had confirmed that it begins, or while it ran";
        await this.#tell(begun === null ? { code: "INTERRUPTED", message: why } : await this.#engine.follow(begun));
      }
      // A job that it has not taken may come again.
      await this.#noted(taken.end(id, this.#kept === null || this.#kept.job.state !== "queued"));
    } catch (error) {
      if (error instanceof TaskEngineError) this.#refuse(error);
      else unlessLeft(error);
    }
  }

  /** Its state was written by somebody else, and cannot be read. */
  #refuse({ message }: TaskEngineError): void {
    this.context.warn(`job ${this.message.id} is dropped: ${message}`);
    this.#say("+TERM");
  }

  /** False: the disk does not take it, so the robot does not. */
  async #record(): Promise<boolean> {
    try {
      await this.context.taken.take(this.message.id, this.#claim);
      return true;
    } catch (error) {
      this.context.warn(`a job goes back to the fleet, since it is not idempotent and ${(error as Error).message}`);
      this.#giveBack();
      return false;
    }
  }

  /** Writes the state `taken`; false if the job is not this robot's. */
  #take(): Promise<boolean> {
    const { jobs, robot } = this.context;
    return this.#until(async () => {
      for (;;) {
        this.#kept = await jobs.find(this.message.id);
        const state = this.#kept?.job ?? this.#unknown();
        if (state.claim === this.#claim) return true;
        if (state.ended !== null || (state.state === "taken" && (this.#once || state.once))) return false;
        const job = { ...state, robot, state: "taken", taken: Date.now() / 1000, claim: this.#claim, once: this.#once };
        const { isNew, revision } = await jobs.write(job, this.#kept?.revision ?? 0);
        if (!isNew) continue;
        this.#kept = { job, revision, atMs: Number.NaN };
        return true;
      }
    });
  }

  /** Its sender has written no state. */
  #unknown(): QueuedJob {
    const { id, task, group, sentAtMs } = this.message;
    return {
      ...{ job: id, task, group, robot: null, state: "queued", code: null, message: null },
      ...{ accepted: sentAtMs / 1000, taken: null, ended: null, claim: "", once: false, hash: "" },
    };
  }

  /**
   * When its `ttlMs` has passed, by `performance.now()`. The server's clock has measured the time
   * until now.
   */
  async #endMs(): Promise<number> {
    const { id, request, sentAtMs } = this.message;
    const options = request instanceof ProtocolError ? undefined : request.options;
    const { ttlMs } = isJsonObject(options) ? options : {};
    if (typeof ttlMs !== "number") return Number.POSITIVE_INFINITY;
    const kept = await this.#until(() => this.context.jobs.find(id));
    return performance.now() + ttlMs - ((kept?.atMs ?? sentAtMs) - sentAtMs);
  }

  /** Resolves once NATS has confirmed it. */
  #acknowledge(): Promise<void> {
    return this.#until(async () => {
      await this.context.nats.request(this.ack, "+ACK", { timeout: jetStreamMs }).catch((error: unknown) => {
        throw new TaskEngineError("UNAVAILABLE", (error as Error).message);
      });
      this.#isAcknowledged = true;
    });
  }

  /** Writes result and end, unless the job is another robot's by now. */
  async #tell(outcome: Outcome): Promise<void> {
    const { jobs, robot, nats, taken } = this.context;
    const { id } = this.message;
    const bytesMax = Math.min(fleetResultBytesMax, (nats.info?.max_payload ?? fleetResultBytesMax) - 1_024);
    const bytes = "reply" in outcome ? resultBytes(outcome.reply) : null;
    const isTooLong = bytes !== null && bytes.length > bytesMax;
    const message = `it has run, and its result has ${bytes?.length} bytes; the fleet keeps ${bytesMax}`;
    const failure = "reply" in outcome ? (isTooLong ? { code: "TOO_LARGE", message } : null) : outcome;
    await this.#until(async () => {
      if (bytes !== null && failure === null) await jobs.store.publish(resultSubject(id, this.#claim), bytes);
      for (;;) {
        const job = this.#kept?.job ?? { ...this.#unknown(), robot, claim: this.#claim };
        if (job.claim !== this.#claim || job.ended !== null) return;
        const { code = null, message = null } = failure ?? {};
        const end = { ...job, state: endStateOf(code), code, message, ended: Date.now() / 1000 };
        const { isNew } = await jobs.write(end, this.#kept?.revision ?? 0);
        if (isNew) return;
        this.#kept = await jobs.find(id);
      }
    });
    if (this.#once) await this.#noted(taken.end(id));
  }

  /** Back to the queue. */
  async #return(): Promise<void> {
    const { jobs } = this.context;
    const kept = this.#kept;
    if (kept !== null) {
      const free = { robot: kept.job.group === null ? kept.job.robot : null, taken: null, claim: "" };
      await this.#until(() => jobs.write({ ...kept.job, ...free, state: "queued" }, kept.revision));
    }
    this.#giveBack();
  }

  #giveBack(): void {
    this.#say(`-NAK ${JSON.stringify({ delay: linkReturnMs * 1e6 })}`);
  }

  /** Tells JetStream, as far as it is there. */
  #say(word: string): void {
    if (this.ack !== "" && !this.context.nats.isClosed()) this.context.nats.publish(this.ack, word);
  }

  /** Awaits a note for the next link. A failure is a warning: this link does not need the note. */
  async #noted(writing: Promise<void>): Promise<void> {
    await writing.catch((error: Error) => this.context.warn(`the file of taken jobs: ${error.message}`));
  }

  /**
   * Again and again until it succeeds, since the fleet may be cut off for long. Rejects with Left,
   * and for junk.
   */
  async #until<Result>(work: () => Promise<Result>): Promise<Result> {
    for (;;) {
      try {
        return await work();
      } catch (error) {
        if (failureOf(error).code === "BAD_FRAME") throw error;
        await retryTime(this.context.leaving);
      }
    }
  }
}

const unlessLeft = (error: unknown): void => {
  if (!(error instanceof Left)) throw error;
};

/** META in one line, then the body of the reply as `te.R.tasks.TASK` gives it. */
const resultBytes = (reply: TaskReply | BinaryReply): Uint8Array => {
  const isBinary = "type" in reply;
  const meta = JSON.stringify({ ...reply.meta, ...(isBinary && reply.type) });
  const body = isBinary ? bytesIn(reply.data) : Buffer.from(JSON.stringify({ data: reply.data }));
  return Buffer.concat([Buffer.from(`${meta}\n`), body]);
};
