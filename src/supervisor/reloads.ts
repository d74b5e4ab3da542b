/** Reloads of the task files, one at a time: those that are wanted meanwhile become one. */
import type { ReloadResult } from "./stop-socket.ts";

interface ReloadsOptions {
  /** Resolves with null if the engine stops meanwhile. */
  readonly reload: () => Promise<ReloadResult | null>;
  readonly onFailure: (failure: Error) => void;
  readonly onState: (state: "reloading" | "ready") => void;
  readonly isStopping: () => boolean;
}

export class Reloads {
  readonly #options: ReloadsOptions;
  #isReady = false;
  #isRunning = false;
  #isWanted = false;
  /** Called with the result of the next reload. */
  readonly #waiters: ((result: ReloadResult) => void)[] = [];

  constructor(options: ReloadsOptions) {
    this.#options = options;
  }

  /** Resolves when the next reload has ended. */
  next(): Promise<ReloadResult> {
    return new Promise((tell) => this.#waiters.push(tell));
  }

  /** Reloads; during a start or another reload, afterwards. */
  want(): void {
    this.#isWanted = true;
    if (this.#isReady && !this.#isRunning) this.#run().catch(this.#options.onFailure);
  }

  /** The engine has started. */
  ready(): void {
    this.#isReady = true;
    if (this.#isWanted) this.want();
  }

  async #run(): Promise<void> {
    const { reload, onState, isStopping } = this.#options;
    this.#isRunning = true;
    onState("reloading");
    while (this.#isWanted && !isStopping()) {
      this.#isWanted = false;
      const waiters = this.#waiters.splice(0);
      const result = await reload();
      if (result !== null) for (const tell of waiters) tell(result);
    }
    this.#isRunning = false;
    if (!isStopping()) onState("ready");
  }
}
