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
import type { Arrival } from "../protocol/arrival.ts";
import { openEnvelope, type Requestor, routingKey } from "../protocol/envelope.ts";
import type { Frame } from "../protocol/frame.ts";
import { badEnvelope, decodeRequest } from "../protocol/requests.ts";
import { saysLost } from "../transport/lost.ts";
import type { LocalConnection } from "../transport/shm/connection.ts";
import { localName } from "../transport/shm/name.ts";
import { LocalPort } from "../transport/shm/port.ts";
import { Router, type SendResult } from "../transport/zmq/socket.ts";
import { isLoopback } from "./exposure.ts";
import type { Gate } from "./gate.ts";

/** Gives what has arrived, one after the other; null where there is nothing more at present. */
export type Inbox = () => Arrival | null;

export class Frontend {
  readonly #gate: Gate;
  readonly #socket: Router;
  readonly #onReadable: (inbox: Inbox) => void;
  #localName: string | null = null;
  #local: LocalPort | null = null;

  /** @param onReadable is called whenever something has arrived, and must take at least one. Not before `open`. */
  constructor(gate: Gate, onReadable: (inbox: Inbox) => void) {
    this.#gate = gate;
    this.#onReadable = onReadable;
    this.#socket = new Router(gate.routerOptions);
  }

  /** Takes the address. Throws ZmqError where it cannot be had. */
  bind(host: string, port: number): void {
    this.#socket.bind(`tcp://${host}:${port}`);
    this.#gate.guard(this.#socket, partingMs);
    this.#localName = this.#gate.hasKeys || !isLoopback(host) ? null : localName(host, port);
  }

  /** From now on what arrives is given. Throws what the system says where the Unix socket cannot be had. */
  open(): void {
    this.#socket.onReadable(() => this.#onReadable(this.#next));
    if (this.#localName === null) return;
    this.#local = new LocalPort({
      path: this.#localName,
      joined: (connection, peer) => {
        const requestor = { peer, envelope: [] };
        connection.onReadable(() => this.#onReadable(() => nextOf(connection, requestor)));
      },
      connectionsMax: localRequestorsMax,
      messageBytesMax: endlessBytesMin,
      unfinishedBytesMax,
      unsentBytesMax,
    });
  }

  /** Takes a whole message for whoever has asked, or nothing, to be sent by the next `flush` at the latest. */
  gather({ peer, envelope }: Requestor, frames: readonly Frame[]): SendResult {
    if (this.#local?.has(peer)) return this.#local.gather(peer, frames);
    return this.#socket.trySend([...envelope, ...frames]);
  }

  /** Sends what was gathered. @param isUrgent nothing else may have its turn soon: who reads is waited for a little */
  flush(isUrgent = false): void {
    this.#local?.flush(isUrgent);
  }

  /** What is unsent goes out within the lingering time. */
  close(): void {
    this.#local?.close();
    this.#socket.close();
  }

  readonly #next: Inbox = () => {
    const message = this.#socket.tryReceive(envelopeFramesMax + messageFramesMax + 1);
    if (message === null) return null;
    const [id = noBytes, ...rest] = message;
    if (saysLost(rest)) return { type: "lost", peer: routingKey(id), cutReason: null };
    const { requestor, frames, error } = openEnvelope(message);
    const request = error === undefined ? decodeRequest(frames) : badEnvelope(frames, error);
    return { type: "request", requestor, user: this.#gate.userOf(this.#socket), request };
  };
}

const nextOf = (connection: LocalConnection, requestor: Requestor): Arrival | null => {
  const frames = connection.tryReceive(messageFramesMax + 1);
  if (frames === null) return null;
  if (saysLost(frames)) return { type: "lost", peer: requestor.peer, cutReason: connection.cutReason };
  return { type: "request", requestor, user: null, request: decodeRequest(frames) };
};

const noBytes = new Uint8Array(0);
