/**
 * Which tasks are over so quickly, each time, that the answers before them may wait to go out with theirs. Of any other task
 * the next run may block this process for long, or take it along: what is done before must be on its way by then.
 */
import { quickRunMs, quickRunsMin } from "../limits.ts";

export class QuickTasks {
  /** Quick runs in a row, by task: as many as the registry has. */
  readonly #streaks = new Map<string, number>();

  ran(task: string, ms: number): void {
    this.#streaks.set(task, ms < quickRunMs ? (this.#streaks.get(task) ?? 0) + 1 : 0);
  }

  has(task: string): boolean {
    return (this.#streaks.get(task) ?? 0) >= quickRunsMin;
  }
}
