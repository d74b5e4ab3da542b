/** Why a task must not begin in this worker: the emergency stop, its quarantine, or its pause. */
import {
  type Paused,
  pausedMessage,
  type Quarantined,
  quarantinedMessage,
  type Stopped,
  stoppedMessage,
} from "../protocol/blocked.ts";
import type { RegisteredTask } from "../tasks/task.ts";

export class Restrictions {
  /**
   * The emergency stop by the last message of the supervisor, and by that of the router; null for
   * none. Either of them may hang or be gone, and their messages have no common order, so each ends
   * only its own stop.
   */
  stoppedBySupervisor: Stopped | null = null;
  stoppedByRouter: Stopped | null = null;
  /** The refusal of each task in quarantine. */
  readonly #quarantined = new Map<string, string>();
  /** The refusal of each paused task. */
  readonly #paused = new Map<string, string>();
  /** Called when the tasks in quarantine, or those that are paused, have changed. */
  onClosed: () => void = () => undefined;

  /** Returns why the emergency stop refuses this task, in one line; null if it does not. */
  stopRefusal(task: RegisteredTask): string | null {
    const stopped = this.stoppedBySupervisor ?? this.stoppedByRouter;
    return stopped === null || task.policy.allowedWhenStopped === true ? null : stoppedMessage(stopped);
  }

  /**
   * Returns why no job of this task begins at the worker's own port, in one line; null if it may.
   * Jobs of a paused task wait in the router alone.
   */
  closedRefusal(name: string): string | null {
    return this.#quarantined.get(name) ?? this.#paused.get(name) ?? null;
  }

  /** These tasks are in quarantine from now on, and no others. */
  quarantine(tasks: readonly Quarantined[]): void {
    this.#quarantined.clear();
    for (const quarantined of tasks) this.#quarantined.set(quarantined.task, quarantinedMessage(quarantined));
    this.onClosed();
  }

  /** These tasks are paused from now on, and no others. */
  pause(tasks: readonly Paused[]): void {
    this.#paused.clear();
    for (const paused of tasks) this.#paused.set(paused.name, pausedMessage(paused));
    this.onClosed();
  }
}
