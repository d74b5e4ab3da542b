/**
 * The other end of a data worker's stream port: one connection of a publisher or of a subscriber.
 * By shared memory on this machine, else by ZeroMQ (see zmq-stream.ts). Messages come framed, as
 * they travel.
 */
import { requestorBeatMs, requestorSilenceMs } from "../limits.ts";
import type { Frame } from "../protocol/frame.ts";
import { Pulse } from "../transport/pulse.ts";
import type { ShmConnection } from "../transport/shm/connection.ts";
import type { Framed } from "../transport/shm/framing.ts";
import type { SendResult } from "../transport/transport.ts";

export interface StreamConnection {
  /** The message that was taken last. */
  readonly framed: Framed;
  /** The connection is lost, and everything that came before is taken. */
  readonly isOver: boolean;
  /** False while the data worker is behind. What is gathered then waits in this process. */
  readonly hasRoom: boolean;
  /** Nothing that was gathered waits in this process. */
  readonly isDrained: boolean;
  /** Called when `hasRoom` or `isDrained` may have become true. */
  onRoom: (() => void) | null;
  /** Calls `handler` whenever there is something to take, or the connection is over. */
  onReadable(handler: () => void): void;
  /** Takes the next message; false if there is none. */
  takeRaw(): boolean;
  /** Takes a whole message or nothing; it is sent at `flush` at the latest. */
  gather(frames: readonly Frame[]): SendResult;
  flush(): void;
  /** What was gathered still goes out, as far as there is room for it. */
  close(): void;
}

/** null where there is no connection. */
export const streamOn = (connection: ShmConnection | null): StreamConnection | null =>
  connection === null ? null : new LocalStream(connection);

class LocalStream implements StreamConnection {
  readonly #connection: ShmConnection;
  readonly #looks: Pulse;

  constructor(connection: ShmConnection) {
    this.#connection = connection;
    this.#looks = new Pulse(requestorBeatMs, () => connection.endIfHalted(requestorSilenceMs));
  }

  get framed(): Framed {
    return this.#connection.framed;
  }

  get isOver(): boolean {
    return this.#connection.isOver;
  }

  get hasRoom(): boolean {
    return this.#connection.unsentBytes === 0;
  }

  get isDrained(): boolean {
    return this.#connection.unsentBytes === 0;
  }

  get onRoom(): (() => void) | null {
    return this.#connection.onRoom;
  }

  set onRoom(handler: (() => void) | null) {
    this.#connection.onRoom = handler;
  }

  onReadable(handler: () => void): void {
    this.#connection.onReadable(handler);
  }

  takeRaw(): boolean {
    return this.#connection.takeRaw();
  }

  gather(frames: readonly Frame[]): SendResult {
    return this.#connection.gather(frames);
  }

  flush(): void {
    this.#connection.flush();
  }

  close(): void {
    this.#looks[Symbol.dispose]();
    this.#connection.flush();
    this.#connection.drop();
  }
}
