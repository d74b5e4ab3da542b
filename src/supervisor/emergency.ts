/** The emergency stop: what it does, in which order, and that it holds until it is reset. */

import { latchMs, routerAnswerMs, stopReasonLengthMax } from "../limits.ts";
import { error, say, warn } from "../process/log.ts";
import type { Stopped, StopResult } from "../process/messages.ts";
import type { Child } from "./child.ts";
import type { Children } from "./children.ts";
import { haltAll, killWorker } from "./halting.ts";
import type { Hook } from "./hook.ts";
import type { Latch } from "./latch.ts";
import { late, within } from "./within.ts";

export interface EmergencyParts {
  readonly children: Children;
  readonly latch: Latch;
  readonly hook: Hook;
  /** ms from the abort signal until the worker of a job that has not let go is killed. */
  readonly graceMs: number;
}

export class Emergency {
  readonly #parts: EmergencyParts;
  #stopped: Stopped | null = null;
  /** A newer stop, or a withdrawal, voids all earlier resets: each increments this. */
  #voided = 0;
  /** The stop that is being carried out, up to the end of the hook. */
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

  /** It holds from the start, as the last engine has left it. */
  resume(stopped: Stopped | null): void {
    this.#stopped = stopped;
    if (stopped === null) return;
    this.#failure = null;
    warn(`[ENGINE] ${lineOf(stopped)}, since before this start; \`task-engine reset\` ends it`);
  }

  /** Tells a child that has just been started, before anything else. */
  brief(child: Child): void {
    const { kind } = child.role;
    if (kind !== "router" && kind !== "task worker") return;
    child.send({ type: "stopped", stopped: this.#stopped });
    if (kind === "router" && this.#stopped !== null && this.#failure !== undefined) this.#report(child, this.#failure);
  }

  /** It begins before anything runs. */
  hold(stopped: Stopped): void {
    this.#voided++;
    void this.#latch(this.#note(stopped));
  }

  /**
   * Stops everything. A repeated stop keeps the first reason and does everything once more, but
   * not twice at the same time.
   * @returns null as soon as it is on the disk, or why it is not, after `latchMs` at most
   */
  stop(stopped: Stopped): Promise<string | null> {
    return this.#stop(stopped).latched;
  }

  /**
   * Stops everything without relying on the router, which may be what is wrong. Resolves when
   * nothing runs that is to end, and the state of the disk is known.
   */
  async stopPastRouter(reason: string): Promise<StopResult> {
    const routerSound = this.#endDeafRouter();
    const { first, still, latched } = this.#stop({ reason, since: Date.now() / 1000 }, routerSound);
    const [failure] = await Promise.all([latched, still, routerSound]);
    return failure === null ? { ...first, durable: true } : { ...first, durable: false, why: failure };
  }

  /**
   * Ends the stop, unless a newer stop or a withdrawal comes first.
   * @param router the sender of the request, which gets the answer
   */
  async reset(request: number, router: Child): Promise<void> {
    const voided = this.#voided;
    const isVoid = (): boolean => this.#voided !== voided || router.hasEnded;
    const refuse = (why: string): void => router.send({ type: "resetRefused", request, why });
    const overtaken = "an emergency stop was asked for after this reset";
    while (this.#underway !== null) await this.#underway.done;
    if (this.#stopped === null && !isVoid()) return this.#tellAll();
    const failure = await this.#onDisk((latch) => (isVoid() ? Promise.reject(new Error(overtaken)) : latch.clear()));
    if (failure !== null || isVoid()) {
      // It may have gone from the disk by half, or as a whole.
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

  /**
   * Voids all resets so far, since no requestor waits for them.
   * @param stopped the stop that holds again if one of them has just ended it
   */
  withdrawReset(stopped: Stopped | null): void {
    this.#voided++;
    if (stopped !== null && this.#stopped === null) this.#stop(stopped);
  }

  #stop(stopped: Stopped, alongside = Promise.resolve()) {
    this.#voided++;
    const first = this.#note(stopped);
    this.#underway ??= this.#begin(first, alongside);
    // After all are told, and beside what follows: a slow disk must not delay it.
    const latched = within(this.#latch(first), latchMs).then((failure) =>
      failure === late ? `the disk has not taken it within ${latchMs} ms` : failure,
    );
    return { first, still: this.#underway.still, latched };
  }

  /** What was first stays. */
  #note(stopped: Stopped): Stopped {
    if (this.#stopped !== null) return this.#stopped;
    this.#stopped = { ...stopped, reason: stopped.reason.slice(0, stopReasonLengthMax) };
    this.#failure = undefined;
    warn(`[ENGINE] ${lineOf(this.#stopped)}; \`task-engine reset\` ends it`);
    return this.#stopped;
  }

  #begin(stopped: Stopped, alongside: Promise<void>): { still: Promise<void>; done: Promise<void> } {
    const { children, hook, graceMs } = this.#parts;
    const message = lineOf(stopped);
    this.#tellAll();
    const still = haltAll(children.taskWorkers, { code: "STOPPED", message, spares: true }, graceMs);
    const finish = async (): Promise<void> => {
      await Promise.all([still, alongside]);
      const failure = await hook.run({ code: "STOPPED", message });
      if (failure !== null) error(`[ENGINE] The robot may not be safe: what should have made it so ${failure}`);
      this.#underway = null;
    };
    return { still, done: finish() };
  }

  #latch(stopped: Stopped): Promise<string | null> {
    this.#latching ??= this.#latchAnew(stopped).finally(() => {
      this.#latching = null;
    });
    return this.#latching;
  }

  async #latchAnew(stopped: Stopped): Promise<string | null> {
    const failure = await this.#onDisk((latch) => latch.set(stopped));
    // Said once, however often it is tried.
    if (failure !== null && failure !== this.#failure) {
      error(`[ENGINE] The emergency stop will not outlive this engine, for it cannot be put on the disk: ${failure}`);
    }
    this.#failure = failure;
    const { router } = this.#parts.children;
    if (router !== undefined) this.#report(router, failure);
    return failure;
  }

  /**
   * A router that does not answer can neither end jobs nor run safe stops: it is restarted with all
   * task workers.
   */
  async #endDeafRouter(): Promise<void> {
    const { children } = this.#parts;
    const { router, taskWorkers } = children;
    // A starting router learns of the stop first of all; the death of a router halts its workers.
    if (router?.isOnline !== true || (await within(router.soundness(), routerAnswerMs)) !== late) return;
    const why = `the router has not answered an emergency stop in ${routerAnswerMs} ms`;
    await Promise.all([router, ...taskWorkers].map((child) => killWorker(child, why)));
  }

  #report(router: Child, failure: string | null): void {
    router.send({ type: "latched", request: 0, failure });
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
  #onDisk(work: (latch: Latch) => Promise<void>): Promise<string | null> {
    const turn = this.#disk.then(() => work(this.#parts.latch));
    const said = turn.then(
      () => null,
      (failure: Error) => failure.message,
    );
    this.#disk = said.then(() => undefined);
    return said;
  }
}

const lineOf = ({ reason }: Stopped): string => `Emergency stop${reason === "" ? "" : `: ${reason}`}`;
