/**
 * What keeps the robot safe whatever happens to the engine: the emergency stop and what it leaves on the disk, the second way to
 * it, the task of `on-stop`, and that nothing runs on which nobody has an eye any more.
 */

import { abortGraceMs, killMs } from "../limits.ts";
import { error, warn } from "../process/log.ts";
import type { KnownTask, SupervisorMessage } from "../process/messages.ts";
import type { Child } from "./child.ts";
import type { Children } from "./children.ts";
import { Emergency } from "./emergency.ts";
import { haltAll } from "./halting.ts";
import { Hook } from "./hook.ts";
import type { SafetyOptions } from "./options.ts";
import type { Roles } from "./roles.ts";
import { type Found, StateFolder } from "./state-folder.ts";
import { type ReloadResult, StopSocket } from "./stop-socket.ts";
import { within } from "./within.ts";

export class Safety {
  readonly emergency: Emergency;
  readonly #children: Children;
  readonly #hook: Hook;
  readonly #state: StateFolder;
  readonly #socket: StopSocket;
  readonly #hasCrashed: boolean;
  /** Jobs of before may have been cut off, and nobody knows which. */
  #isUnsafe: boolean;
  /** The workers' rest after their router's death. */
  #halted = Promise.resolve();
  /** There was a router that could have handed out jobs. */
  #hasServed = false;

  /**
   * Rejects with StateFolderError or StopSocketError. From then on the engine can be stopped past its router.
   * @param gaveUp resolves when the engine is told to stop, while what a dead engine has left is waited for
   * @param reloaded resolves when the next reload has ended
   */
  static async open(
    options: SafetyOptions,
    children: Children,
    roles: Roles,
    gaveUp: Promise<unknown>,
    reloaded: () => Promise<ReloadResult>,
  ): Promise<Safety> {
    const { folder, isPrivate } = options;
    const state = await StateFolder.open(folder, isPrivate, gaveUp);
    const { promise: ready, resolve } = Promise.withResolvers<Safety>();
    const stop = async (reason: string) => (await ready).emergency.stopPastRouter(reason);
    let socket: StopSocket | null = null;
    try {
      socket = StopSocket.open(state.socketPath, isPrivate, stop, reloaded);
      const safety = new Safety(options, children, new Hook(roles, children), state, socket, await state.enter());
      resolve(safety);
      return safety;
    } catch (failure) {
      socket?.close();
      state.close();
      throw failure;
    }
  }

  private constructor(
    { stopGraceMs: graceMs }: SafetyOptions,
    children: Children,
    hook: Hook,
    state: StateFolder,
    socket: StopSocket,
    { stopped, hasCrashed }: Found,
  ) {
    this.#children = children;
    this.#hook = hook;
    this.#state = state;
    this.#socket = socket;
    this.#hasCrashed = hasCrashed;
    this.#isUnsafe = hasCrashed;
    this.emergency = new Emergency({ children, latch: state.latch, hook, graceMs });
    this.emergency.resume(stopped);
  }

  /** The descriptor that the router gets, so that no other engine has the folder before the router has ended. */
  get lock(): number {
    return this.#state.lock;
  }

  /** Before the first process of the engine: makes safe what a crash may have left. */
  async recover(): Promise<void> {
    if (!this.#hasCrashed) return;
    warn("[ENGINE] The last engine has ended without notice: what it did is made safe first");
    const failure = await this.#hook.run({ code: "INTERRUPTED", message: "the last engine ended without notice" });
    if (failure === null) return;
    const reason = `what should have made the robot safe ${failure}, after a crash of the engine`;
    this.emergency.hold({ reason, since: Date.now() / 1000 });
  }

  /**
   * Lets a router begin, once the workers that another one has left are at rest.
   * @param tasks those that are known by then
   */
  async release(router: Child, tasks: () => readonly KnownTask[]): Promise<void> {
    void router.online.then(() => {
      this.#hasServed = true;
    });
    await this.#halted;
    const message: SupervisorMessage = { type: "tasks", tasks: tasks() };
    router.send(this.#isUnsafe ? { ...message, isUnsafe: true } : message);
  }

  /** The router is dead, and with it all knowledge of what runs. */
  routerDied(): void {
    this.#isUnsafe = true;
    const order = { code: "INTERRUPTED", message: "the router has died", spares: false } as const;
    // Those that no router has welcomed yet have nothing of it.
    const workers = this.#children.taskWorkers.filter(({ isOnline }) => isOnline);
    this.#halted = haltAll(workers, order, abortGraceMs);
  }

  /**
   * All that could run anything is gone.
   * @param unsafe tasks of which jobs were cut off; null if that is not known
   * @param own the engine's own, as opposed to those of workers from elsewhere
   */
  async leave(unsafe: readonly string[] | null, own: readonly KnownTask[]): Promise<void> {
    const names = new Set(own.map(({ name }) => name));
    const others = (unsafe ?? []).filter((task) => !names.has(task));
    // As after a reset: what nobody here can make safe is held no longer, and whoever ends the engine has to look.
    if (others.length > 0) {
      const line = `it cannot be known here whether ${others.join(", ")} is safe, whose onStop only workers from elsewhere can run; look, before anything moves`;
      warn(`[ENGINE] ${line}`);
    }
    const mine = (unsafe ?? []).filter((task) => names.has(task));
    const isSafe = this.#hasServed ? (await this.#makeSafe(mine)) && unsafe !== null : !this.#hasCrashed;
    if (!isSafe) return;
    await this.#state
      .leave()
      .catch((failure: Error) => warn(`[ENGINE] This stop will look like a crash: ${failure.message}`));
  }

  /** What was to be written down has its time for that: a stop that comes right before the engine's own must be there after it. */
  async close(): Promise<void> {
    this.#socket.close();
    await within(this.emergency.written, killMs);
    this.#state.close();
  }

  async #makeSafe(tasks: readonly string[]): Promise<boolean> {
    const failure = await this.#hook.run({ code: "SHUTTING_DOWN", message: "the engine stops" }, tasks);
    if (failure !== null) error(`[ENGINE] The robot may not be safe: what should have made it so ${failure}`);
    return failure === null;
  }
}
