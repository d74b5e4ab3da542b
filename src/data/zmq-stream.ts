/**
 * A connection to a data worker's stream port by a DEALER socket. libzmq bounds what waits in it by
 * messages alone, so the data worker is asked now and then what it has taken.
 */
import {
  dataMessageBytesMax,
  lingerMs,
  peerQueueMessagesMax,
  reconnectMs,
  reconnectMsMax,
  requestorBeatMs,
  requestorSilenceMs,
  zmqWindowBytes,
} from "../limits.ts";
import { bytesOf, type Frame } from "../protocol/frame.ts";
import { decodeStreamReply, encodeStreamRequest } from "../protocol/stream.ts";
import { encodedBytesMax, encodeInto, type Framed, sizeBytes } from "../transport/shm/framing.ts";
import { lostConnection, type SendResult, saysLost } from "../transport/transport.ts";
import type { SocketOptions } from "../transport/zmq/options.ts";
import { Dealer } from "../transport/zmq/socket.ts";
import type { StreamConnection } from "./stream-link.ts";

/** The serial of the questions of this connection, which no program uses. */
const questionSerial = "-taken";
const question = (): string[] => encodeStreamRequest("CREDIT", questionSerial, { credit: 1, sync: true });

export class ZmqStream implements StreamConnection {
  readonly #dealer: Dealer;
  readonly #message = { raw: Buffer.alloc(0), rawStart: 0, rawEnd: 0 };
  #isOver = false;
  /** bytes that were sent, and of those the ones up to the last question and to the last answer. */
  #sent = 0;
  #asked = 0;
  #taken = 0;
  onRoom: (() => void) | null = null;

  /**
   * Connects in the background, and keeps trying, until the connection is lost for the first time.
   * @param endpoint `tcp://HOST:PORT`
   * @param keys options of the socket for an engine with keys
   */
  constructor(endpoint: string, keys: SocketOptions) {
    this.#dealer = new Dealer({
      ...keys,
      linger: 0,
      reconnectInterval: reconnectMs,
      reconnectIntervalMax: reconnectMsMax,
      heartbeatInterval: requestorBeatMs,
      heartbeatTimeout: requestorSilenceMs,
      hiccupMessage: lostConnection,
      maxMessageSize: dataMessageBytesMax,
      sendHighWaterMark: peerQueueMessagesMax,
      receiveHighWaterMark: peerQueueMessagesMax,
    });
    this.#dealer.connect(endpoint);
  }

  get framed(): Framed {
    return this.#message;
  }

  get isOver(): boolean {
    return this.#isOver || this.#dealer.closed;
  }

  get hasRoom(): boolean {
    return this.unsentBytes < zmqWindowBytes;
  }

  get unsentBytes(): number {
    return this.#sent - this.#taken;
  }

  onReadable(handler: () => void): void {
    this.#dealer.onReadable(handler);
  }

  takeRaw(): boolean {
    for (;;) {
      const message = this.isOver ? null : this.#dealer.tryReceive();
      if (message === null) return false;
      if (saysLost(message)) {
        this.#isOver = true;
        return false;
      }
      if (this.#isAnswer(message)) continue;
      const bytes = Buffer.allocUnsafeSlow(encodedBytesMax(message));
      this.#message.raw = bytes;
      this.#message.rawStart = sizeBytes;
      this.#message.rawEnd = encodeInto(bytes, 0, message);
      return true;
    }
  }

  gather(frames: readonly Frame[]): SendResult {
    const result = this.#dealer.trySend(frames);
    if (result === "sent") this.#sent += bytesOf(frames);
    return result;
  }

  flush(): void {
    // One question at a time, so that a quick publisher asks only as often as it is answered.
    if (this.#asked > this.#taken || this.#sent === this.#taken) return;
    if (this.#dealer.trySend(question()) === "sent") this.#asked = this.#sent;
  }

  close(): void {
    if (!this.#isOver) this.#dealer.set({ linger: lingerMs });
    this.#dealer.close();
  }

  #isAnswer(message: readonly Buffer[]): boolean {
    const [name, meta, data] = message;
    if (name?.length !== 0 || meta === undefined || data === undefined || !meta.includes(questionSerial)) return false;
    const reply = decodeStreamReply(meta, data);
    if (!("serial" in reply) || reply.serial !== questionSerial) return false;
    this.#taken = this.#asked;
    this.flush();
    this.onRoom?.();
    return true;
  }
}
