/**
 * The way over ZeroMQ: a DEALER socket.
 *
 * When libzmq says that the connection is lost, which it does after all that has still come over it, it may have the next one
 * already. So who hears it throws the socket away, with what it has not sent yet.
 */
import { messageFramesMax, peerQueueMessagesMax } from "../limits.ts";
import { reactor } from "../transport/reactor.ts";
import { lostConnection, saysLost } from "../transport/transport.ts";
import type { SocketOptions } from "../transport/zmq/options.ts";
import { Dealer } from "../transport/zmq/socket.ts";
import { type Link, lookMs, lost } from "./link.ts";
import { socketOptions } from "./socket-options.ts";

const delimiter = new Uint8Array(0);

export class ZmqLink implements Link {
  readonly #dealer: Dealer;

  /** @param endpoint `tcp://HOST:PORT`. It connects in the background, and keeps trying. */
  constructor(endpoint: string, keys: SocketOptions) {
    this.#dealer = new Dealer({
      ...keys,
      ...socketOptions,
      hiccupMessage: lostConnection,
      sendHighWaterMark: peerQueueMessagesMax,
    });
    this.#dealer.connect(endpoint);
  }

  get closed(): boolean {
    return this.#dealer.closed;
  }

  get isClear(): boolean {
    if (performance.now() - this.#dealer.emptyAt < lookMs || !this.#dealer.readable) return true;
    // By looking, we may have taken from the reactor the word that there is something.
    reactor.lookAgain();
    return false;
  }

  onReadable(handler: () => void): void {
    this.#dealer.onReadable(handler);
  }

  send(frames: readonly string[]): boolean {
    return this.#dealer.trySend([delimiter, ...frames]) === "sent";
  }

  receive(): readonly Uint8Array[] | null | typeof lost {
    const message = this.#dealer.tryReceive(messageFramesMax + 1);
    if (message === null) return null;
    if (saysLost(message)) return lost;
    // Without the delimiter it is none of ours: no frame of it is looked at.
    return message[0]?.length === 0 ? message.slice(1) : [];
  }

  async close(lingerMs: number): Promise<void> {
    this.#dealer.set({ linger: lingerMs });
    this.#dealer.close();
  }
}
