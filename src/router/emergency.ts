/** The emergency stop as the router keeps it: it begins here at once, and ends by the supervisor's word alone. */
import type { Stopped } from "../lifecycle.ts";
import { resetsMax } from "../limits.ts";
import type { ErrorCode } from "../wire/errors.ts";
import { encodeData, packNow } from "../wire/frames.ts";
import { stoppedMessage } from "../wire/stopped.ts";
import type { Effect } from "./effects.ts";
import type { Jobs } from "./jobs.ts";
import type { Asked, Requests } from "./requests.ts";

export class Emergency {
  /** The one that holds. */
  #stopped: Stopped | null = null;
  /** Those who wait for its end. */
  #resets: Asked[] = [];
  /** It was asked for here, and nobody has asked for its end since: a word that it is over is of before. */
  #isAhead = false;

  constructor(
    private readonly requests: Requests,
    private readonly jobs: Jobs,
  ) {}

  get stopped(): Stopped | null {
    return this.#stopped;
  }

  /** One that holds already keeps its reason. What is done comes before what is said of it. */
  ask(asked: Asked, reason: string, now: number): Effect[] {
    const isNew = this.#stopped === null;
    const stopped = this.#stopped ?? { reason, since: packNow() };
    const effects = this.#begin(stopped, now);
    this.#isAhead = true;
    effects.push({ to: "supervisor", type: "estop", stopped });
    if (isNew) {
      const line = `EMERGENCY STOP by ${asked.user ?? "a requestor"}: ${reason || "no reason given"}`;
      effects.push({ to: "log", line });
    }
    const body = encodeData({ stopped: { ...stopped } });
    return [
      ...effects,
      ...this.refuseResets("STOPPED", stoppedMessage(stopped)),
      this.requests.acknowledge(asked, body),
    ];
  }

  askReset(asked: Asked): Effect[] {
    if (this.#resets.length >= resetsMax) {
      return [this.requests.refuse(asked, "QUEUE_FULL", `${resetsMax} others wait for the same already`)];
    }
    this.#resets.push(asked);
    this.#isAhead = false;
    return [{ to: "supervisor", type: "reset" }];
  }

  /** The supervisor's word on whether the engine is in emergency stop. */
  hear(stopped: Stopped | null, now: number): Effect[] {
    if (stopped !== null) {
      this.#isAhead = false;
      return this.#begin(stopped, now);
    }
    if (this.#isAhead) return [];
    this.#stopped = null;
    const ended = this.jobs.resume(now);
    const body = encodeData({ stopped: null });
    return [...ended, ...this.#takeResets().map((asked) => this.requests.acknowledge(asked, body))];
  }

  /** What they wait for does not come. */
  refuseResets(code: ErrorCode, message: string): Effect[] {
    return this.#takeResets().map((asked) => this.requests.refuse(asked, code, message));
  }

  #begin(stopped: Stopped, now: number): Effect[] {
    this.#stopped = stopped;
    return this.jobs.emergencyStop({ code: "STOPPED", message: stoppedMessage(stopped) }, now);
  }

  #takeResets(): Asked[] {
    const resets = this.#resets;
    this.#resets = [];
    return resets;
  }
}
