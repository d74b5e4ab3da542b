/**
 * The shell around the broker: it reads messages, tells the broker what happens, and performs the
 * effects that the broker returns, in their order.
 */
import type { Broker } from "../broker/broker.ts";
import type { BrokerEvent, Effect } from "../broker/events.ts";
import type { DropReason } from "../broker/statistics.ts";
import {
  catchUpAfterMs,
  drainMessagesMax,
  envelopeFramesMax,
  messageFramesMax,
  stallReadMsMax,
  timerMsMax,
} from "../limits.ts";
import { say, warn } from "../process/log.ts";
import { hasSupervisor, tellSupervisor } from "../process/supervised.ts";
import { decodeFromWorker, encodeBackend } from "../protocol/backend.ts";
import { ProtocolError } from "../protocol/errors.ts";
import { type Frame, textOf } from "../protocol/frame.ts";
import type { Frontend, NextArrival } from "../security/frontend.ts";
import type { Gate } from "../security/gate.ts";
import { reactor } from "../transport/reactor.ts";
import { type Inbox, type Listeners, saysLost } from "../transport/transport.ts";
import { EventFeed } from "./event-feed.ts";

/** The one timer of the broker's next time. It is set again only if it would ring too late. */
class Alarm {
  #timer: Timer | null = null;
  #at = Number.POSITIVE_INFINITY;

  /** @param ring gets the ms by which it is late */
  constructor(private readonly ring: (lateMs: number) => void) {}

  /** @param at time of performance.now(); null for never */
  set(at: number | null): void {
    if (at === null) {
      this.#clear();
    } else if (at < this.#at) {
      this.#clear();
      this.#at = at;
      this.#timer = setTimeout(() => this.#ring(), Math.min(Math.max(at - performance.now(), 0), timerMsMax));
    }
  }

  #ring(): void {
    const lateMs = Math.max(0, performance.now() - this.#at);
    this.#clear();
    this.ring(lateMs);
  }

  #clear(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#at = Number.POSITIVE_INFINITY;
  }
}

interface ShellOptions {
  readonly broker: Broker;
  readonly gate: Gate;
  readonly frontend: Frontend;
  readonly workers: Listeners;
  /** Beginnings of log lines: `[ROUTER-9000(FRONTEND)]`. */
  readonly front: string;
  readonly back: string;
  /** Print each message that is passed on. */
  readonly verbose: boolean;
  /** The lines of this process's log are wanted as events, or are not any more. */
  readonly onWatchLog: (isWatched: boolean) => void;
}

export class Shell {
  readonly #options: ShellOptions;
  /** Effects in their order, performed together: libzmq wakes its thread once for all. */
  readonly #effects: Effect[] = [];
  readonly #alarm = new Alarm((lateMs) => {
    // After a stall of this process the messages that have come are read first: an answer must not
    // be taken for a TIMEOUT, nor a KEEPALIVE for silence. The reading may take as long as the
    // stall did, within bounds.
    reactor.lookNow(Math.min(lateMs, stallReadMsMax));
    this.turn({ type: "tick" });
  });
  readonly #events: EventFeed;
  #isCatchingUp = false;
  #dispatchedAt = performance.now();

  constructor(options: ShellOptions) {
    this.#options = options;
    const { broker, workers } = options;
    this.#events = new EventFeed(
      (key, frames) => workers.gather(key, frames) === "sent",
      (count) => broker.drop("eventNotRead", count),
    );
  }

  /** Tells the broker one event, and dispatches. */
  turn(event: BrokerEvent): void {
    this.#tell(event);
    this.#dispatch();
  }

  readRequests(next: NextArrival): void {
    this.#drain(next, (arrival) => {
      this.#tell(arrival);
      if (arrival.type === "requestorGone") {
        if (arrival.cutReason === null) return;
        this.#drop("requestorCut", `${this.#options.front} Ended a connection: ${arrival.cutReason}`);
        return;
      }
      const { request } = arrival;
      // An emergency stop does not wait for the messages that have come with it.
      if (request.kind === "control" && request.control.command === "estop") this.#performAll();
    });
  }

  /**
   * @param userOf returns the name of the key of the message that was received last
   * @param isOwn processes of the engine come by this port
   */
  readWorkers(inbox: Inbox, userOf: () => string | null, isOwn: boolean): void {
    this.#drain(
      () => inbox.tryReceive(backendFramesMax),
      (frames) => this.#fromWorker(inbox.peer, userOf(), isOwn, frames),
    );
  }

  stop(): void {
    this.#alarm.set(null);
  }

  #tell(event: BrokerEvent): void {
    this.#effects.push(...this.#options.broker.handle(event, performance.now()));
  }

  /** Reads a bounded number of messages, so that other sockets and the jobs have their turn. */
  #drain<Message>(next: () => Message | null, receive: (message: Message) => void): void {
    let count = 0;
    for (; count < drainMessagesMax; count++) {
      const message = next();
      if (message === null) break;
      receive(message);
    }
    if (count > 0) this.#dispatch();
  }

  #fromWorker(key: string, user: string | null, isOwn: boolean, frames: readonly Frame[]): void {
    if (saysLost(frames)) {
      this.#events.forget(key);
      return this.#tell({ type: "disconnected", key });
    }
    const message = decodeFromWorker(frames);
    if (message instanceof ProtocolError) {
      this.#drop("workersMessage", `${this.#options.back} Dropped a worker's message: ${message.message}`);
    } else {
      if (message.header.type === "HEARD") this.#events.heard(key);
      // Any local program reaches the port of an engine without keys, and may claim to be the
      // journal, or a process that is to be killed.
      else if (message.header.type === "READY" && !isOwn) message.header.supervised = false;
      this.#tell({ type: "worker", key, user, message });
    }
  }

  /** After a halt of this process, all messages are read before anything begins. */
  #dispatch(): void {
    if (this.#isCatchingUp) return;
    const { broker, gate } = this.#options;
    const now = performance.now();
    const awayMs = now - this.#dispatchedAt;
    if (awayMs >= catchUpAfterMs) {
      this.#isCatchingUp = true;
      this.#performAll();
      queueMicrotask(() => {
        gate.catchUp(awayMs);
        this.#isCatchingUp = false;
        this.#dispatchedAt = performance.now();
        this.#dispatch();
      });
      return;
    }
    // A halt within this call counts, too: a requestor may have its answer already, and go on.
    this.#dispatchedAt = now;
    this.#effects.push(...broker.dispatch(now));
    this.#performAll();
    this.#alarm.set(broker.nextAt);
  }

  /** An effect may cause further ones: a worker that cannot be reached is disconnected. */
  #performAll(): void {
    const effects = this.#effects;
    for (let batch = effects.splice(0); batch.length > 0; batch = effects.splice(0)) {
      for (const effect of batch) this.#perform(effect);
    }
    this.#events.flush();
    this.#options.workers.flush();
    this.#options.frontend.flush();
  }

  #perform(effect: Effect): void {
    const { frontend, workers, front, back, verbose } = this.#options;
    switch (effect.to) {
      case "requestor": {
        const result = frontend.gather(effect.requestor, effect.frames);
        if (result === "full")
          this.#drop("requestorNotReading", `${front} Dropped a reply: its requestor does not read`);
        else if (result === "unreachable")
          this.#drop("requestorGone", `${front} Dropped a reply: its requestor is gone`);
        else if (verbose) say(`${back} Forwarding: ${show(effect.frames)}`);
        break;
      }
      case "worker": {
        const result = workers.gather(effect.key, encodeBackend(effect.header, effect.bodies));
        if (result !== "sent") this.#tell({ type: "disconnected", key: effect.key });
        else if (verbose && effect.bodies.length > 0) say(`${front} Forwarding: ${show(effect.bodies)}`);
        break;
      }
      case "event":
        this.#events.add(effect);
        break;
      case "supervisor":
        this.#inform(effect);
        break;
      case "log":
        warn(`${back} ${effect.line}`);
        break;
    }
  }

  #inform({ to: _, ...message }: Extract<Effect, { to: "supervisor" }>): void {
    if (message.type === "watchLog") this.#options.onWatchLog(message.isWatched);
    if (hasSupervisor()) tellSupervisor(message);
    // A router without a supervisor, started by hand, has no state folder and decides alone.
    else if (message.type === "reset") this.#tell({ type: "stopped", stopped: null });
    else if (message.type === "pause") {
      this.#tell({ type: "pauseKept", request: message.request, failure: "it has no supervisor" });
    } else if (message.type === "reload") {
      this.#tell({ type: "reloaded", request: message.request, tasks: null, failure: "it has no supervisor" });
    } else if (message.type === "estop") {
      this.#tell({ type: "latched", request: message.request, failure: "it has no supervisor" });
    }
  }

  /**
   * Counts a dropped message. Only the first of its kind is logged, or garbage would fill the log.
   */
  #drop(reason: DropReason, line: string): void {
    if (this.#options.broker.drop(reason) > 1) return;
    warn(`${line}; further ones are only counted, in \`task-engine status\``);
  }
}

const backendFramesMax = envelopeFramesMax + messageFramesMax;

const show = (frames: readonly Frame[]): string => frames.map(textOf).join(" ");
