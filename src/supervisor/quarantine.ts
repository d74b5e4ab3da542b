/**
 * Tasks whose jobs kill their workers. A few such deaths close a task until the task files are read anew, so that whoever may send
 * it cannot take the workers from everybody else. Pure: what has happened and the time go in.
 */

import { quarantineDeaths, quarantineWindowMs } from "../limits.ts";
import type { Begun } from "../process/begun.ts";
import type { Quarantined } from "../process/messages.ts";

/** Why a worker has died. */
export interface Cause {
  /** The task whose job has caused it; null where none has, or nobody can tell. */
  readonly task: string | null;
  /** A job may have caused it: it is no sign that the engine itself cannot hold itself up. */
  readonly isJob: boolean;
}

export const noJob: Cause = { task: null, isJob: false };

/**
 * @param begun what the dead worker was at
 * @param signal that has ended it; null for none
 * @param isShort the system was out of memory, and has killed for that
 */
export const causeOf = (begun: Begun, signal: string | number | null, isShort: boolean): Cause => {
  const { task, runs, culprit } = begun;
  if (culprit !== undefined) return { task: culprit, isJob: culprit !== null };
  // Somebody from outside, who could end any process so: that is no job's doing.
  if (signal === "SIGKILL" && !isShort) return { task: null, isJob: runs };
  return { task, isJob: task !== null };
};

export class Quarantine {
  readonly #deaths = new Map<string, number[]>();
  readonly #closed = new Map<string, Quarantined>();

  get tasks(): readonly Quarantined[] {
    return [...this.#closed.values()];
  }

  /**
   * A job of this task has killed its worker. True where that closes the task.
   * @param how the worker has ended, as words that follow its name
   * @param nowMs of a clock that never goes back
   * @param since seconds since 1970
   */
  blame(task: string, how: string, nowMs: number, since: number): boolean {
    if (this.#closed.has(task)) return false;
    const deaths = [...(this.#deaths.get(task) ?? []), nowMs].filter((atMs) => atMs > nowMs - quarantineWindowMs);
    this.#deaths.set(task, deaths);
    if (deaths.length < quarantineDeaths) return false;
    this.#closed.set(task, { task, since, deaths: deaths.length, how });
    return true;
  }

  /** The task files were read anew. */
  reopen(): void {
    this.#deaths.clear();
    this.#closed.clear();
  }
}
