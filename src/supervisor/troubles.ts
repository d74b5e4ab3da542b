/**
 * Why processes that the engine works without do not run: a port that somebody has taken meanwhile,
 * a file that is gone. The log says each reason once, however often they are tried again, and
 * `status` says it as long as it holds.
 */
import { say } from "../process/log.ts";
import type { Trouble } from "../process/messages.ts";
import type { Child, Ending } from "./child.ts";
import type { Children } from "./children.ts";
import { isApart, labelOf, type Role } from "./roles.ts";

export class Troubles {
  readonly #byName = new Map<string, Trouble>();

  constructor(private readonly children: Children) {}

  /** To a router, what is known. */
  brief(child: Child): void {
    if (this.#byName.size > 0) this.#tell(child);
  }

  /** Logs the start of a child; after one that could not start, only once it runs. */
  tellStart(child: Child): void {
    const { role, pid } = child;
    const line = `Starting process [${pid}]: ${labelOf(role)}`;
    if (!this.#byName.has(role.name)) return say(line);
    void child.online.then(() => {
      this.#byName.delete(role.name);
      this.#tell(this.children.router);
      say(line);
    });
  }

  /** Returns false for an end of which the log has said all. */
  isNew(role: Role, { fatal, words }: Pick<Ending, "fatal" | "words">): boolean {
    if (fatal === null || !isApart(role)) return true;
    if (this.#byName.get(role.name)?.why === words) return false;
    this.#byName.set(role.name, { process: role.name, since: Date.now() / 1000, why: words });
    this.#tell(this.children.router);
    return true;
  }

  #tell(child: Child | null | undefined): void {
    if (child?.role.kind === "router") child.send({ type: "troubles", troubles: [...this.#byName.values()] });
  }
}
