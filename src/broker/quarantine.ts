/** Tasks that the supervisor has closed, since their jobs kill their workers. What makes hardware safe goes on. */
import type { Quarantined } from "../protocol/blocked.ts";
import { quarantinedMessage } from "../protocol/blocked.ts";
import type { Job, Stop } from "./job.ts";

export class Quarantine {
  readonly #stops = new Map<string, Stop>();
  /** Those that there are. */
  tasks: readonly Quarantined[] = [];

  /** From now on these are closed, and no others. */
  close(tasks: readonly Quarantined[]): void {
    this.tasks = tasks;
    this.#stops.clear();
    for (const it of tasks) this.#stops.set(it.task, { code: "UNAVAILABLE", message: quarantinedMessage(it) });
  }

  /** Why such a job must not begin; null where it may. */
  stopOf({ kind, name }: Pick<Job, "kind" | "name">): Stop | null {
    return this.#stops.size === 0 || kind !== "task" ? null : (this.#stops.get(name) ?? null);
  }
}
