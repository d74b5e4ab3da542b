/**
 * Why processes that the engine works without do not run: a port that somebody has taken meanwhile,
 * a file that is gone. The log says each reason once, however often they are tried again, and
 * `status` says it as long as it holds.
 */
import { say, warn } from "../process/log.ts";
import type { Trouble } from "../process/messages.ts";
import type { Child, Ending } from "./child.ts";
import type { Children } from "./children.ts";
import { isApart, labelOf, type Role } from "./roles.ts";

export class Troubles {
  readonly #byName = new Map<string, Trouble>();
  /** Names of those whose last end the log has said already. */
  readonly #isTold = new Set<string>();

  constructor(private readonly children: Children) {}

  /**
   * Logs the start of a child; after one that could not start, only once it runs. A router hears
   * what is known.
   */
  follow(child: Child): void {
    const { role, pid } = child;
    void child.ended.then((ending) => this.#note(role, ending));
    const line = `Starting process [${pid}]: ${labelOf(role)}`;
    if (this.#byName.size > 0) this.#tell(child);
    if (!this.#byName.has(role.name)) return say(line);
    void child.online.then(() => {
      this.#byName.delete(role.name);
      this.#tell(this.children.router);
      say(line);
    });
  }

  #note(role: Role, { fatal, words }: Pick<Ending, "fatal" | "words">): void {
    const { name } = role;
    this.#isTold.delete(name);
    if (fatal === null || !isApart(role)) return;
    if (this.#byName.get(name)?.why === words) this.#isTold.add(name);
    else {
      this.#byName.set(name, { process: name, since: Date.now() / 1000, why: words });
      this.#tell(this.children.router);
    }
  }

  /** Logs the end of the last child of the role, unless the log has said it already. */
  warn({ name }: Role, line: string): void {
    if (!this.#isTold.has(name)) warn(line);
  }

  #tell(child: Child | null | undefined): void {
    if (child?.role.kind === "router") child.send({ type: "troubles", troubles: [...this.#byName.values()] });
  }
}
