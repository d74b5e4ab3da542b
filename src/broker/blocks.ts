/**
 * Why no job may begin: the end of the engine, an emergency stop, the quarantine or pause of its
 * task.
 */
import {
  type Paused,
  type Quarantined,
  quarantinedMessage,
  type Stopped,
  stoppedMessage,
  type Trouble,
} from "../protocol/blocked.ts";
import { isStoppable } from "./job.ts";
import type { BrokerState, EndReason, Job } from "./state.ts";

export const superseded: EndReason = { code: "SUPERSEDED", message: "a newer job has taken its place" };

export const stopReasonOf = (stopped: Stopped): EndReason => ({ code: "STOPPED", message: stoppedMessage(stopped) });

export class Blocks {
  closed: BrokerState["closed"] = null;
  stopped: BrokerState["stopped"] = null;
  /** They block nothing, and are reported with what does. */
  troubles: readonly Trouble[] = [];
  readonly #quarantined: BrokerState["quarantined"] = new Map();
  readonly #paused: BrokerState["paused"] = new Map();

  get stopReason(): EndReason | null {
    return this.stopped && stopReasonOf(this.stopped);
  }

  get quarantined(): IterableIterator<Quarantined> {
    return this.#quarantined.values();
  }

  /** Why a job must not begin, whatever its turn; null if it may. A safe stop always may. */
  reasonFor(job: Job): EndReason | null {
    if (job.kind === "safe") return null;
    if (job.isReplaced) return superseded;
    return this.closed ?? (isStoppable(job) ? this.stopReason : null) ?? this.quarantineOf(job);
  }

  /** Why a job that no worker has ends. One that moves nothing waits for the end of a stop. */
  endOf(job: Job): EndReason | null {
    const reason = this.reasonFor(job);
    return reason?.code === "STOPPED" && job.policy.moves === false ? null : reason;
  }

  quarantineOf({ kind, name }: Pick<Job, "kind" | "name">): EndReason | null {
    const found = this.#quarantined.size === 0 || kind !== "task" ? undefined : this.#quarantined.get(name);
    return found === undefined ? null : { code: "UNAVAILABLE", message: quarantinedMessage(found) };
  }

  get paused(): IterableIterator<Paused> {
    return this.#paused.values();
  }

  /** The pause of a task, whose waiting jobs stay where they are; undefined for none. */
  pauseOf({ kind, name }: Pick<Job, "kind" | "name">): Paused | undefined {
    return this.#paused.size === 0 || kind !== "task" ? undefined : this.#paused.get(name);
  }

  /** @param since null ends the pause */
  setPaused(name: string, since: number | null): void {
    if (since === null) this.#paused.delete(name);
    else this.#paused.set(name, { name, since });
  }

  /** Blocks these tasks, and no others. */
  setQuarantine(tasks: readonly Quarantined[]): void {
    this.#quarantined.clear();
    for (const it of tasks) this.#quarantined.set(it.task, it);
  }
}
