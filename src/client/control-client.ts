/** The methods of a client for operators: the engine's state, its emergency stop, cancellations. */
import type * as v from "valibot";
import { callTimeoutMs, resetTimeoutMs, stopReasonLengthMax } from "../limits.ts";
import type { StopResult } from "../protocol/blocked.ts";
import type { ControlInput } from "../protocol/control.ts";
import { TaskEngineError } from "../protocol/errors.ts";
import type { JsonObject } from "../protocol/json.ts";
import {
  cancelledSchema,
  type EngineStatus,
  estopSchema,
  type PauseResult,
  pauseSchema,
  type ReloadOutcome,
  reloadSchema,
  resetSchema,
  statusSchema,
} from "./control.ts";
import { type ChangedSchedule, changedScheduleSchema, type ScheduleListing, schedulesSchema } from "./control-jobs.ts";
import { DataClient } from "./data-client.ts";
import type { JobOptions, ResetOptions } from "./options.ts";
import type { BinaryReply, TaskReply, WaitOptions } from "./pending.ts";

export abstract class ControlClient extends DataClient {
  /** Sends CONTROL, and checks the answer. */
  protected abstract control<Schema extends v.GenericSchema>(
    control: ControlInput,
    schema: () => Schema,
    waiting?: WaitOptions,
  ): Promise<v.InferOutput<Schema>>;

  /** ms that an answer without work may take. */
  protected abstract readonly waitMs: number;

  /**
   * Cancels the requests of this serial, of any requestor, as an operator. A client cancels its own
   * requests by their signals. Gives the number of requests; rejects with UNKNOWN_SERIAL if there
   * is none.
   */
  async cancel(serial: string): Promise<number> {
    const { cancelled } = await this.control({ command: "cancel", serial }, cancelledSchema);
    if (cancelled > 0) return cancelled;
    throw new TaskEngineError("UNKNOWN_SERIAL", `no request with serial ${JSON.stringify(serial)} waits or runs`);
  }

  /**
   * Emergency stop: running jobs are ended and brought into their safe state, waiting ones are
   * answered STOPPED, and nothing begins until `reset`. Gives the stop in force (the earlier one,
   * if there is one already), and says if it is on the engine's disk, for which the answer waits
   * two seconds at most. A reason that is too long is cut.
   */
  async estop(reason = ""): Promise<StopResult> {
    const cut = reason.slice(0, stopReasonLengthMax).toWellFormed();
    const { stopped, durable, why } = await this.control({ command: "estop", reason: cut }, estopSchema);
    return durable ? { ...stopped, durable } : { ...stopped, durable, why };
  }

  /** Ends the emergency stop, once all that it has begun is over. Does nothing if there is none. */
  async reset({ waitMs = resetTimeoutMs, signal }: ResetOptions = {}): Promise<void> {
    await this.control({ command: "reset" }, resetSchema, { waitMs, signal });
  }

  /** The tasks that run by themselves, with their next and last runs. */
  async schedules(): Promise<ScheduleListing[]> {
    return (await this.control({ command: "schedules" }, schedulesSchema)).schedules;
  }

  /**
   * Pauses a schedule, ends its pause, or runs its task now, beside its times. Says if that is on
   * the engine's disk, for which the answer waits two seconds at most.
   */
  async schedule(name: string, action: "pause" | "resume" | "run"): Promise<ChangedSchedule> {
    return this.control({ command: "schedule", name, action }, changedScheduleSchema);
  }

  /**
   * Keeps the jobs of a task waiting until `resume`, through restarts of the engine, and lets those
   * that run end. Says since when, and if it is on the engine's disk, for which the answer waits
   * two seconds at most.
   */
  async pause(task: string): Promise<PauseResult> {
    return this.control({ command: "pause", task }, pauseSchema);
  }

  /** Ends the pause and the quarantine of a task. Does nothing else if there is none. */
  async resume(task: string): Promise<PauseResult> {
    return this.control({ command: "resume", task }, pauseSchema);
  }

  /**
   * Makes the engine read its task files and authorized keys again, and waits until their workers
   * are replaced. Says how many tasks there are, or why nothing was taken.
   */
  async reload({ waitMs = callTimeoutMs, signal }: ResetOptions = {}): Promise<ReloadOutcome> {
    return this.control({ command: "reload" }, reloadSchema, { waitMs, signal });
  }

  /** The engine's state: counts, queues, tasks, workers, limits. */
  async status(): Promise<EngineStatus> {
    return this.control({ command: "status" }, statusSchema);
  }

  /**
   * Sends a command of CONTROL in version 0.3, as PROTOCOL.md has them, and gives the whole answer
   * as it is. For programs that pass on commands for others.
   */
  abstract command(
    command: JsonObject,
    options?: Pick<JobOptions, "onBehalf" | "waitMs" | "signal">,
  ): Promise<TaskReply | BinaryReply>;
}
