/** A peer of the stream port by each transport. */
import { localLongBytes } from "../limits.ts";
import type { Frame } from "../protocol/frame.ts";
import type { ShmConnection } from "../transport/shm/connection.ts";
import { sizeBytes } from "../transport/shm/framing.ts";
import type { ZmqListener } from "../transport/zmq/listener.ts";
import { framesIn } from "./framed.ts";
import { type PeerTransport, StreamPeer } from "./stream-peer.ts";
import type { TopicStore } from "./topic-store.ts";

/** What the transports of a port share. */
export interface StreamPortPart {
  readonly store: TopicStore;
  /** Local peers that have got something since the last flush. */
  readonly unflushed: LocalPeer[];
  /** Calls `onRoom` of all peers a little later. */
  retryLater(): void;
  /**
   * Whether a value of so many bytes may stay in memory until a peer has read it. If not, a peer
   * that has not read for long may be cut.
   */
  mayKeep(bytes: number): boolean;
}

export class LocalPeer implements PeerTransport {
  readonly peer: StreamPeer;
  /** Since when something waits for it to read, on the clock of performance.now(). */
  keptAt = 0;
  #isUnflushed = false;

  constructor(
    private readonly port: StreamPortPart,
    readonly connection: ShmConnection,
    private readonly userOf: (connection: ShmConnection) => string | null,
  ) {
    this.peer = new StreamPeer(port.store, this);
  }

  get user(): string | null {
    return this.userOf(this.connection);
  }

  send(frames: readonly Frame[]): boolean {
    const isFull = this.connection.gather(frames) === "full";
    if (isFull) this.port.retryLater();
    this.#flushLater();
    return !isFull;
  }

  sendValue(bytes: Buffer, start: number, end: number): boolean {
    const { connection, port } = this;
    // What the peer has room for must not count as waiting: `onRoom` follows only where it has none.
    if (connection.unsentBytes > 0 && !connection.flush()) return false;
    // A long one stays where it is until the peer has read it: see `gatherFramed`.
    const isLong = end - start > localLongBytes;
    if (isLong && !port.mayKeep(end - start)) {
      port.retryLater();
      return false;
    }
    const isSent = connection.gatherFramed(bytes, start, end) === "sent";
    if (isLong && isSent) this.keptAt = performance.now();
    this.#flushLater();
    return isSent;
  }

  flush(): void {
    this.#isUnflushed = false;
    this.connection.flush();
  }

  #flushLater(): void {
    if (this.#isUnflushed) return;
    this.#isUnflushed = true;
    this.port.unflushed.push(this);
  }
}

export class ZmqPeer implements PeerTransport {
  readonly peer: StreamPeer;

  /** @param user of the last message */
  constructor(
    private readonly port: StreamPortPart,
    private readonly listener: ZmqListener,
    private readonly key: string,
    public user: string | null,
  ) {
    this.peer = new StreamPeer(port.store, this);
  }

  send(frames: readonly Frame[]): boolean {
    const isFull = this.listener.gather(this.key, frames) === "full";
    // libzmq does not tell when a peer's queue has room again.
    if (isFull) this.port.retryLater();
    return !isFull;
  }

  sendValue(bytes: Buffer, start: number, end: number): boolean {
    const result = this.listener.gather(this.key, framesIn(bytes, start + sizeBytes, end) ?? []);
    if (result === "full") this.port.retryLater();
    return result === "sent";
  }

  flush(): void {
    // libzmq's own thread sends.
  }
}
