/**
 * A port at which requestors ask: a ROUTER socket for all of them, and beside it, in an engine without keys on an address of its own
 * machine, a Unix socket for those that look for it. By that a message needs no call to the system but to wake who sleeps, and wakes no
 * thread but theirs.
 *
 * The Unix socket has the address for its name and no file: like the port it is there for everybody of the network namespace, and for
 * as long as its process lives. A client takes it for the port's if it is of the same user, or of its own.
 */

import {
  endlessBytesMin,
  envelopeFramesMax,
  localRequestorsMax,
  messageFramesMax,
  partingMs,
  unfinishedBytesMax,
  unsentBytesMax,
} from "../limits.ts";
import { type Arrival, openEnvelope, type Requestor, requestorOf } from "../protocol/envelope.ts";
import type { Frame } from "../protocol/frame.ts";
import { badEnvelope, decodeRequest } from "../protocol/requests.ts";
import { ShmListener } from "../transport/shm/listener.ts";
import { localName } from "../transport/shm/unix.ts";
import { type Inbox, type Listener, Listeners, type SendResult, saysLost } from "../transport/transport.ts";
import { ZmqListener } from "../transport/zmq/listener.ts";
import { isLoopback } from "./exposure.ts";
import type { Gate } from "./gate.ts";

/** Gives the next arrival; null where there is none at present. */
export type NextArrival = () => Arrival | null;

export class Frontend {
  readonly #gate: Gate;
  readonly #zmq: ZmqListener;
  readonly #listeners = new Listeners();
  readonly #onReadable: (next: NextArrival) => void;
  #localName: string | null = null;

  /** @param onReadable is called whenever something has arrived, and must take at least one. Not before `open`. */
  constructor(gate: Gate, onReadable: (next: NextArrival) => void) {
    this.#gate = gate;
    this.#onReadable = onReadable;
    this.#zmq = new ZmqListener(gate.routerOptions);
  }

  /** Takes the address. Throws ZmqError where it cannot be had. */
  bind(host: string, port: number): void {
    this.#zmq.bind(host, port);
    this.#gate.guard(this.#zmq.socket, partingMs);
    this.#localName = this.#gate.hasKeys || !isLoopback(host) ? null : localName(host, port);
  }

  /** From now on what arrives is given. Throws what the system says where the Unix socket cannot be had. */
  open(): void {
    this.#listen(this.#zmq, () => this.#gate.userOf(this.#zmq.socket));
    if (this.#localName === null) return;
    const local = new ShmListener({
      path: this.#localName,
      connectionsMax: localRequestorsMax,
      messageBytesMax: endlessBytesMin,
      unfinishedBytesMax,
      unsentBytesMax,
    });
    this.#listen(local, () => null);
  }

  /** Takes a whole message for whoever has asked, or nothing, to be sent by the next `flush` at the latest. */
  gather({ peer, envelope }: Requestor, frames: readonly Frame[]): SendResult {
    return this.#listeners.gather(peer, envelope.length === 0 ? frames : [...envelope, ...frames]);
  }

  /** Sends what was gathered. @param isUrgent nothing else may have its turn soon: who reads is waited for a little */
  flush(isUrgent = false): void {
    this.#listeners.flush(isUrgent);
  }

  /** What is unsent goes out within the lingering time. */
  close(): void {
    this.#listeners.close();
  }

  /** @param userOf gives the name of the key that the message received last came with */
  #listen(listener: Listener, userOf: () => string | null): void {
    this.#listeners.add(listener);
    listener.onReadable((inbox) => this.#onReadable(() => nextOf(inbox, userOf)));
  }
}

const nextOf = (inbox: Inbox, userOf: () => string | null): Arrival | null => {
  const message = inbox.tryReceive(envelopeFramesMax + messageFramesMax);
  if (message === null) return null;
  const { peer, cutReason, hasEnvelopes } = inbox;
  if (saysLost(message)) return { type: "lost", peer, cutReason };
  const user = userOf();
  if (!hasEnvelopes) return { type: "request", requestor: requestorOf(peer), user, request: decodeRequest(message) };
  const { requestor, frames, error } = openEnvelope(peer, message);
  const request = error === undefined ? decodeRequest(frames) : badEnvelope(frames, error);
  return { type: "request", requestor, user, request };
};
