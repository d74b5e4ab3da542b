/**
 * Keeps the robot safe around the engine's life: a start after a crash, the death of the router,
 * the stop of the engine. It owns the state folder, the emergency stop and its socket.
 */

import { abortGraceMs, killMs } from "../limits.ts";
import { error, warn } from "../process/log.ts";
import type { EngineTasks, KnownTask, SupervisorMessage } from "../process/messages.ts";
import type { Child, RouterRequest } from "./child.ts";
import type { Children } from "./children.ts";
import { EmergencyControl } from "./emergency.ts";
import type { PauseControl } from "./pauses.ts";
import type { Roles } from "./roles.ts";
import { SafeProcess } from "./safe-process.ts";
import { type LeftState, StateFolder } from "./state-folder.ts";
import { type ReloadResult, StopSocket } from "./stop-socket.ts";
import { within } from "./within.ts";

export interface SafetyOptions {
  /** Absolute path of the engine's own state folder. */
  readonly folder: string;
  /** No other user of the machine may stop the robot. */
  readonly isPrivate: boolean;
  /** ms from the abort signal of an emergency stop until the worker of a running job is killed. */
  readonly stopGraceMs: number;
}

export class Safety {
  readonly emergency: EmergencyControl;
  readonly #pauses: PauseControl;
  readonly #children: Children;
  readonly #safeProcess: SafeProcess;
  readonly #state: StateFolder;
  readonly #socket: StopSocket;
  readonly #hasCrashed: boolean;
  /** Earlier jobs may have been cut off, and nobody knows which. */
  #isUnsafe: boolean;
  /** Resolves when the workers of a dead router have halted. */
  #halted = Promise.resolve();
  /** A router has been online, and could have dispatched jobs. */
  #hasServed = false;

  /**
   * From its end on, the engine can be stopped past its router. Rejects with StateFolderError or
   * StopSocketError.
   * @param gaveUp resolves when the engine is told to stop while it waits for the rest of a dead
   * engine
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
      socket = new StopSocket(state.socketPath, isPrivate, stop, reloaded);
      const left = await state.enter();
      const { pauses, damage } = await state.pauses(children);
      const safety = new Safety(options, children, new SafeProcess(roles, children), state, socket, left, pauses);
      // Nobody knows any more what a person did not want to run.
      if (damage !== null) safety.emergency.hold({ reason: damage, since: Date.now() / 1000 });
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
    safeProcess: SafeProcess,
    state: StateFolder,
    socket: StopSocket,
    { stopped, hasCrashed }: LeftState,
    pauses: PauseControl,
  ) {
    this.#children = children;
    this.#safeProcess = safeProcess;
    this.#state = state;
    this.#socket = socket;
    this.#pauses = pauses;
    this.#hasCrashed = hasCrashed;
    this.#isUnsafe = hasCrashed;
    this.emergency = new EmergencyControl({ children, latch: state.latch, safeProcess, graceMs });
    this.emergency.resume(stopped);
  }

  /** For the router: no other engine has the folder before it has ended. */
  get lock(): number {
    return this.#state.lock;
  }

  /** Tells a new child what must not begin, before anything else. */
  brief(child: Child): void {
    this.emergency.brief(child);
    this.#pauses.brief(child);
  }

  /** The router asks for a stop or a pause, or their ends. */
  handle(request: Exclude<RouterRequest, { readonly type: "kill" | "watchLog" | "reload" }>, router: Child): void {
    if (request.type !== "pause") return this.emergency.handle(request, router);
    void this.#pauses
      .keep(request)
      .then((failure) => router.send({ type: "pauseKept", request: request.request, failure }));
  }

  /** Runs the safe process after a crash, before the first process of the engine. */
  async recover(): Promise<void> {
    if (!this.#hasCrashed) return;
    warn("[ENGINE] The last engine ended without notice: its tasks are made safe first");
    const message = "the last engine ended without notice";
    const failure = await this.#safeProcess.run({ code: "INTERRUPTED", message });
    if (failure === null) return;
    const reason = `the safe stop ${failure}, after a crash of the engine`;
    this.emergency.hold({ reason, since: Date.now() / 1000 });
  }

  /** Gives a router its tasks, when the workers of the one before have halted. */
  async release(router: Child, tasks: () => EngineTasks): Promise<void> {
    void router.online.then(() => {
      this.#hasServed = true;
    });
    await this.#halted;
    const message: SupervisorMessage = { type: "tasks", ...tasks() };
    router.send(this.#isUnsafe ? { ...message, isUnsafe: true } : message);
  }

  /** Halts the workers of a dead router, since nobody knows any more what they run. */
  routerDied(): void {
    this.#isUnsafe = true;
    const order = { code: "INTERRUPTED", message: "the router has died", spares: false } as const;
    // A worker that is not online yet has no job from any router.
    const workers = this.#children.taskWorkers.filter(({ isOnline }) => isOnline);
    this.#halted = Promise.all(workers.map((worker) => worker.halt(order, abortGraceMs))).then(() => undefined);
  }

  /**
   * Runs the safe process at a stop of the engine, when no worker is left, and marks the stop as
   * clean if the robot is safe.
   * @param unsafe tasks of which jobs were cut off; null if that is not known
   * @param own the engine's own tasks, as opposed to those of workers from elsewhere
   */
  async leave(unsafe: readonly string[] | null, own: readonly KnownTask[]): Promise<void> {
    const names = new Set(own.map(({ name }) => name));
    const others = (unsafe ?? []).filter((task) => !names.has(task));
    // As after a reset, this does not keep the engine unsafe: nothing here could make it safe.
    if (others.length > 0) {
      warn(
        `[ENGINE] it is unknown whether ${others.join(", ")} is safe: ` +
          "only workers on other machines can run its onStop; check before anything moves",
      );
    }
    const mine = (unsafe ?? []).filter((task) => names.has(task));
    const isSafe = this.#hasServed ? (await this.#makeSafe(mine)) && unsafe !== null : !this.#hasCrashed;
    if (!isSafe) return;
    await this.#state
      .leave()
      .catch((failure: Error) => warn(`[ENGINE] This stop will look like a crash: ${failure.message}`));
  }

  /** Waits for writes: a stop right before the engine's own must be on the disk. */
  async close(): Promise<void> {
    this.#socket.close();
    await within(Promise.all([this.emergency.written, this.#pauses.written]), killMs);
    this.#state.close();
  }

  async #makeSafe(tasks: readonly string[]): Promise<boolean> {
    const failure = await this.#safeProcess.run({ code: "SHUTTING_DOWN", message: "the engine stops" }, tasks);
    if (failure !== null) error(`[ENGINE] The robot may not be safe: its safe stop ${failure}`);
    return failure === null;
  }
}
