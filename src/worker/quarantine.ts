/** Tasks that are closed, by the supervisor's word: at a worker's own port, too, none of their jobs begins. */
import type { Quarantined } from "../protocol/blocked.ts";
import { quarantinedMessage } from "../protocol/blocked.ts";

export class Quarantine {
  readonly #messages = new Map<string, string>();
  /** Called when tasks were closed. */
  onClosed: () => void = () => undefined;

  /** From now on these are closed, and no others. */
  close(tasks: readonly Quarantined[]): void {
    this.#messages.clear();
    for (const it of tasks) this.#messages.set(it.task, quarantinedMessage(it));
    this.onClosed();
  }

  /** Why a job of this task must not begin, in one line; null where it may. */
  refusal(task: string): string | null {
    return this.#messages.get(task) ?? null;
  }
}
