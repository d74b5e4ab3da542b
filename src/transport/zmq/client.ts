/** A DEALER socket as a `ClientConnection`. */
import { messageFramesMax, peerQueueMessagesMax } from "../../limits.ts";
import { reactor } from "../reactor.ts";
import {
  type ClientConnection,
  lostConnection,
  type MessageFrame,
  type SendResult,
  saysLost,
  unlostMs,
} from "../transport.ts";
import type { SocketOptions } from "./options.ts";
import { Dealer } from "./socket.ts";

const delimiter = new Uint8Array(0);

export class ZmqClient implements ClientConnection {
  readonly #dealer: Dealer;

  /**
   * Connects in the background, and keeps trying. When libzmq reports a lost connection, it may
   * have the next one already.
   * @param endpoint `tcp://HOST:PORT`
   */
  constructor(endpoint: string, options: SocketOptions) {
    this.#dealer = new Dealer({ ...options, hiccupMessage: lostConnection, sendHighWaterMark: peerQueueMessagesMax });
    this.#dealer.connect(endpoint);
  }

  get closed(): boolean {
    return this.#dealer.closed;
  }

  get isClear(): boolean {
    if (performance.now() - this.#dealer.emptyAt < unlostMs || !this.#dealer.readable) return true;
    // This look may have taken from the reactor the event that there is something.
    reactor.lookAgain();
    return false;
  }

  onReadable(handler: () => void): void {
    this.#dealer.onReadable(handler);
  }

  trySend(frames: readonly MessageFrame[]): SendResult {
    return this.#dealer.trySend(frames, delimiter);
  }

  tryReceive(): MessageFrame[] | null {
    const message = this.#dealer.tryReceive(messageFramesMax + 1);
    if (message === null || saysLost(message)) return message;
    // Without the delimiter it is no message of ours: none of its frames is looked at.
    if (message.shift()?.length !== 0) return [];
    return message;
  }

  async linger(ms: number): Promise<void> {
    this.#dealer.set({ linger: ms });
  }

  close(): void {
    this.#dealer.close();
  }
}
