/**
 * The other end of a data worker's stream port: one connection of a publisher or of a subscriber.
 * By shared memory on this machine, else by ZeroMQ. Messages come framed, as they travel.
 */
import type { Frame } from "../protocol/frame.ts";
import type { ShmConnection } from "../transport/shm/connection.ts";
import type { Framed } from "../transport/shm/framing.ts";
import type { SendResult } from "../transport/transport.ts";

export interface StreamConnection {
  /** The message that was taken last. */
  readonly framed: Framed;
  readonly closed: boolean;
  /** The connection is lost, and everything that came before is taken. */
  readonly isOver: boolean;
  onReadable(handler: () => void): void;
  /** Takes the next message; false if there is none. */
  takeRaw(): boolean;
  /** Takes a whole message or nothing; it is sent at `flush` at the latest. */
  gather(frames: readonly Frame[]): SendResult;
  /** Returns false if some of it waits for the peer to read. */
  flush(): boolean;
  close(): void;
}

export class LocalStream implements StreamConnection {
  constructor(private readonly connection: ShmConnection) {}

  get framed(): Framed {
    return this.connection.framed;
  }

  get closed(): boolean {
    return this.connection.closed;
  }

  get isOver(): boolean {
    return this.connection.isOver;
  }

  onReadable(handler: () => void): void {
    this.connection.onReadable(handler);
  }

  takeRaw(): boolean {
    return this.connection.takeRaw();
  }

  gather(frames: readonly Frame[]): SendResult {
    return this.connection.gather(frames);
  }

  flush(): boolean {
    return this.connection.flush();
  }

  close(): void {
    this.connection.flush();
    this.connection.drop();
  }
}
