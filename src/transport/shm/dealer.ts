/**
 * A worker's end of the connection to the router. It connects, sends its hello, and does both again
 * after each loss. Messages sent meanwhile wait for the next connection.
 */
import {
  beatIntervalMs,
  localBytesMax,
  localRetryMs,
  localRetryMsMax,
  peerQueueMessagesMax,
  unansweredBeatsMax,
} from "../../limits.ts";
import { Pulse } from "../pulse.ts";
import type { Connection, SendResult } from "../transport.ts";
import { ShmConnection } from "./connection.ts";
import { closeAll, flushOut } from "./flushing.ts";
import { dial } from "./unix.ts";

export class ShmDealer implements Connection {
  readonly #path: string;
  readonly #hello: string;
  readonly #beats: Pulse;
  #connection: ShmConnection | null = null;
  #onReadable: (() => void) | null = null;
  /** Messages that wait for a connection, at most as many as one accepts at once. */
  #waiting: (readonly (Uint8Array | string)[])[] = [];
  #waitingBytes = 0;
  #retryMs = localRetryMs;
  #retry: Timer | undefined;
  #beatAt = performance.now();
  #unansweredBeats = 0;
  #closed = false;

  /**
   * @param path where the router listens, or will
   * @param hello the first message of each connection
   * @param beatMs how often its owner speaks to the router, which answers each time
   */
  constructor(path: string, hello: string, beatMs = beatIntervalMs) {
    this.#path = path;
    this.#hello = hello;
    this.#beats = new Pulse(beatMs, () => this.#beat());
    this.#connect();
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Calls `handler` whenever there is something to receive; it must take everything. */
  onReadable(handler: () => void): void {
    this.#onReadable = handler;
    this.#connection?.onReadable(handler);
  }

  /**
   * Sends a whole message or nothing. If the router reads, the message is out on return, since the
   * next task may block. A router that did not read is not waited for until it reads again.
   */
  trySend(frames: readonly (Uint8Array | string)[]): SendResult {
    const connection = this.#connection;
    if (connection !== null) {
      const result = connection.gather(frames);
      if (result === "sent") flushOut(connection);
      return result;
    }
    if (this.#closed) return "unreachable";
    const bytes = frames.reduce((sum, frame) => sum + Buffer.byteLength(frame), 0);
    if (this.#waiting.length >= peerQueueMessagesMax || this.#waitingBytes + bytes > localBytesMax) return "full";
    this.#waiting.push(frames);
    this.#waitingBytes += bytes;
    return "sent";
  }

  /** Returns the next whole message or null; `\0lost` if the connection is lost. */
  tryReceive(): (string | Buffer)[] | null {
    const message = this.#connection?.tryReceive() ?? null;
    if (this.#connection?.closed === true) {
      this.#connection = null;
      this.#connectLater();
    } else if (message !== null) this.#retryMs = localRetryMs;
    return message;
  }

  /** Closes after unsent messages are out, or after the lingering time. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#beats[Symbol.dispose]();
    clearTimeout(this.#retry);
    if (this.#connection !== null) closeAll([this.#connection]);
    this.#connection = null;
  }

  #connect(): void {
    const line = dial(this.#path);
    // This keeps trying; the caller that waits reports that there is no answer.
    if (line === null) this.#connectLater();
    else this.#opened(new ShmConnection(line));
  }

  #connectLater(): void {
    this.#retry = setTimeout(() => this.#connect(), this.#retryMs);
    this.#retryMs = Math.min(2 * this.#retryMs, localRetryMsMax);
  }

  #opened(connection: ShmConnection): void {
    this.#connection = connection;
    this.#unansweredBeats = 0;
    connection.trySend([this.#hello]);
    for (const frames of this.#waiting.splice(0)) connection.trySend(frames);
    this.#waitingBytes = 0;
    if (this.#onReadable !== null) connection.onReadable(this.#onReadable);
  }

  /**
   * Ends a connection without answers: a halted router keeps its connections, and a running one
   * answers each beat.
   */
  #beat(): void {
    const connection = this.#connection;
    if (connection === null) return;
    this.#unansweredBeats = connection.heardAt > this.#beatAt ? 0 : this.#unansweredBeats + 1;
    this.#beatAt = performance.now();
    if (this.#unansweredBeats === unansweredBeatsMax) connection.end();
  }
}
