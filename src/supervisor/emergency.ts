/** The emergency stop: what it does, in which order, and that it holds until it is reset. */
import type { Stopped } from "../lifecycle.ts";
import { routerAnswerMs, stopReasonLengthMax } from "../limits.ts";
import { error, say, warn } from "../log.ts";
import type { Child } from "./child.ts";
import type { Children } from "./children.ts";
import { haltAll, killWorker } from "./halting.ts";
import type { Hook } from "./hook.ts";
import type { StateFolder } from "./state-folder.ts";
import { late, within } from "./within.ts";

export interface EmergencyParts {
  readonly children: Children;
  readonly state: StateFolder;
  readonly hook: Hook;
  /** ms from the abort signal until the worker of a job that has not let go is killed. */
  readonly graceMs: number;
}

export class Emergency {
  readonly #parts: EmergencyParts;
  #stopped: Stopped | null = null;
  /** How often it was asked for: a reset that is overtaken by that is void. */
  #stops = 0;
  /** What a stop brings with it, up to the end of the hook. */
  #underway: { readonly still: Promise<void>; readonly done: Promise<void> } | null = null;
  /** The disk's turn: one thing after the other. */
  #disk = Promise.resolve();

  constructor(parts: EmergencyParts) {
    this.#parts = parts;
  }

  get stopped(): Stopped | null {
    return this.#stopped;
  }

  /** It holds from the start, as the last engine has left it. */
  resume(stopped: Stopped | null): void {
    this.#stopped = stopped;
    if (stopped !== null) warn(`[ENGINE] ${lineOf(stopped)}, since before this start; \`task-engine reset\` ends it`);
  }

  /** It begins before anything runs. */
  hold(stopped: Stopped): void {
    this.#stops++;
    const first = this.#note(stopped);
    void this.#latch(first);
  }

  /**
   * Stops everything. Resolves when nothing runs any more that is to end; the rest goes on. While it holds it can be asked for
   * again: what was asked for first is its reason, and everything is done once more, but not twice at the same time.
   * @param alongside what else has to be over before the task of `on-stop` runs
   */
  async stop(stopped: Stopped, alongside = Promise.resolve()): Promise<Stopped> {
    this.#stops++;
    const first = this.#note(stopped);
    this.#underway ??= this.#begin(first, alongside);
    await this.#underway.still;
    return first;
  }

  /** The same for who asks the supervisor: then the router may be what is wrong, and is not relied on. */
  async stopPastRouter(reason: string): Promise<Stopped> {
    const routerSound = this.#endDeafRouter();
    const stopped = await this.stop({ reason, since: Date.now() / 1000 }, routerSound);
    await routerSound;
    return stopped;
  }

  /** Ends it, unless it is asked for again meanwhile. */
  async reset(): Promise<void> {
    const stops = this.#stops;
    while (this.#underway !== null) await this.#underway.done;
    if (this.#stops !== stops) return this.#refuseReset("an emergency stop was asked for after this reset");
    const failure = await this.#onDisk((state) => state.unlatch());
    if (this.#stops !== stops) return this.#refuseReset("an emergency stop was asked for after this reset");
    if (failure !== null) {
      const why = `the emergency stop stays, for its file cannot be removed: ${failure}`;
      error(`[ENGINE] ${why}`);
      return this.#refuseReset(why);
    }
    if (this.#stopped !== null) say("[ENGINE] The emergency stop is ended");
    this.#stopped = null;
    this.#tellAll();
  }

  #refuseReset(why: string): void {
    this.#parts.children.router?.send({ type: "resetRefused", why });
  }

  /** What was first stays. */
  #note(stopped: Stopped): Stopped {
    if (this.#stopped !== null) return this.#stopped;
    this.#stopped = { ...stopped, reason: stopped.reason.slice(0, stopReasonLengthMax) };
    warn(`[ENGINE] ${lineOf(this.#stopped)}; \`task-engine reset\` ends it`);
    return this.#stopped;
  }

  #begin(stopped: Stopped, alongside: Promise<void>): { still: Promise<void>; done: Promise<void> } {
    const { children, hook, graceMs } = this.#parts;
    const message = lineOf(stopped);
    this.#tellAll();
    const still = haltAll(children.taskWorkers, { code: "STOPPED", message, spares: true }, graceMs);
    // Beside all that: a slow disk must not delay it.
    const latched = this.#latch(stopped);
    const finish = async (): Promise<void> => {
      await Promise.all([still, alongside]);
      const failure = await hook.run({ code: "STOPPED", message });
      if (failure !== null) error(`[ENGINE] The robot may not be safe: what should have made it so ${failure}`);
      await latched;
      this.#underway = null;
    };
    return { still, done: finish() };
  }

  async #latch(stopped: Stopped): Promise<void> {
    const failure = await this.#onDisk((state) => state.latch(stopped));
    if (failure === null) return;
    error(`[ENGINE] The emergency stop will not outlive this engine, for it cannot be written down: ${failure}`);
  }

  /** A router that does not answer can neither end jobs nor see to what they leave: with all task workers it is begun anew. */
  async #endDeafRouter(): Promise<void> {
    const { children } = this.#parts;
    const { router, taskWorkers } = children;
    // One that is still starting is told of the stop before anything else; and a dead one brings its workers to rest anyway.
    if (router?.isOnline !== true || (await within(router.soundness(), routerAnswerMs)) !== late) return;
    const why = `the router has not answered an emergency stop in ${routerAnswerMs} ms`;
    await Promise.all([router, ...taskWorkers].map((child) => killWorker(child, why)));
  }

  #tellAll(): void {
    const { router, taskWorkers } = this.#parts.children;
    const all: Child[] = router === undefined ? taskWorkers : [router, ...taskWorkers];
    for (const child of all) child.send({ type: "stopped", stopped: this.#stopped });
  }

  /** Resolves when what was to be written down is, or has failed. */
  get written(): Promise<void> {
    return this.#disk;
  }

  /** Null, or what the file system says. */
  #onDisk(work: (state: StateFolder) => Promise<void>): Promise<string | null> {
    const turn = this.#disk.then(() => work(this.#parts.state));
    const said = turn.then(
      () => null,
      (failure: Error) => failure.message,
    );
    this.#disk = said.then(() => undefined);
    return said;
  }
}

const lineOf = ({ reason }: Stopped): string => `Emergency stop${reason === "" ? "" : `: ${reason}`}`;
