/** What makes the robot safe: the task of `on-stop`, and the `onStop` of tasks. It runs in a process made for it: workers may be what is unsafe. */

import { onStopTriesMax, safeMs } from "../limits.ts";
import { type SafeReason, safeFlags } from "../process/program.ts";
import type { Children } from "./children.ts";
import type { Role, Roles } from "./roles.ts";

export class Hook {
  readonly #role: Role;
  readonly #task: string | null;
  readonly #children: Children;
  #last: Promise<string | null> = Promise.resolve(null);

  constructor({ safe, hook }: Roles, children: Children) {
    this.#role = safe;
    this.#task = hook;
    this.#children = children;
  }

  /**
   * Runs it, one at a time, for `safeMs` at most. Null if it has done its work, or there is none; else why not, as the words that
   * follow its name.
   * @param tasks those whose `onStop` is to be run as well
   */
  run(why: SafeReason, tasks: readonly string[] = []): Promise<string | null> {
    this.#last = this.#last.then(() => this.#run(why, tasks));
    return this.#last;
  }

  async #run(why: SafeReason, tasks: readonly string[]): Promise<string | null> {
    if (this.#task === null && tasks.length === 0) return null;
    const role: Role = { ...this.#role, argv: [...this.#role.argv, ...safeFlags(this.#task, tasks, why)] };
    const overAtMs = performance.now() + safeMs;
    let failure = "was not done in time";
    for (let tries = 0; tries < onStopTriesMax; tries++) {
      const leftMs = Math.ceil(overAtMs - performance.now());
      if (leftMs <= 0) break;
      const child = this.#children.spawn(role, null, leftMs);
      if (typeof child === "string") return child;
      const { exitCode, words: how } = await this.#children.endOf(child);
      if (exitCode === 0) return null;
      failure = how;
      // It has tried as often as is worth it, and said so; but one that was killed may have had an accident.
      if (exitCode !== null) break;
    }
    return failure;
  }
}
