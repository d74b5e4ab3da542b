/** The emergency stop as a task worker knows it, by its supervisor's word: while it holds, few tasks may begin. */
import type { Stopped } from "../lifecycle.ts";
import type { RegisteredTask } from "./task.ts";

export class EmergencyStop {
  /** The one that holds; null for none. */
  stopped: Stopped | null = null;

  /** Why this task must not begin now, in one line; null where it may. */
  refusal(task: RegisteredTask): string | null {
    if (this.stopped === null || task.policy.allowedWhenStopped === true) return null;
    const { reason, since } = this.stopped;
    const at = new Date(since * 1000).toISOString();
    return `in emergency stop since ${at}${reason === "" ? "" : ` (${reason})`}; task-engine reset ends it`;
  }
}
