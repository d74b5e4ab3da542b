/** The emergency stop as a task worker knows it: while it holds, few tasks may begin. */
import type { Stopped } from "../protocol/blocked.ts";
import { stoppedMessage } from "../protocol/blocked.ts";
import type { RegisteredTask } from "../tasks/task.ts";

export class EmergencyStop {
  /**
   * The last message of the supervisor and that of the router; null for no stop. Either of them may
   * hang or be gone, and their messages have no common order: so each ends only its own stop.
   */
  bySupervisor: Stopped | null = null;
  byRouter: Stopped | null = null;

  /** The one that holds; null for none. */
  get stopped(): Stopped | null {
    return this.bySupervisor ?? this.byRouter;
  }

  /** Why this task must not begin now, in one line; null where it may. */
  refusal(task: RegisteredTask): string | null {
    const { stopped } = this;
    return stopped === null || task.policy.allowedWhenStopped === true ? null : stoppedMessage(stopped);
  }
}
