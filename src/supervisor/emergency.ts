/**
 * The emergency stop, and its reset. A stop does, in this order: tell router and task workers, so
 * that nothing new begins; end the running jobs, and kill the workers that do not let go; beside
 * that, put the stop on the disk; last, run the safe process. It holds until a reset, whatever ends
 * in between.
 */

import { latchMs, routerAnswerMs, stopReasonLengthMax } from "../limits.ts";
import { error, say, warn } from "../process/log.ts";
import type { Stopped, StopResult } from "../process/messages.ts";
import type { Child, RouterRequest } from "./child.ts";
import type { Children } from "./children.ts";
import type { Latch } from "./latch.ts";
import type { SafeProcess } from "./safe-process.ts";
import { late, within } from "./within.ts";

interface EmergencyParts {
  readonly children: Children;
  readonly latch: Latch;
  readonly safeProcess: SafeProcess;
  /** ms from the abort signal of a job until its worker is killed. */
  readonly graceMs: number;
}

export class EmergencyControl {
  readonly #parts: EmergencyParts;
  #stopped: Stopped | null = null;
  /** A newer stop, or a withdrawal, voids all earlier resets: each increments this. */
  #voided = 0;
  /** The stop that is being carried out, up to the end of the safe process. */
  #underway: { readonly still: Promise<void>; readonly done: Promise<void> } | null = null;
  /** Serializes the work on the disk. */
  #disk = Promise.resolve();
  /** The pending attempt to put the stop on the disk, which concurrent stops share. */
  #latching: Promise<string | null> | null = null;
  /** Why the stop is not on the disk; null if it is, undefined while that is not known. */
  #failure: string | null | undefined;

  constructor(parts: EmergencyParts) {
    this.#parts = parts;
  }

  /** Takes over the stop of the last engine, which holds from the start. */
  resume(stopped: Stopped | null): void {
    this.#stopped = stopped;
    if (stopped === null) return;
    this.#failure = null;
    warn(`[ENGINE] ${lineOf(stopped)}, since before this start; \`task-engine reset\` ends it`);
  }

  /** Stops the engine before its first process runs. */
  hold(stopped: Stopped): void {
    this.#voided++;
    void this.#latch(this.#note(stopped));
  }

  /** Stops the engine for a reason of its own, whatever runs. */
  halt(reason: string): void {
    this.#stop({ reason, since: Date.now() / 1000 });
  }

  /** Tells a new child, before anything else. */
  brief(child: Child): void {
    const { kind } = child.role;
    if (kind !== "router" && kind !== "task worker") return;
    child.send({ type: "stopped", stopped: this.#stopped });
    if (kind === "router" && this.#stopped !== null && this.#failure !== undefined) this.#report(child, this.#failure);
  }

  /** Resolves when all work on the disk so far is done or has failed. */
  get written(): Promise<void> {
    return this.#disk;
  }

  /** The first way to a stop or reset: the router asks. */
  handle(
    request: Exclude<RouterRequest, { readonly type: "kill" | "watchLog" | "pause" | "reload" }>,
    router: Child,
  ): void {
    if (request.type === "estop") {
      const { latched } = this.#stop(request.stopped);
      void latched.then((failure) => router.send({ type: "latched", request: request.request, failure }));
    } else if (request.type === "reset") void this.#reset(request.request, router);
    else {
      // Nobody waits for the resets so far. If one of them has just ended the stop, that holds
      // again.
      this.#voided++;
      if (request.stopped !== null && this.#stopped === null) this.#stop(request.stopped);
    }
  }

  /**
   * The second way to a stop, which does not rely on the router: it may be what is wrong. Resolves
   * when all jobs have ended and the state of the disk is known.
   */
  async stopPastRouter(reason: string): Promise<StopResult> {
    const routerSound = this.#endDeafRouter();
    const { first, still, latched } = this.#stop({ reason, since: Date.now() / 1000 }, routerSound);
    const [failure] = await Promise.all([latched, still, routerSound]);
    return failure === null ? { ...first, durable: true } : { ...first, durable: false, why: failure };
  }

  /**
   * Stops everything. A repeated stop keeps the first reason and does everything once more, but not
   * twice at the same time. `latched` resolves with null as soon as the stop is on the disk, or
   * with why it is not, after `latchMs` at most.
   */
  #stop(stopped: Stopped, alongside = Promise.resolve()) {
    this.#voided++;
    const first = this.#note(stopped);
    this.#underway ??= this.#carryOut(first, alongside);
    // After the messages: a slow disk must not delay them.
    const latched = within(this.#latch(first), latchMs).then((failure) =>
      failure === late ? `the disk has not taken it within ${latchMs} ms` : failure,
    );
    return { first, still: this.#underway.still, latched };
  }

  /** The stop that holds from now on: a first one stays. */
  #note(stopped: Stopped): Stopped {
    if (this.#stopped !== null) return this.#stopped;
    this.#stopped = { ...stopped, reason: stopped.reason.slice(0, stopReasonLengthMax) };
    this.#failure = undefined;
    warn(`[ENGINE] ${lineOf(this.#stopped)}; \`task-engine reset\` ends it`);
    return this.#stopped;
  }

  #carryOut(stopped: Stopped, alongside: Promise<void>): { still: Promise<void>; done: Promise<void> } {
    const { children, safeProcess, graceMs } = this.#parts;
    const message = lineOf(stopped);
    this.#tellAll();
    const order = { code: "STOPPED", message, spares: true } as const;
    const halted = Promise.all(children.taskWorkers.map((worker) => worker.halt(order, graceMs)));
    const still = halted.then(() => undefined);
    const finish = async (): Promise<void> => {
      await Promise.all([still, alongside]);
      const failure = await safeProcess.run({ code: "STOPPED", message });
      if (failure !== null) error(`[ENGINE] The robot may not be safe: its safe stop ${failure}`);
      this.#underway = null;
    };
    return { still, done: finish() };
  }

  /** Restarts a router that hangs, with all task workers: it can run no safe stop. */
  async #endDeafRouter(): Promise<void> {
    const { router, taskWorkers } = this.#parts.children;
    // A starting router learns of the stop first of all; the death of a router halts its workers.
    if (router?.isOnline !== true || (await within(router.soundness(), routerAnswerMs)) !== late) return;
    const why = `the router has not answered an emergency stop in ${routerAnswerMs} ms`;
    await Promise.all([router, ...taskWorkers].map((child) => child.killFor(why)));
  }

  /** Puts the stop on the disk. Resolves with null, or with why that failed. */
  #latch(stopped: Stopped): Promise<string | null> {
    this.#latching ??= this.#latchAnew(stopped).finally(() => {
      this.#latching = null;
    });
    return this.#latching;
  }

  async #latchAnew(stopped: Stopped): Promise<string | null> {
    const failure = await this.#onDisk((latch) => latch.set(stopped));
    // One line, however often it fails.
    if (failure !== null && failure !== this.#failure) {
      error(`[ENGINE] The emergency stop will not outlive this engine, for it cannot be put on the disk: ${failure}`);
    }
    this.#failure = failure;
    const { router } = this.#parts.children;
    if (router !== undefined) this.#report(router, failure);
    return failure;
  }

  /**
   * Ends the stop, unless a newer stop or a withdrawal comes first.
   * @param router gets the answer
   */
  async #reset(request: number, router: Child): Promise<void> {
    const voided = this.#voided;
    const isVoid = (): boolean => this.#voided !== voided || router.hasEnded;
    const refuse = (why: string): void => router.send({ type: "resetRefused", request, why });
    const overtaken = "an emergency stop was asked for after this reset";
    while (this.#underway !== null) await this.#underway.done;
    if (this.#stopped === null && !isVoid()) return this.#tellAll();
    const failure = await this.#onDisk((latch) => (isVoid() ? Promise.reject(new Error(overtaken)) : latch.clear()));
    if (failure !== null || isVoid()) {
      // The stop may have gone from the disk, in part or as a whole.
      if (this.#stopped !== null) void this.#latch(this.#stopped);
      if (isVoid()) return refuse(overtaken);
      const why = `the emergency stop stays, for it cannot be taken from the disk: ${failure}`;
      error(`[ENGINE] ${why}`);
      return refuse(why);
    }
    say("[ENGINE] The emergency stop is ended");
    this.#stopped = null;
    this.#tellAll();
  }

  /** Resolves with null, or with the error of the file system. */
  #onDisk(work: (latch: Latch) => Promise<void>): Promise<string | null> {
    const result = this.#disk
      .then(() => work(this.#parts.latch))
      .then(
        () => null,
        (failure: Error) => failure.message,
      );
    this.#disk = result.then(() => undefined);
    return result;
  }

  #report(router: Child, failure: string | null): void {
    router.send({ type: "latched", request: 0, failure });
  }

  #tellAll(): void {
    const { router, taskWorkers } = this.#parts.children;
    const all: Child[] = router === undefined ? taskWorkers : [router, ...taskWorkers];
    for (const child of all) child.send({ type: "stopped", stopped: this.#stopped });
  }
}

const lineOf = ({ reason }: Stopped): string => `Emergency stop${reason === "" ? "" : `: ${reason}`}`;
