/** The task of `on-stop`, which makes the whole robot safe. It runs in a process of its own, made for it: workers may be what is unsafe. */
import { onStopTriesMax, safeMs } from "../limits.ts";
import type { Children } from "./children.ts";
import type { Role } from "./roles.ts";

/** Why it runs, as the task is told. */
export interface Why {
  readonly code: "STOPPED" | "INTERRUPTED" | "SHUTTING_DOWN";
  readonly message: string;
}

export class Hook {
  readonly #role: Role | null;
  readonly #children: Children;
  #last: Promise<string | null> = Promise.resolve(null);

  /** @param role null: there is none, and all is done with that */
  constructor(role: Role | null, children: Children) {
    this.#role = role;
    this.#children = children;
  }

  /** Runs it, one at a time, for `safeMs` at most. Null if it has done its work; else why not, as the words that follow its name. */
  run(why: Why): Promise<string | null> {
    this.#last = this.#last.then(() => this.#run(why));
    return this.#last;
  }

  async #run({ code, message }: Why): Promise<string | null> {
    if (this.#role === null) return null;
    // A stranger's words; there is one character that no program can be given.
    const words = message.replaceAll("\0", " ");
    const role = { ...this.#role, argv: [...this.#role.argv, `--code=${code}`, `--message=${words}`] };
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
