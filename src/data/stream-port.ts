/** The port of publishers and subscribers of 0.3: shared memory on this machine, ZeroMQ else. */
import {
  drainMessagesMax,
  localLongBytes,
  localPeersMax,
  partingMs,
  stalledPeerMs,
  streamQueueMessagesMax,
  streamUnfinishedBytesMax,
  streamUnsentBytesMax,
  valueOverheadBytes,
  zmqRoomRetryMs,
} from "../limits.ts";
import type { Frame } from "../protocol/frame.ts";
import type { Gate } from "../security/gate.ts";
import { openLocalListener, type PortAddress } from "../security/local-listener.ts";
import type { ShmConnection } from "../transport/shm/connection.ts";
import { encodedBytesMax, encodeInto, sizeBytes } from "../transport/shm/framing.ts";
import type { ShmListener } from "../transport/shm/listener.ts";
import { saysLost } from "../transport/transport.ts";
import { openPrivateListener, ZmqListener } from "../transport/zmq/listener.ts";
import type { SocketOptions } from "../transport/zmq/options.ts";
import { framesIn } from "./framed.ts";
import { type PeerTransport, StreamPeer } from "./stream-peer.ts";
import type { TopicStore } from "./topic-store.ts";

export class StreamPort {
  /** Local peers that have got something since the last flush. */
  readonly unflushed: LocalPeer[] = [];
  readonly #gate: Gate;
  readonly #zmq: ZmqListener;
  /** For the engine's own workers of Python; null while there are none. */
  #python: ZmqListener | null = null;
  readonly #bounds: SocketOptions;
  readonly #messageBytesMax: number;
  #local: ShmListener | null = null;
  readonly #localPeers = new Map<ShmConnection, LocalPeer>();
  readonly #zmqPeers = new Map<string, ZmqPeer>();
  #roomTimer: Timer | undefined;

  constructor(
    readonly store: TopicStore,
    gate: Gate,
  ) {
    this.#gate = gate;
    this.#messageBytesMax = store.valueBytesMax + valueOverheadBytes;
    this.#bounds = {
      maxMessageSize: this.#messageBytesMax,
      sendHighWaterMark: streamQueueMessagesMax,
      receiveHighWaterMark: streamQueueMessagesMax,
    };
    this.#zmq = new ZmqListener({ ...gate.routerOptions, ...this.#bounds });
  }

  /** Throws ZmqError if the port cannot be had, and the errors of `openLocalListener`. */
  bind(address: PortAddress): void {
    const gate = this.#gate;
    this.#zmq.bind(address.host, address.port);
    gate.guard(this.#zmq.socket, partingMs);
    this.#zmq.onReadable(() => this.#readZmq(this.#zmq, () => gate.userOf(this.#zmq.socket)));
    const local = openLocalListener(gate, address, {
      connectionsMax: localPeersMax,
      messageBytesMax: this.#messageBytesMax,
      unfinishedBytesMax: streamUnfinishedBytesMax,
      unsentBytesMax: streamUnsentBytesMax,
    });
    if (local === null) return;
    this.#local = local.listener;
    this.#local.onReadable((connection) => this.#readLocal(connection, local.userOf));
  }

  /**
   * Listens for the engine's own workers of Python, which have no keys, at a socket that only this
   * user can open; does nothing if it does so already. Returns why it cannot, or null.
   */
  bindPython(path: string): string | null {
    if (this.#python !== null) return null;
    const listener = openPrivateListener({ ...this.#gate.localRouterOptions, ...this.#bounds }, path);
    if (typeof listener === "string") return listener;
    this.#python = listener;
    listener.onReadable(() => this.#readZmq(listener, () => this.#gate.ownUser));
    return null;
  }

  /** `tcp://HOST:PORT`, with its real port. */
  get endpoint(): string {
    return this.#zmq.socket.lastEndpoint;
  }

  /** Sends what local subscribers have got. To be called after values that came by another way. */
  flush(): void {
    for (const peer of this.unflushed) peer.flush();
    this.unflushed.length = 0;
  }

  close(): void {
    clearTimeout(this.#roomTimer);
    this.flush();
    this.#local?.close();
    this.#python?.close();
    this.#zmq.close();
  }

  /** Calls `onRoom` of all peers a little later. */
  retryLater(): void {
    this.#roomTimer ??= setTimeout(() => {
      this.#roomTimer = undefined;
      for (const { peer } of this.#localPeers.values()) peer.onRoom();
      for (const { peer } of this.#zmqPeers.values()) peer.onRoom();
      this.flush();
    }, zmqRoomRetryMs);
  }

  /**
   * Whether a value of so many bytes may stay in memory until a peer has read it. If not, a peer
   * that has not read for long may be cut.
   */
  mayKeep(bytes: number): boolean {
    let kept = 0;
    let oldest: LocalPeer | null = null;
    for (const peer of this.#localPeers.values()) {
      const { unsentBytes } = peer.connection;
      if (unsentBytes === 0) continue;
      kept += unsentBytes;
      if (oldest === null || peer.keptAt < oldest.keptAt) oldest = peer;
    }
    if (oldest === null || kept + bytes <= streamUnsentBytesMax) return true;
    if (performance.now() - oldest.keptAt < stalledPeerMs) return false;
    this.store.drop("peerNotReading");
    oldest.connection.end();
    return false;
  }

  #readLocal(connection: ShmConnection, userOf: (connection: ShmConnection) => string | null): void {
    this.store.tick();
    const { peer } = this.#localPeers.get(connection) ?? this.#accept(connection, userOf);
    const { framed } = connection;
    for (let count = 0; count < drainMessagesMax && connection.takeRaw(); count++) {
      peer.receive(framed.raw, framed.rawStart, framed.rawEnd);
    }
    if (connection.isOver) {
      this.#localPeers.delete(connection);
      this.store.leave(peer);
      connection.drop();
    }
    this.flush();
  }

  #accept(connection: ShmConnection, userOf: (connection: ShmConnection) => string | null): LocalPeer {
    const peer = new LocalPeer(this, connection, userOf);
    connection.onRoom = () => {
      peer.peer.onRoom();
      this.flush();
    };
    this.#localPeers.set(connection, peer);
    return peer;
  }

  #readZmq(listener: ZmqListener, userOf: () => string | null): void {
    this.store.tick();
    for (let count = 0; count < drainMessagesMax; count++) {
      const message = listener.tryReceive();
      if (message === null) break;
      const { peer: key } = listener;
      const known = this.#zmqPeers.get(key);
      if (saysLost(message)) {
        this.#zmqPeers.delete(key);
        if (known !== undefined) this.store.leave(known.peer);
        continue;
      }
      const user = userOf();
      const peer = known ?? this.#acceptZmq(listener, key, user);
      if (peer.user !== user) {
        peer.user = user;
        peer.peer.accessChanged();
      }
      const bytes = Buffer.allocUnsafeSlow(encodedBytesMax(message));
      peer.peer.receive(bytes, sizeBytes, encodeInto(bytes, 0, message));
    }
    this.flush();
  }

  #acceptZmq(listener: ZmqListener, key: string, user: string | null): ZmqPeer {
    const peer = new ZmqPeer(this, listener, key, user);
    this.#zmqPeers.set(key, peer);
    return peer;
  }
}

class LocalPeer implements PeerTransport {
  readonly peer: StreamPeer;
  /** Since when something waits for it to read, on the clock of performance.now(). */
  keptAt = 0;
  #isUnflushed = false;

  constructor(
    private readonly port: StreamPort,
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
    // Bytes that the peer has room for go out first: `onRoom` follows only where it has none.
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

class ZmqPeer implements PeerTransport {
  readonly peer: StreamPeer;

  /** @param user of the last message */
  constructor(
    private readonly port: StreamPort,
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
