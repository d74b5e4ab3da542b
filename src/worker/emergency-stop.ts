/** The emergency stop as a task worker knows it, by its supervisor's word: while it holds, few tasks may begin. */
import type { Stopped } from "../lifecycle.ts";
import { stoppedMessage } from "../wire/stopped.ts";
import type { RegisteredTask } from "./task.ts";

export class EmergencyStop {
  /** The one that holds; null for none. */
  stopped: Stopped | null = null;

  /** Why this task must not begin now, in one line; null where it may. */
  refusal(task: RegisteredTask): string | null {
    if (this.stopped === null || task.policy.allowedWhenStopped === true) return null;
    return stoppedMessage(this.stopped);
  }
}
