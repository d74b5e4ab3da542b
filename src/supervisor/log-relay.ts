/** The lines of the logs of all processes, on their way to the router while it wants them. */
import { LogFeed } from "../process/log-feed.ts";
import type { ChildMessage, SupervisorMessage } from "../process/messages.ts";

type Lines = Pick<Extract<ChildMessage, { readonly type: "log" }>, "lines" | "lost">;

/** The part of a child that this needs. */
interface LogChild {
  readonly role: { readonly kind: string };
  /** It has not read an earlier message. */
  readonly isBusy: boolean;
  send(message: SupervisorMessage): void;
}

export class LogRelay {
  #isWatched = false;
  /** Lines that the router did not read, since the last that it was sent. */
  #lost = 0;
  readonly #own = new LogFeed((lines, lost) => this.pass(`supervisor ${process.pid}`, { lines, lost }));

  /** @param router returns the present router */
  constructor(
    private readonly children: Iterable<LogChild>,
    private readonly router: () => LogChild | undefined,
  ) {}

  /** The router wants the lines, or does not any more. */
  watch(isWatched: boolean): void {
    if (isWatched === this.#isWatched) return;
    this.#isWatched = isWatched;
    this.#lost = 0;
    this.#own.watch(isWatched);
    for (const child of this.children) if (child.role.kind !== "router") child.send({ type: "watchLog", isWatched });
  }

  /** To be told of each new child. A new router has not said what it wants. */
  brief(child: LogChild): void {
    if (child.role.kind === "router") this.watch(false);
    else if (this.#isWatched) child.send({ type: "watchLog", isWatched: true });
  }

  /**
   * Passes lines on, or counts them where the router does not read.
   * @param from kind and number of the process
   */
  pass(from: string, { lines, lost }: Lines): true {
    const router = this.router();
    this.#lost += lost;
    if (!this.#isWatched || router === undefined || router.isBusy) this.#lost += lines.length;
    else {
      router.send({ type: "log", process: from, lines, lost: this.#lost });
      this.#lost = 0;
    }
    return true;
  }
}
