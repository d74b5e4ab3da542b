/**
 * The emergency stop in the router: it begins at once, and only the supervisor ends it. The answer
 * to `estop` waits until the supervisor has reported whether the stop is on the disk; the stop
 * itself waits for nothing.
 */
import { clearingJobsMax, resetsMax, stopAnswerMs, stopAnswersMax } from "../limits.ts";
import type { Stopped, StopResult } from "../protocol/blocked.ts";
import type { ErrorCode } from "../protocol/errors.ts";
import { encodeData } from "../protocol/frames.ts";
import { stopReasonOf } from "./blocks.ts";
import { type Effect, toWorker } from "./events.ts";
import { isStoppable, jobsOf, personOf, safeQueue } from "./job.ts";
import type { JobLifecycle } from "./lifecycle.ts";
import type { BrokerState, EndReason, Job, RequestSender, Worker } from "./state.ts";
import type { Tables } from "./tables.ts";

export class EmergencyHandler {
  /** The requests for a stop that are not answered yet. */
  readonly #estops: BrokerState["estops"] = new Map();
  readonly #resets: BrokerState["resets"] = new Map();
  /** The number of the last `estop` or `reset` that the supervisor was told. */
  #lastRequest = 0;
  /** The supervisor has not answered the last `estop`: later estops share this pending answer. */
  #isLatching = false;
  /** The last request was an `estop`: the news that a stop has ended is older than it. */
  #ignoresStaleReset = false;
  /** Why the stop that holds is not known to be on the disk; null if it is. */
  #failure: string | null = notYet;
  /** The waiting jobs that the stop has yet to end. */
  #toClear: Iterator<Job, void> | null = null;

  constructor(
    private readonly tables: Tables,
    private readonly lifecycle: JobLifecycle,
  ) {}

  /** The stop that holds, as `status` reports it. */
  report(): StopResult | null {
    const { stopped } = this.tables.blocks;
    return stopped && resultOf(stopped, this.#failure);
  }

  /* ── Stop ── */

  /** A stop that holds already keeps its reason. The effects that stop jobs come first. */
  estop(sender: RequestSender, reason: string, now: number): Effect[] {
    const { blocks, requests } = this.tables;
    const isNew = blocks.stopped === null;
    const stopped = blocks.stopped ?? { reason, since: this.tables.wallSeconds() };
    const effects = this.#begin(stopped, now);
    this.#ignoresStaleReset = true;
    if (!this.#isLatching) {
      this.#isLatching = true;
      effects.push({ to: "supervisor", type: "estop", stopped, request: ++this.#lastRequest });
    }
    if (isNew) {
      const line = `EMERGENCY STOP by ${personOf(sender) ?? "a requestor"}: ${reason || "no reason given"}`;
      effects.push({ to: "log", line });
    }
    effects.push(...this.#takeResets().map((reset) => requests.refuse(reset, stopReasonOf(stopped))));
    return [...effects, ...this.#awaitLatch(sender, stopped, now)];
  }

  /** The supervisor reports on the disk. @param failure why the stop is not on it; null if it is */
  latched(request: number, failure: string | null): Effect[] {
    this.#failure = failure;
    if (request === this.#lastRequest) this.#isLatching = false;
    return this.#confirm(failure, (estop) => estop.request <= request);
  }

  /** The supervisor says whether the engine is in emergency stop. */
  hear(stopped: Stopped | null, now: number): Effect[] {
    if (stopped !== null) {
      this.#ignoresStaleReset = false;
      return this.#begin(stopped, now);
    }
    this.#failure = notYet;
    return this.#ignoresStaleReset ? [] : this.#end(now);
  }

  /** For jobs of the workers' own ports. The supervisor tells its workers too, but may hang. */
  tell(workers: Iterable<Worker>): Effect[] {
    const { stopped } = this.tables.blocks;
    const hearing = [...workers].filter(({ ready }) => ready.stops === true);
    return hearing.map(({ key }) => toWorker(key, { type: "STOPPED", stopped: stopped && { ...stopped } }));
  }

  /** The waiting jobs that the stop ends: some have not ended yet. */
  get isClearing(): boolean {
    return this.#toClear !== null;
  }

  /**
   * Ends some of the waiting jobs. Thousands of answers in a row would hold up more urgent
   * messages: abort signals, the answers of workers that have let go, safe stops.
   */
  clear(now: number, jobsMax = clearingJobsMax): Effect[] {
    const effects: Effect[] = [];
    for (let count = 0; this.#toClear !== null && count < jobsMax; count++) {
      const { done, value: job } = this.#toClear.next();
      if (done === true) {
        this.#toClear = null;
        continue;
      }
      const reason = this.tables.blocks.endOf(job);
      if (reason !== null) effects.push(...this.lifecycle.stop(job, reason, now));
    }
    return effects;
  }

  #begin(stopped: Stopped, now: number): Effect[] {
    const { blocks, queues, workers } = this.tables;
    blocks.stopped = stopped;
    const aborts = this.#abortRunning(stopReasonOf(stopped), now);
    // The iterator follows the queues while they change.
    this.#toClear = queues[Symbol.iterator]();
    return [...aborts, ...this.tell(workers)];
  }

  /** Aborts all that runs and the stop ends. `clear` ends the jobs that wait. */
  #abortRunning(reason: EndReason, now: number): Effect[] {
    const effects: Effect[] = [];
    for (const worker of this.tables.workers) {
      const { head } = worker;
      // Its grace has begun already, and may be longer than that of an emergency stop.
      if (head !== undefined && head.job.stop !== null && isStoppable(head.job))
        this.lifecycle.runLimits.startGrace(worker, head, now);
      effects.push(...this.lifecycle.stopAll(jobsOf(worker).filter(isStoppable), reason, now));
    }
    return effects;
  }

  #awaitLatch(sender: RequestSender, stopped: Stopped, now: number): Effect[] {
    this.#estops.set(sender, { stopped, request: this.#lastRequest });
    if (this.#estops.size > stopAnswersMax) {
      return this.#confirm(`${stopAnswersMax} others wait for the answer already`, (_, other) => other === sender);
    }
    this.tables.timers.add({
      at: now + stopAnswerMs,
      isAlive: () => this.#estops.has(sender),
      fire: () => this.#confirm(silence, (_, other) => other === sender),
    });
    return [];
  }

  /** Answers the requests for a stop that are meant. */
  #confirm(
    failure: string | null,
    isMeant: (estop: { readonly request: number }, sender: RequestSender) => boolean,
  ): Effect[] {
    const answers: Effect[] = [];
    for (const [sender, estop] of this.#estops) {
      if (!isMeant(estop, sender)) continue;
      this.#estops.delete(sender);
      const { reason, since, ...onDisk } = resultOf(estop.stopped, failure);
      answers.push(this.tables.requests.acknowledge(sender, encodeData({ stopped: { reason, since }, ...onDisk })));
    }
    return answers;
  }

  /* ── Reset ── */

  reset(sender: RequestSender): Effect[] {
    if (this.#resets.size >= resetsMax) {
      const message = `${resetsMax} others wait for the same already`;
      return [this.tables.requests.refuse(sender, { code: "QUEUE_FULL", message })];
    }
    const request = ++this.#lastRequest;
    this.#resets.set(sender, request);
    this.#ignoresStaleReset = false;
    this.#isLatching = false;
    return [{ to: "supervisor", type: "reset", request }];
  }

  /** The supervisor: this reset does not come. */
  resetRefused(request: number, message: string): Effect[] {
    const refused = [...this.#resets].filter(([, number]) => number === request).map(([sender]) => sender);
    for (const sender of refused) this.#resets.delete(sender);
    return refused.map((sender) => this.tables.requests.refuse(sender, { code: "STOPPED", message }));
  }

  /** CANCEL of a reset; null if this requestor waits for none of that serial. */
  cancelReset({ requestor, user }: RequestSender, serial: string): Effect[] | null {
    const sender = [...this.#resets.keys()].find(
      (reset) => reset.meta.serial === serial && reset.user === user && isSame(reset.requestor, requestor),
    );
    if (sender === undefined) return null;
    this.#resets.delete(sender);
    const reason: EndReason = { code: "CANCELLED", message: "its requestor cancelled it" };
    return [...this.#withdrawResets(), this.tables.requests.refuse(sender, reason)];
  }

  /** A connection of requestors is gone, and nobody waits for their answers. */
  requestorGone(peer: string): Effect[] {
    const isOfPeer = ({ requestor }: RequestSender): boolean => requestor.peer === peer;
    for (const sender of this.#estops.keys()) if (isOfPeer(sender)) this.#estops.delete(sender);
    const resets = [...this.#resets.keys()].filter(isOfPeer);
    for (const sender of resets) this.#resets.delete(sender);
    return resets.length === 0 ? [] : this.#withdrawResets();
  }

  /** No reset comes any more. */
  refuseResets(code: ErrorCode, message: string): Effect[] {
    const refused = this.#takeResets().map((sender) => this.tables.requests.refuse(sender, { code, message }));
    return refused.length === 0 ? [] : [...this.#withdrawResets(), ...refused];
  }

  /** The supervisor is dead: nobody can put a stop on the disk or take it from there. */
  orphaned(message: string): Effect[] {
    return [...this.#confirm(message, () => true), ...this.refuseResets("INTERRUPTED", message)];
  }

  #end(now: number): Effect[] {
    const { blocks, requests, resources, runaways, safeStops, workers, directory } = this.tables;
    const ended = this.clear(now, Number.POSITIVE_INFINITY);
    blocks.stopped = null;
    // Workers come before the answer to the reset: a job at a port is not refused after it.
    const effects = [...this.tell(workers), ...ended];
    // A person has looked: unsafe tasks are made safe, or free if no worker serves them.
    for (const [job, reason] of runaways.reset()) {
      safeStops.startFor(job, reason, now);
      resources.release(job);
    }
    // The engine's own tasks may have no workers of the engine, if it was told to start none.
    safeStops.reset((task) => workers.canServe(safeQueue(task)) || (workers.hasOwn && directory.isOwn(task)));
    const body = encodeData({ stopped: null });
    return [...effects, ...this.#takeResets().map((sender) => requests.acknowledge(sender, body))];
  }

  /** Withdraws the resets, unless another requestor still waits for one. */
  #withdrawResets(): Effect[] {
    if (this.#resets.size > 0) return [];
    const { stopped } = this.tables.blocks;
    this.#ignoresStaleReset = stopped !== null;
    return [{ to: "supervisor", type: "withdrawReset", stopped }];
  }

  #takeResets(): RequestSender[] {
    const resets = [...this.#resets.keys()];
    this.#resets.clear();
    return resets;
  }
}

const resultOf = ({ reason, since }: Stopped, failure: string | null): StopResult =>
  failure === null ? { reason, since, durable: true } : { reason, since, durable: false, why: failure };

const notYet = "the supervisor has not said yet that it is on the disk";
const silence =
  `the supervisor has not said within ${stopAnswerMs} ms that it is on the disk, ` +
  "and may not kill what does not let go";

const isSame = (one: RequestSender["requestor"], other: RequestSender["requestor"]): boolean =>
  one === other || (one.peer === other.peer && String(one.envelope) === String(other.envelope));
