/**
 * The emergency stop in the router: it begins at once, and only the supervisor ends it. The answer
 * to `estop` waits until the supervisor has reported whether the stop is on the disk; the stop
 * itself waits for nothing.
 */

import { resetsMax, stopAnswerMs, stopAnswersMax } from "../limits.ts";
import type { Stopped, StopResult } from "../protocol/blocked.ts";
import { stoppedMessage } from "../protocol/blocked.ts";
import type { ErrorCode } from "../protocol/errors.ts";
import { encodeData, packNow } from "../protocol/frames.ts";
import { type Effect, toWorker } from "./effects.ts";
import type { Jobs } from "./jobs.ts";
import type { Asked, Requests } from "./requests.ts";
import type { Worker, Workers } from "./workers.ts";

/** An `estop` that is not answered yet. */
interface Unconfirmed {
  readonly stopped: Stopped;
  /** The number under which the supervisor was told. */
  readonly request: number;
}

export class Emergency {
  /** The one that holds. */
  #stopped: Stopped | null = null;
  /** Why that is not on the disk; null if it is. */
  #failure: string | null = notYet;
  readonly #unconfirmed = new Map<Asked, Unconfirmed>();
  /** Those that wait for the stop's end, with the numbers under which the supervisor was told. */
  readonly #resets = new Map<Asked, number>();
  /** Of the last `estop` or `reset` that the supervisor was told. */
  #lastRequest = 0;
  /** The last one was an `estop` that it has not answered: it does for all that come meanwhile. */
  #isLatching = false;
  /** The last request was an `estop`: a message that the stop has ended is older than it. */
  #isAhead = false;

  constructor(
    private readonly requests: Requests,
    private readonly jobs: Jobs,
    private readonly workers: Workers,
  ) {}

  get stopped(): Stopped | null {
    return this.#stopped;
  }

  /** The same as `status` has it. */
  report(): StopResult | null {
    return this.#stopped && resultOf(this.#stopped, this.#failure);
  }

  /** One that holds already keeps its reason. What is done comes before what is said of it. */
  ask(asked: Asked, reason: string, now: number): Effect[] {
    const isNew = this.#stopped === null;
    const stopped = this.#stopped ?? { reason, since: packNow() };
    const effects = this.#begin(stopped, now);
    this.#isAhead = true;
    effects.push(...this.#tellStop(stopped));
    if (isNew) {
      const line = `EMERGENCY STOP by ${asked.user ?? "a requestor"}: ${reason || "no reason given"}`;
      effects.push({ to: "log", line });
    }
    return [
      ...effects,
      ...this.#takeResets().map((reset) => this.requests.refuse(reset, "STOPPED", stoppedMessage(stopped))),
      ...this.#awaitLatch(asked, stopped, now),
    ];
  }

  /** The supervisor reports on the disk. @param failure why the stop is not on it; null if it is */
  latched(request: number, failure: string | null): Effect[] {
    this.#failure = failure;
    if (request === this.#lastRequest) this.#isLatching = false;
    return this.#confirm(failure, (unconfirmed) => unconfirmed.request <= request);
  }

  askReset(asked: Asked): Effect[] {
    if (this.#resets.size >= resetsMax) {
      return [this.requests.refuse(asked, "QUEUE_FULL", `${resetsMax} others wait for the same already`)];
    }
    const request = ++this.#lastRequest;
    this.#resets.set(asked, request);
    this.#isAhead = false;
    this.#isLatching = false;
    return [{ to: "supervisor", type: "reset", request }];
  }

  /** The supervisor's word that this reset does not come. */
  resetRefused(request: number, why: string): Effect[] {
    const refused = [...this.#resets].filter(([, number]) => number === request).map(([asked]) => asked);
    for (const asked of refused) this.#resets.delete(asked);
    return refused.map((asked) => this.requests.refuse(asked, "STOPPED", why));
  }

  /** Whether this requestor waits for a reset of that serial, which is refused then. */
  cancelReset({ requestor, user }: Asked, serial: string): Effect[] | null {
    const asked = [...this.#resets.keys()].find(
      (reset) => reset.meta.serial === serial && reset.user === user && isSame(reset.requestor, requestor),
    );
    if (asked === undefined) return null;
    this.#resets.delete(asked);
    return [...this.#withdraw(), this.requests.refuse(asked, "CANCELLED", "its requestor cancelled it")];
  }

  /** A connection is gone, and with it those that wait for an answer. @param peer key of that */
  lost(peer: string): Effect[] {
    const isOfPeer = ({ requestor }: Asked): boolean => requestor.peer === peer;
    for (const asked of this.#unconfirmed.keys()) if (isOfPeer(asked)) this.#unconfirmed.delete(asked);
    const resets = [...this.#resets.keys()].filter(isOfPeer);
    for (const asked of resets) this.#resets.delete(asked);
    return resets.length === 0 ? [] : this.#withdraw();
  }

  /** No reset comes any more. */
  refuseResets(code: ErrorCode, message: string): Effect[] {
    const refused = this.#takeResets().map((asked) => this.requests.refuse(asked, code, message));
    return refused.length === 0 ? [] : [...this.#withdraw(), ...refused];
  }

  /** The supervisor is dead, which could put it on the disk or take it from there. */
  orphaned(message: string): Effect[] {
    return [...this.#confirm(message, () => true), ...this.refuseResets("INTERRUPTED", message)];
  }

  /** The supervisor's word on whether the engine is in emergency stop. */
  hear(stopped: Stopped | null, now: number): Effect[] {
    if (stopped !== null) {
      this.#isAhead = false;
      return this.#begin(stopped, now);
    }
    this.#failure = notYet;
    if (this.#isAhead) return [];
    this.#stopped = null;
    // Before its end is confirmed, so that what is sent to workers' own ports then is not refused.
    const ended = [...this.tell(this.workers), ...this.jobs.resume(now)];
    const body = encodeData({ stopped: null });
    return [...ended, ...this.#takeResets().map((asked) => this.requests.acknowledge(asked, body))];
  }

  /** Workers need it for jobs of their own ports. The supervisor tells them, too, but may hang. */
  tell(workers: Iterable<Worker>): Effect[] {
    const stopped = this.#stopped && { ...this.#stopped };
    const hearing = [...workers].filter(({ ready }) => ready.stops === true);
    return hearing.map(({ key }) => toWorker(key, { type: "STOPPED", stopped }));
  }

  #begin(stopped: Stopped, now: number): Effect[] {
    this.#stopped = stopped;
    const aborts = this.jobs.emergencyStop({ code: "STOPPED", message: stoppedMessage(stopped) }, now);
    return [...aborts, ...this.tell(this.workers)];
  }

  #tellStop(stopped: Stopped): Effect[] {
    if (this.#isLatching) return [];
    this.#isLatching = true;
    return [{ to: "supervisor", type: "estop", stopped, request: ++this.#lastRequest }];
  }

  #awaitLatch(asked: Asked, stopped: Stopped, now: number): Effect[] {
    this.#unconfirmed.set(asked, { stopped, request: this.#lastRequest });
    if (this.#unconfirmed.size > stopAnswersMax) {
      return this.#confirm(`${stopAnswersMax} others wait for the answer already`, (_, other) => other === asked);
    }
    this.jobs.lifecycle.timers.add({
      at: now + stopAnswerMs,
      isAlive: () => this.#unconfirmed.has(asked),
      fire: () => this.#confirm(silence, (_, other) => other === asked),
    });
    return [];
  }

  #confirm(failure: string | null, isMeant: (unconfirmed: Unconfirmed, asked: Asked) => boolean): Effect[] {
    const answers: Effect[] = [];
    for (const [asked, unconfirmed] of this.#unconfirmed) {
      if (!isMeant(unconfirmed, asked)) continue;
      this.#unconfirmed.delete(asked);
      const { reason, since, ...onDisk } = resultOf(unconfirmed.stopped, failure);
      answers.push(this.requests.acknowledge(asked, encodeData({ stopped: { reason, since }, ...onDisk })));
    }
    return answers;
  }

  /** A reset that another requestor still waits for goes on. */
  #withdraw(): Effect[] {
    if (this.#resets.size > 0) return [];
    this.#isAhead = this.#stopped !== null;
    return [{ to: "supervisor", type: "withdrawReset", stopped: this.#stopped }];
  }

  #takeResets(): Asked[] {
    const resets = [...this.#resets.keys()];
    this.#resets.clear();
    return resets;
  }
}

const resultOf = ({ reason, since }: Stopped, failure: string | null): StopResult =>
  failure === null ? { reason, since, durable: true } : { reason, since, durable: false, why: failure };

const notYet = "the supervisor has not said yet that it is on the disk";
const silence = `the supervisor has not said within ${stopAnswerMs} ms that it is on the disk, and may not kill what does not let go`;

const isSame = (one: Asked["requestor"], other: Asked["requestor"]): boolean =>
  one === other || (one.peer === other.peer && String(one.envelope) === String(other.envelope));
