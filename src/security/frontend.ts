/**
 * The port that requestors connect to: a ROUTER socket and, for programs of the same machine, a
 * Unix socket beside it (see local-listener.ts).
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
import { type Inbox, type Listener, Listeners, type SendResult, saysLost } from "../transport/transport.ts";
import { ZmqListener } from "../transport/zmq/listener.ts";
import type { Gate } from "./gate.ts";
import { openLocalListener, type PortAddress } from "./local-listener.ts";

/** Returns the next arrival; null if there is none. */
export type NextArrival = () => Arrival | null;

export class Frontend {
  readonly #gate: Gate;
  readonly #zmq: ZmqListener;
  readonly #listeners = new Listeners();
  readonly #onReadable: (next: NextArrival) => void;
  #address: PortAddress | null = null;

  /** @param onReadable must take at least one arrival; it is called only after `open` */
  constructor(gate: Gate, onReadable: (next: NextArrival) => void) {
    this.#gate = gate;
    this.#onReadable = onReadable;
    this.#zmq = new ZmqListener(gate.routerOptions);
  }

  /** Binds the address. Throws ZmqError if that fails. */
  bind(address: PortAddress): void {
    this.#zmq.bind(address.host, address.port);
    this.#gate.guard(this.#zmq.socket, partingMs);
    this.#address = address;
  }

  /** Starts to receive, once it is bound. Throws the errors of `openLocalListener`. */
  open(): void {
    this.#listen(this.#zmq, () => this.#gate.userOf(this.#zmq.socket));
    if (this.#address === null) return;
    const local = openLocalListener(this.#gate, this.#address, {
      connectionsMax: localRequestorsMax,
      messageBytesMax: endlessBytesMin,
      unfinishedBytesMax,
      unsentBytesMax,
    });
    if (local !== null) this.#listen(local.listener, local.userOf);
  }

  /** Takes a whole message or nothing, and sends it at the next `flush` at the latest. */
  gather({ peer, envelope }: Requestor, frames: readonly Frame[]): SendResult {
    return this.#listeners.gather(peer, envelope.length === 0 ? frames : [...envelope, ...frames]);
  }

  /**
   * Sends the gathered messages.
   * @param isUrgent the caller may block soon, so wait a little for peers that read
   */
  flush(isUrgent = false): void {
    this.#listeners.flush(isUrgent);
  }

  /** Closes after unsent messages are out, or after the lingering time. */
  close(): void {
    this.#listeners.close();
  }

  /** @param userOf returns the user whose key the last received message came with */
  #listen<Source extends Inbox>(listener: Listener<Source>, userOf: (inbox: Source) => string | null): void {
    this.#listeners.add(listener);
    listener.onReadable((inbox) => this.#onReadable(() => nextOf(inbox, userOf)));
  }
}

const nextOf = <Source extends Inbox>(inbox: Source, userOf: (inbox: Source) => string | null): Arrival | null => {
  const message = inbox.tryReceive(envelopeFramesMax + messageFramesMax);
  if (message === null) return null;
  const { peer, cutReason, hasEnvelopes } = inbox;
  if (saysLost(message)) return { type: "requestorGone", peer, cutReason };
  const user = userOf(inbox);
  if (!hasEnvelopes) return { type: "request", requestor: requestorOf(peer), user, request: decodeRequest(message) };
  const { requestor, frames, error } = openEnvelope(peer, message);
  const request = error === undefined ? decodeRequest(frames) : badEnvelope(frames, error);
  return { type: "request", requestor, user, request };
};
