/** Why a task must not begin in this worker: the emergency stop, or its quarantine. */
import { type Quarantined, quarantinedMessage, type Stopped, stoppedMessage } from "../protocol/blocked.ts";
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
  /** Called when the tasks in quarantine have changed. */
  onQuarantine: () => void = () => undefined;

  /** Returns why the emergency stop refuses this task, in one line; null if it does not. */
  stopRefusal(task: RegisteredTask): string | null {
    const stopped = this.stoppedBySupervisor ?? this.stoppedByRouter;
    return stopped === null || task.policy.allowedWhenStopped === true ? null : stoppedMessage(stopped);
  }

  /** Returns why a task of this name is in quarantine, in one line; null if it is not. */
  quarantineRefusal(name: string): string | null {
    return this.#quarantined.get(name) ?? null;
  }

  /** These tasks are in quarantine from now on, and no others. */
  quarantine(tasks: readonly Quarantined[]): void {
    this.#quarantined.clear();
    for (const quarantined of tasks) this.#quarantined.set(quarantined.task, quarantinedMessage(quarantined));
    this.onQuarantine();
  }
}
