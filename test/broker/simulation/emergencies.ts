/**
 * What a robot may come to, simulated: emergency stops by both ways and their ends, a router that dies, requestors that are cut
 * off. It keeps what must hold of them.
 */

import { abortGraceMs, stopAnswerMs } from "../../../src/limits.ts";
import type { Stopped } from "../../../src/protocol/blocked.ts";
import { check, echoMs } from "./ledger.ts";
import { simulatedTasks } from "./tasks.ts";
import type { World } from "./world.ts";

/** ms without power. */
export const offMsMax = 90_000;

export class Emergencies {
  /** Since when the router knows that it is stopped; null where it is not. */
  #stoppedSince: number | null = null;
  /** How often it was stopped: the supervisor calls a reset void that a newer stop has overtaken. */
  #stops = 0;
  /** When it last was, so that STOPPED has a cause. */
  #stoppedLast = Number.NEGATIVE_INFINITY;

  constructor(private readonly world: World) {}

  /** By a requestor's message, or by the supervisor's word. */
  stop(): void {
    const { router, random, agenda } = this.world;
    if (router.isDown) return;
    this.#stops++;
    this.#stoppedSince ??= agenda.now;
    this.#stoppedLast = agenda.now;
    if (random.chance(0.5))
      router.handle({ type: "stopped", stopped: { reason: "a tree", since: this.world.wallMs / 1000 } });
    else router.control({ command: "estop", reason: "a tree" });
    agenda.after(random.between(1, 3000), () => this.reset());
  }

  /** By somebody who has looked, once the engine is up, and has ended what goes on out of reach. */
  reset(): void {
    const { broker } = this.world.router;
    const isUp = this.world.processes.some((process) => process.isSupervised && process.joined === broker);
    if (!isUp && !this.world.isEnding) return this.world.agenda.after(500, () => this.reset());
    for (const process of this.world.processes) if (process.isOutcast) process.die();
    this.world.router.control({ command: "reset" });
  }

  /** The supervisor ends it, when it is asked to. */
  resume(): void {
    const { agenda, random, router } = this.world;
    const stops = this.#stops;
    agenda.after(random.between(0, 30), () => {
      if (this.#stops !== stops) return;
      if (this.#stoppedSince !== null) this.#stoppedLast = agenda.now;
      this.#stoppedSince = null;
      router.handle({ type: "stopped", stopped: null });
    });
  }

  /** The supervisor puts a stop on the disk, which may take longer than the answer waits for it. */
  latch(request: number): void {
    const { agenda, random, router } = this.world;
    const { broker } = router;
    agenda.after(random.between(0, 2 * stopAnswerMs), () => {
      if (router.broker === broker) router.handle({ type: "latched", request, failure: null });
    });
  }

  /** Nobody waits any more for what `resume` is to bring, which may have come at this moment. */
  withdraw(stopped: Stopped | null): void {
    this.#stops++;
    if (stopped === null || this.#stoppedSince !== null) return;
    this.#stoppedSince = this.#stoppedLast = this.world.agenda.now;
    this.world.router.handle({ type: "stopped", stopped });
  }

  /** The router hands a job over. */
  handOver(name: string): void {
    check(this.#stoppedSince === null || isSpared(name), `${name} is handed over in emergency stop`);
  }

  /** A worker begins a job, which it may have been handed before the stop. */
  begin(name: string, isConnected: boolean): void {
    const isKnown = this.#stoppedSince !== null && this.world.agenda.now > this.#stoppedSince + echoMs;
    check(!isKnown || !isConnected || isSpared(name), `${name} begins in emergency stop`);
  }

  /** Whether a job of this task that was accepted then can have been stopped. */
  canStop(name: string, acceptedAt: number): boolean {
    return !isSpared(name) && (this.#stoppedSince !== null || this.#stoppedLast >= acceptedAt);
  }

  /**
   * The router dies, and another is started. Who waits for an answer sees its connection break, and knows all that there is to know.
   * The supervisor lets the next one begin once all workers have let go, or are dead.
   */
  loseRouter(): void {
    const { agenda, random, router, ledger, processes } = this.world;
    if (router.isDown) return;
    router.die();
    ledger.interruptAll();
    for (const process of processes) process.loseConnection();
    this.world.journal.loseConnection();
    agenda.after(random.between(0, abortGraceMs), () => {
      for (const process of processes) process.halt();
      agenda.after(random.between(60, 200), () => {
        const since = this.#stoppedSince;
        router.start(since === null ? null : { reason: "a tree", since: since / 1000 });
      });
    });
  }

  /** The whole machine is off and on again: nothing is left but what the disk has. */
  cutPower(): void {
    const { agenda, random, router, ledger, processes, journal } = this.world;
    if (router.isDown) return;
    router.die();
    ledger.interruptAll();
    for (const process of processes) process.vanish();
    journal.die();
    const since = this.#stoppedSince;
    const offMs = random.between(60, random.chance(0.7) ? 200 : offMsMax);
    agenda.after(offMs, () => {
      router.start(since === null ? null : { reason: "a tree", since: since / 1000 });
    });
  }

  /** A requestor's connection breaks: its guarded jobs end, and those that have not begun. It goes on under the same name, as if by another. */
  loseRequestor(requestor: string): void {
    const { ledger, router, agenda } = this.world;
    if (router.isDown) return;
    for (const ask of ledger.openOf(requestor)) {
      ledger.goQuiet(ask, agenda.now);
      for (const part of ask.parts) part.isCancelled = true;
    }
    router.handle({ type: "requestorGone", peer: requestor, cutReason: null });
  }
}

/** It goes on in an emergency stop. */
export const isSpared = (name: string): boolean => simulatedTasks[name]?.policy.allowedWhenStopped === true;
