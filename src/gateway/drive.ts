/**
 * One page that drives: ticks to it, commands from it, and the proof that it is still there.
 *
 * A message counts only if it says the number of a tick that was sent less than `deadmanMs` ago:
 * whatever waited in a buffer on the way is older, and is refused. The newest tick that has come
 * back bounds the life of the running call, too: without a newer one it ends `deadmanMs` after that
 * tick was sent. So the page may die, hang or be cut off at any moment, and the robot goes on for
 * no longer than that. If the gateway itself dies or hangs, the engine's own dead man ends the
 * call.
 */
import { Presence } from "../client/presence.ts";
import {
  gatewayDeadmanMs,
  gatewayDeadmanMsMax,
  gatewayDeadmanMsMin,
  gatewayDriveCallsMax,
  ticksPerDeadman,
} from "../limits.ts";
import { isJsonObject, type Json, type JsonObject } from "../protocol/json.ts";
import type { Failure } from "./errors.ts";

interface DriveCallOptions {
  readonly deadmanMs: number;
  readonly signal: AbortSignal;
  /** Gets what says KEEPALIVE to the engine, once the call has been sent. */
  readonly keepAlive: (say: () => void) => void;
}

export interface DriveWorld {
  readonly send: (message: JsonObject) => void;
  /**
   * Takes a task for this page alone; a failure where another one has it, or the right is missing.
   */
  readonly take: (task: string) => Failure | null;
  readonly release: (task: string) => void;
  /** Calls the task in the place of its last call. Resolves with the result; never rejects. */
  readonly call: (
    task: string,
    args: readonly Json[],
    kwargs: JsonObject,
    options: DriveCallOptions,
  ) => Promise<Outcome>;
  /** ms of a monotonic clock */
  readonly now: () => number;
}

export type Outcome = { readonly data: Json } | Failure;

interface Driving {
  readonly task: string;
  readonly presence: Presence;
}

interface Position {
  readonly call: number;
  readonly args: readonly Json[];
  readonly kwargs: JsonObject;
}

export class Drive {
  readonly #world: DriveWorld;
  #driving: Driving | null = null;
  #calls = 0;
  /** Controllers of the calls that have not ended. */
  readonly #running = new Set<AbortController>();
  /** Says KEEPALIVE for the newest call. */
  #sayAlive: (() => void) | null = null;
  /** The newest position, while it waits for room. */
  #waiting: Position | null = null;

  constructor(world: DriveWorld) {
    this.#world = world;
  }

  /**
   * Whether the page has not proven for `deadmanMs` that it is there: then another may take its
   * task.
   */
  get isSilent(): boolean {
    return this.#driving?.presence.isSilent ?? true;
  }

  /** A message of the page. */
  hear(message: JsonObject): void {
    switch (message.type) {
      case "start":
        return this.#start(message);
      case "drive":
        return this.#drive(message);
      case "alive":
        if (this.#isFresh(message)) this.#sayAlive?.();
        return;
      case "end":
        return this.end();
      default:
        this.#refuse("BAD_ARGS", "`type` is not one of start, drive, alive, end");
    }
  }

  /** Cancels what runs, and frees the task. */
  end(): void {
    const driving = this.#driving;
    this.#driving = null;
    this.#waiting = null;
    this.#sayAlive = null;
    for (const running of this.#running) running.abort();
    if (driving === null) return;
    driving.presence[Symbol.dispose]();
    this.#world.release(driving.task);
  }

  #refuse(code: string, message: string): void {
    this.#world.send({ type: "refused", code, message });
  }

  #start({ task, deadmanMs = gatewayDeadmanMs }: JsonObject): void {
    if (typeof task !== "string" || task === "") return this.#refuse("BAD_ARGS", "`task` is no name of a task");
    const isInRange =
      typeof deadmanMs === "number" && deadmanMs >= gatewayDeadmanMsMin && deadmanMs <= gatewayDeadmanMsMax;
    if (!isInRange) {
      return this.#refuse("BAD_ARGS", `\`deadmanMs\` must be ${gatewayDeadmanMsMin} to ${gatewayDeadmanMsMax}`);
    }
    this.end();
    const refusal = this.#world.take(task);
    if (refusal !== null) return this.#refuse(refusal.code, refusal.message);
    this.#world.send({ type: "ready", task, deadmanMs, tickMs: deadmanMs / ticksPerDeadman });
    const presence = new Presence({
      deadmanMs,
      sendTick: (tick) => this.#world.send({ type: "tick", tick }),
      onSilent: () => this.#fallSilent(),
      now: this.#world.now,
    });
    this.#driving = { task, presence };
  }

  /** Whether the page has proven with this message that it is there. */
  #isFresh({ tick }: JsonObject): boolean {
    const driving = this.#driving;
    if (driving === null) {
      this.#refuse("BAD_ARGS", "`start` comes first");
      return false;
    }
    if (driving.presence.hear(tick)) return true;
    const { deadmanMs } = driving.presence;
    this.#refuse("DEADMAN", `the last tick that this message has seen is older than ${deadmanMs} ms`);
    return false;
  }

  /** The calls end `deadmanMs` after the newest tick that has come back was sent. */
  #fallSilent(): void {
    this.#waiting = null;
    this.#sayAlive = null;
    for (const running of this.#running) running.abort();
  }

  #drive(message: JsonObject): void {
    const { args = [], kwargs = {} } = message;
    if (!Array.isArray(args) || !isJsonObject(kwargs))
      return this.#refuse("BAD_ARGS", "`args` is no list, or `kwargs` no object");
    if (!this.#isFresh(message)) return;
    const position = { call: ++this.#calls, args, kwargs };
    if (this.#running.size >= gatewayDriveCallsMax) this.#waiting = position;
    else this.#call(position);
  }

  #call({ call, args, kwargs }: Position): void {
    const driving = this.#driving;
    if (driving === null) return;
    const running = new AbortController();
    this.#running.add(running);
    const keepAlive = (say: () => void): void => {
      this.#sayAlive = say;
    };
    const { task, presence } = driving;
    const { deadmanMs } = presence;
    void this.#world.call(task, args, kwargs, { deadmanMs, signal: running.signal, keepAlive }).then((outcome) => {
      this.#running.delete(running);
      const isFailure = "code" in outcome;
      if (!(isFailure && outcome.code === "SUPERSEDED")) {
        const { code, message } = isFailure ? outcome : { code: null, message: null };
        this.#world.send({ type: "result", call, code, message, data: isFailure ? null : outcome.data });
      }
      const next = this.#waiting;
      this.#waiting = null;
      // It has waited here: only a page that is still there may move the robot by it.
      if (next !== null && !presence.isSilent) this.#call(next);
    });
  }
}
