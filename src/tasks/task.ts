/**
 * The types that a robot programmer writes tasks against. There is nothing here but types, so that
 * a task file that imports them imports nothing at run time.
 *
 * A task is an export whose name begins with `task_`, in a TypeScript or JavaScript file of the
 * tasks folder, in one of two forms:
 * ```ts
 * export const task_beep: TaskFunction = async ([times], kwargs, { signal, log }) => { … };
 * export const task_drive: TaskDefinition = { run: async ([metres], kwargs, context) => { … } };
 * ```
 */
import type { ErrorCode } from "../protocol/errors.ts";
import type { Json, JsonObject } from "../protocol/json.ts";
import type { ArgumentSchema, Policy as TaskPolicy } from "../protocol/policy.ts";
import type { CronTimes } from "../protocol/schedules.ts";

import type { ItemType, PayloadType } from "../protocol/values.ts";
import type { ArgumentCheck, Schema } from "./arguments.ts";

export type { Json, JsonObject, Schema, TaskPolicy };

/**
 * The work itself. `args` and `kwargs` are what the requestor sent, decoded anew for each job, so
 * they may be changed. The result, or the value of its promise, must be plain JSON, bytes or a
 * BinaryResult; `undefined` arrives as null. An error, thrown or rejected, ends the job as
 * TASK_ERROR with the message of that error, and those of its causes and of the `errors` of an
 * AggregateError, in one line; the log has the stacks.
 *
 * One worker process runs one job at a time, but a task that computes without `await` also keeps
 * the worker from hearing anything, its own stop included: long work should wait for something now
 * and then.
 */
export type TaskFunction = (args: Json[], kwargs: JsonObject, context: TaskContext) => unknown;

/**
 * A result that is not JSON, such as a photo: `{ contentType: "image/jpeg", bytes }`. A typed
 * array, a Buffer or an ArrayBuffer may also be returned by itself. Only a request that asks for
 * binary results can take it; others end as TASK_ERROR. At most 2 MiB.
 */
export interface BinaryResult {
  readonly bytes: ArrayBufferView | ArrayBufferLike;
  /** As in HTTP. Left out: `application/octet-stream`, with the type and number of its items. */
  readonly contentType?: string;
  /** Only of `application/octet-stream`: the type of the items, little endian. */
  readonly dtype?: ItemType;
  /** With it: the length of each dimension. */
  readonly shape?: readonly number[];
}

/**
 * A task with its policy. An unknown key is an error at start.
 *
 * `args` and `kwargs` are checked before it runs, each by any Standard Schema (valibot's and zod's
 * are), which may be async. Wrong arguments get BAD_ARGS, with the path of what is wrong, and the
 * task is not run; otherwise the task gets the schema's output: `TaskDefinition<[number, string]>`
 * where that is not plain JSON.
 */
export interface TaskDefinition<Args = Json[], Kwargs = JsonObject> extends Omit<TaskPolicy, "onStop" | "schedule"> {
  /** A cron expression, alone or with its time zone: see TASKS.md. */
  readonly schedule?: string | CronTimes;
  readonly run: (args: Args, kwargs: Kwargs, context: TaskContext) => unknown;
  readonly onStop?: StopFunction;
  readonly args?: Schema<Args>;
  readonly kwargs?: Schema<Kwargs>;
}

/**
 * Brings the task's hardware into its safe state. It is called after a job of the task that has
 * begun and has not ended by itself: it threw, it was aborted (whatever it did then), or its
 * process died. It is called in the process that ran the job once that has let go, or else in
 * another one, which knows nothing of the job. It may be called again, also where all is safe
 * already, so it must not depend on earlier state.
 *
 * `context` is not the job's: its signal is aborted after `onStopMs` (1000 by default). An error,
 * or more time than that, counts as not safe: it is tried again elsewhere, and the job's resources
 * stay held until then.
 */
export type StopFunction = (context: TaskContext, why: StopReason) => unknown;

/**
 * Why a job has ended other than by itself. `code`: `STOPPED`, `TIMEOUT`, `CANCELLED`, `DEADMAN`,
 * `PREEMPTED`, `SUPERSEDED`, `INTERRUPTED` (a process died, or lost its connection), `TASK_ERROR`
 * (the task threw), or another of the engine's codes. `message`: for a person.
 */
export interface StopReason {
  readonly code: ErrorCode;
  readonly message: string;
}

/** A task's third argument. Everything here may be taken out of it: `({ signal, log }) => …`. */
export interface TaskContext {
  /** Aborted when the job should end early; `signal.reason` is an Error that says why. */
  readonly signal: AbortSignal;
  /** The requestor's name for this job; empty if it gave none. */
  readonly jobSerial: string;
  /** Says how far the job is. Throws for data that is not JSON; has no effect after the job. */
  progress(data: Json): void;
  /** Writes one line to the engine's output, marked with the worker and the task. */
  log(line: string): void;
  /**
   * Gives `data` to the subscribers of `topic`: JSON, or bytes. Bytes and arrays without a
   * `contentType` are `application/octet-stream`, and an array's items and shape go along.
   * Throws for an invalid topic, for data that is neither, and for a shape that does not fit.
   * Returns false if it is lost already because the engine takes no more. It can still be lost
   * later, where a data worker has no room or there are too many topics: the log says so once. In a
   * burst a newer value replaces an older one of its topic.
   */
  publish(topic: string, data: Json | ArrayBufferView | ArrayBuffer, options?: PayloadType): boolean;
}

/**
 * A function that reads a sensor at a rate: an export whose name begins with `source_`. An unknown
 * key is an error at start. ```ts export const source_distance: SourceDefinition = { everyMs: 20,
 * topic: "distance", run: () => … }; ```
 */
export interface SourceDefinition {
  /** ms from one call of `run` to the next: 1 to 86400000. */
  readonly everyMs: number;
  /** 1 to 128 characters, without `$` at the beginning; that of no other source. */
  readonly topic: string;
  /** ms without a value after which the topic is stale: at least `everyMs`. Left out: never. */
  readonly staleMs?: number;
  /**
   * Returns the value, or a promise of it, that is published: plain JSON, or undefined if there is
   * none this time. It is called in a process that all sources share and that runs no task. While
   * a call has not ended no other begins; what is skipped so is counted, as is an error.
   */
  readonly run: () => unknown;
}

/** A source as its process knows it. */
export interface RegisteredSource {
  /** without the prefix `source_` */
  readonly name: string;
  /** The path of its file, for people. */
  readonly file: string;
  readonly topic: string;
  readonly everyMs: number;
  readonly staleMs?: number | undefined;
  readonly run: () => unknown;
}

/** A task as the worker knows it: found, checked, ready to run. */
export interface RegisteredTask {
  /** without the prefix `task_` */
  readonly name: string;
  /** Where it was found, for people: the path of its file, or `built-in count.ts`. */
  readonly file: string;
  readonly run: TaskFunction;
  /** null for a task without schemas */
  readonly check: ArgumentCheck | null;
  /** The same for people, where its schemas can say it. */
  readonly schema: ArgumentSchema | null;
  readonly onStop: StopFunction | null;
  /** As it goes over the wire: its `onStop` says whether there is one. */
  readonly policy: TaskPolicy;
}

/** Every task that this engine can run, by its name without prefix. No other can ever be run. */
export type Registry = ReadonlyMap<string, RegisteredTask>;
