/** Says what went wrong in tasks, in the engine's log alone, and never so often that the log becomes the robot's main work. */
import { failureLogsPerSecondMax } from "../limits.ts";
import { error } from "../process/log.ts";

export class FailureLog {
  #secondStartMs = Number.NEGATIVE_INFINITY;
  #shown = 0;
  #hidden = 0;

  /** `lines` are made only if they are shown. `nowMs` is a time of performance.now(). */
  add(nowMs: number, lines: () => readonly string[]): void {
    if (nowMs - this.#secondStartMs >= 1000) {
      if (this.#hidden > 0) error(`… and ${this.#hidden} more failures, not shown`);
      this.#secondStartMs = nowMs;
      this.#shown = 0;
      this.#hidden = 0;
    }
    if (this.#shown >= failureLogsPerSecondMax) {
      this.#hidden++;
      return;
    }
    this.#shown++;
    for (const line of lines()) error(line);
  }
}
