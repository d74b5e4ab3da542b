/** A worker's connection to the router: first in, first out in each direction, each message with its own delay. */

import type { Effect } from "../../../src/broker/events.ts";
import {
  type BackendMessage,
  decodeFromRouter,
  encodeBackend,
  type RouterHeader,
  type WorkerHeader,
} from "../../../src/protocol/backend.ts";
import { ProtocolError } from "../../../src/protocol/errors.ts";
import type { Frame } from "../../../src/protocol/frame.ts";
import { asReceived } from "../../support/frames.ts";
import { delayMsMax, Violation } from "./ledger.ts";
import type { World } from "./world.ts";

type ToWorker = Extract<Effect, { to: "worker" }>;

export class Link {
  /** The worker's end stands. */
  isOpen = true;
  /** The router has not heard that it broke. */
  isKnown = true;
  /** What was under way when it broke arrives all the same, as at a death; else it is lost, as with a cable. */
  #flushes = false;
  #upAt = 0;
  #downAt = 0;

  constructor(
    private readonly world: World,
    /** The routing id that the router gives to this connection. */
    readonly key: string,
    /** Whose key the worker has. */
    private readonly user: string | null,
    private readonly receive: (message: BackendMessage<RouterHeader>) => void,
  ) {}

  /** From the worker. */
  send(header: WorkerHeader, bodies: readonly Frame[] = []): void {
    this.sendFrames(asReceived(encodeBackend(header, bodies)));
  }

  sendFrames(frames: readonly Frame[]): void {
    if (!this.isOpen) return;
    this.#upAt = Math.max(this.#upAt, this.#arrival());
    this.world.agenda.at(this.#upAt, () => {
      if (this.isOpen || this.#flushes) this.world.router.fromWorker(this.key, this.user, frames);
    });
  }

  /** From the router. */
  deliver({ header, bodies }: ToWorker): void {
    if (!this.isOpen) return;
    const message = decodeFromRouter(asReceived(encodeBackend(header, bodies)));
    if (message instanceof ProtocolError)
      throw new Violation(`the router sends what no worker takes: ${message.message}`);
    this.#downAt = Math.max(this.#downAt, this.#arrival());
    this.world.agenda.at(this.#downAt, () => {
      if (this.isOpen) this.receive(message);
    });
  }

  break(flushes: boolean): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.#flushes = flushes;
    this.world.ledger.faults++;
    this.world.agenda.at(Math.max(this.#upAt, this.#arrival()), () => {
      this.isKnown = false;
      this.world.router.handle({ type: "disconnected", key: this.key });
    });
  }

  #arrival(): number {
    const { agenda, random } = this.world;
    return agenda.now + (random.chance(0.9) ? random.between(0.02, 1) : random.between(1, delayMsMax));
  }
}
