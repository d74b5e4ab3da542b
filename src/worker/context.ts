/** The third argument of a running task: its way to the engine. */

import { encodePayload, payloadTypeOf } from "../data/payload.ts";
import { frameBytesMax, nameLengthMax } from "../limits.ts";
import { say } from "../process/log.ts";
import { type Frame, isLonger, sizeOf } from "../protocol/frame.ts";
import { encodeValue } from "../protocol/frames.ts";
import { type Json, JsonError } from "../protocol/json.ts";
import { jsonText } from "../protocol/json-encode.ts";
import type { PayloadType } from "../protocol/values.ts";
import type { StopReason, TaskContext } from "../tasks/task.ts";
import type { JobName, TaskJob } from "./job.ts";

export interface ContextHooks {
  /** Begins each line of the log: `[WORKER-7758(TASK)]`. */
  readonly tag: string;
  /** Returns false if the value, bytes or JSON without a type, is lost. */
  publish(topic: string, payload: Frame, type: PayloadType | null, task: string): boolean;
}

/** The context of a run of a task, or of its `onStop`. */
export class JobContext<Job extends JobName & Pick<TaskJob, "progress" | "log"> = JobName> implements TaskContext {
  /** The task itself was called, so something may have moved. */
  hasEnteredTask = false;
  /** Made on first use: most tasks are over before anybody could abort them. */
  #abort: AbortController | undefined;
  #abortReason: Error | undefined;
  #why: StopReason | null = null;
  #hasEnded = false;

  constructor(
    readonly job: Job,
    private readonly hooks: ContextHooks,
  ) {}

  get jobSerial(): string {
    return this.job.serial;
  }

  get signal(): AbortSignal {
    this.#abort ??= new AbortController();
    if (this.#abortReason !== undefined) this.#abort.abort(this.#abortReason);
    return this.#abort.signal;
  }

  // Getters of functions, so that a task may take them out of its context; most tasks use none.
  get progress(): (data: Json) => void {
    return (data) => {
      const frame = dataFrame(data, "progress");
      if (!this.#hasEnded) this.job.progress?.(frame);
    };
  }

  get log(): (line: string) => void {
    return (line) => {
      say(`${this.hooks.tag} ${this.job.name}: ${line}`, this.job.id ?? null);
      if (!this.#hasEnded) this.job.log?.("info", String(line));
    };
  }

  get publish(): TaskContext["publish"] {
    return (topic: string, data: unknown, options?: PayloadType) => {
      checkTopic(topic);
      const type = payloadTypeOf(data, options);
      const payload = type === null ? jsonPayload(data, "data") : encodePayload(data, type);
      return this.hooks.publish(topic, payload, type, this.job.name);
    };
  }

  /** Why the task was aborted; null if it was not. */
  get why(): StopReason | null {
    return this.#why;
  }

  /** Aborts the task's signal. The first reason stays. */
  abort(why: StopReason): void {
    if (this.#why !== null) return;
    this.#why = why;
    this.#abortReason = new Error(`${why.code}: ${why.message}`);
    this.#abort?.abort(this.#abortReason);
  }

  /** The job has let go: progress from a forgotten timer of the task belongs to no job. */
  end(): void {
    this.#hasEnded = true;
  }
}

const checkTopic = (topic: unknown): void => {
  if (typeof topic !== "string" || topic === "" || topic.length > nameLengthMax || topic.startsWith("$")) {
    throw new TypeError(`a topic must be a string of 1 to ${nameLengthMax} characters that does not begin with $`);
  }
};

/**
 * Encodes a value from user code as a DATA frame `{data, pack}`.
 * @param name of the value in an error: `result` makes `result.speed is NaN, …`
 * @throws JsonError for a value that is not JSON, and for a frame above `frameBytesMax`
 */
export const dataFrame = (value: unknown, name: string): string => {
  const frame = encodeValue(value, name);
  if (isLonger(frame, frameBytesMax)) {
    throw new JsonError(`${name} makes a frame of ${sizeOf(frame)} bytes, the limit is ${frameBytesMax}`);
  }
  return frame;
};

/** As `dataFrame`, the value alone. It must fit into a DATA frame, too, which the router takes. */
export const jsonPayload = (value: unknown, name: string): string => {
  const json = jsonText(value, name, 1);
  if (isLonger(json, frameBytesMax - envelopeBytes)) {
    throw new JsonError(`${name} has ${sizeOf(json)} bytes, the limit is ${frameBytesMax - envelopeBytes}`);
  }
  return json;
};

/** bytes of a DATA frame around its value, at most. */
const envelopeBytes = 64;
