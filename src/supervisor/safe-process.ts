/**
 * Runs what makes the robot safe, in a process of its own: the workers may be what is unsafe. There
 * is one for each language that has something to run, at the same time.
 */

import { onStopTriesMax, safeMs } from "../limits.ts";
import { type SafeReason, safeFlags } from "../process/program.ts";
import type { Children } from "./children.ts";
import type { Role, Roles } from "./roles.ts";

export class SafeProcess {
  readonly #roles: Roles;
  /** The task of the setting `on-stop`. */
  readonly #hook: string | null;
  readonly #children: Children;
  #last: Promise<string | null> = Promise.resolve(null);

  constructor(roles: Roles, children: Children) {
    this.#roles = roles;
    this.#hook = roles.hook;
    this.#children = children;
  }

  /**
   * Runs the task of `on-stop`, and the `onStop` of these tasks; calls take turns, each for
   * `safeMs` at most. Resolves with null if all succeeded or there is nothing to run; else with why
   * not, as words that follow its name.
   */
  run(why: SafeReason, tasks: readonly string[] = []): Promise<string | null> {
    this.#last = this.#last.then(() => this.#run(why, tasks));
    return this.#last;
  }

  async #run(why: SafeReason, tasks: readonly string[]): Promise<string | null> {
    const isPython = (task: string): boolean => this.#children.python?.tasks.has(task) === true;
    const parts = [
      { role: this.#roles.safe, isMeant: (task: string) => !isPython(task) },
      { role: this.#roles.python.safe, isMeant: isPython },
    ].map(({ role, isMeant }) => {
      const hook = this.#hook !== null && isMeant(this.#hook) ? this.#hook : null;
      return { role, hook, tasks: tasks.filter(isMeant) };
    });
    const failures = await Promise.all(
      parts
        .filter(({ hook, tasks }) => hook !== null || tasks.length > 0)
        .map(({ role, hook, tasks }) => this.#try({ ...role, argv: [...role.argv, ...safeFlags(hook, tasks, why)] })),
    );
    return failures.find((failure) => failure !== null) ?? null;
  }

  async #try(role: Role): Promise<string | null> {
    const endMs = performance.now() + safeMs;
    let failure = "was not done in time";
    for (let tries = 0; tries < onStopTriesMax; tries++) {
      const leftMs = Math.ceil(endMs - performance.now());
      if (leftMs <= 0) break;
      const child = this.#children.spawn(role, null, leftMs);
      if (typeof child === "string") return child;
      const { exitCode, words } = await this.#children.endOf(child);
      if (exitCode === 0) return null;
      failure = words;
      // A process that exits has retried by itself; one that was killed may have had an accident.
      if (exitCode !== null) break;
    }
    return failure;
  }
}
