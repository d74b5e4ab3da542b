/** The port of publishers and subscribers of 0.3: shared memory on this machine, ZeroMQ else. */
import { dataBytesMax, drainMessagesMax, localPeersMax, streamUnfinishedBytesMax, zmqRoomRetryMs } from "../limits.ts";
import type { Frame } from "../protocol/frame.ts";
import type { Gate } from "../security/gate.ts";
import { type LocalListener, openLocalListener, type PortAddress } from "../security/local-listener.ts";
import type { ShmConnection } from "../transport/shm/connection.ts";
import { encodedBytesMax, encodeInto, sizeBytes } from "../transport/shm/framing.ts";
import { saysLost } from "../transport/transport.ts";
import { ZmqListener } from "../transport/zmq/listener.ts";
import { type PeerTransport, StreamPeer } from "./stream-peer.ts";
import type { TopicStore } from "./topic-store.ts";

/** bytes of a message beside its payload: topic, META and lengths. */
const messageOverheadBytes = 64 * 1024;

export class StreamPort {
  readonly #store: TopicStore;
  readonly #gate: Gate;
  readonly #zmq: ZmqListener;
  #local: LocalListener | null = null;
  readonly #localPeers = new Map<ShmConnection, LocalPeer>();
  readonly #zmqPeers = new Map<string, ZmqPeer>();
  /** Those that have got something since the last flush. */
  readonly #unflushed: LocalPeer[] = [];
  #roomTimer: Timer | undefined;

  constructor(store: TopicStore, gate: Gate) {
    this.#store = store;
    this.#gate = gate;
    this.#zmq = new ZmqListener({ ...gate.routerOptions, maxMessageSize: dataBytesMax + messageOverheadBytes });
  }

  /** Throws ZmqError if the port cannot be had, and the errors of `openLocalListener`. */
  bind(address: PortAddress): void {
    this.#zmq.bind(address.host, address.port);
    this.#gate.guard(this.#zmq.socket, 0);
    this.#zmq.onReadable(() => this.#readZmq());
    this.#local = openLocalListener(this.#gate, address, {
      connectionsMax: localPeersMax,
      messageBytesMax: dataBytesMax + messageOverheadBytes,
      unfinishedBytesMax: streamUnfinishedBytesMax,
    });
    this.#local?.listener.onReadable((connection) => this.#readLocal(connection));
  }

  /** `tcp://HOST:PORT`, with its real port. */
  get endpoint(): string {
    return this.#zmq.socket.lastEndpoint;
  }

  /** Sends what local subscribers have got. To be called after values that came by another way. */
  flush(): void {
    for (const peer of this.#unflushed) peer.flush();
    this.#unflushed.length = 0;
  }

  close(): void {
    clearTimeout(this.#roomTimer);
    this.#local?.listener.close();
    this.#zmq.close();
  }

  #readLocal(connection: ShmConnection): void {
    this.#store.tick();
    const { peer } = this.#localPeers.get(connection) ?? this.#accept(connection);
    const { framed } = connection;
    for (let count = 0; count < drainMessagesMax && connection.takeRaw(); count++) {
      peer.receive(framed.raw, framed.rawStart, framed.rawEnd);
    }
    if (connection.isOver) {
      this.#localPeers.delete(connection);
      this.#store.leave(peer);
      connection.drop();
    }
    this.flush();
  }

  #accept(connection: ShmConnection): LocalPeer {
    const user = this.#local?.userOf(connection) ?? null;
    const peer = new LocalPeer(this.#store, connection, user, this.#unflushed);
    connection.onRoom = () => {
      peer.peer.onRoom();
      this.flush();
    };
    this.#localPeers.set(connection, peer);
    this.#store.join(peer.peer);
    return peer;
  }

  #readZmq(): void {
    this.#store.tick();
    for (let count = 0; count < drainMessagesMax; count++) {
      const message = this.#zmq.tryReceive();
      if (message === null) break;
      const { peer: key } = this.#zmq;
      const known = this.#zmqPeers.get(key);
      if (saysLost(message)) {
        this.#zmqPeers.delete(key);
        if (known !== undefined) this.#store.leave(known.peer);
        continue;
      }
      const { peer } = known ?? this.#acceptZmq(key);
      const bytes = Buffer.allocUnsafeSlow(encodedBytesMax(message));
      peer.receive(bytes, sizeBytes, encodeInto(bytes, 0, message));
    }
    this.flush();
  }

  #acceptZmq(key: string): ZmqPeer {
    const peer = new ZmqPeer(this.#store, this.#zmq, key, this.#gate.userOf(this.#zmq.socket), () =>
      this.#retryLater(),
    );
    this.#zmqPeers.set(key, peer);
    this.#store.join(peer.peer);
    return peer;
  }

  /** libzmq does not tell when a peer's queue has room again. */
  #retryLater(): void {
    this.#roomTimer ??= setTimeout(() => {
      this.#roomTimer = undefined;
      for (const { peer } of this.#zmqPeers.values()) peer.onRoom();
    }, zmqRoomRetryMs);
  }
}

class LocalPeer implements PeerTransport {
  readonly peer: StreamPeer;
  #isUnflushed = false;

  constructor(
    store: TopicStore,
    private readonly connection: ShmConnection,
    readonly user: string | null,
    private readonly unflushed: LocalPeer[],
  ) {
    this.peer = new StreamPeer(store, this);
  }

  send(frames: readonly Frame[]): void {
    this.connection.gather(frames);
    this.#flushLater();
  }

  sendValue(bytes: Buffer, start: number, end: number): boolean {
    const isSent = this.connection.gatherFramed(bytes, start, end) === "sent";
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
    this.unflushed.push(this);
  }
}

class ZmqPeer implements PeerTransport {
  readonly peer: StreamPeer;

  constructor(
    store: TopicStore,
    private readonly listener: ZmqListener,
    private readonly key: string,
    readonly user: string | null,
    private readonly onFull: () => void,
  ) {
    this.peer = new StreamPeer(store, this);
  }

  send(frames: readonly Frame[]): void {
    this.listener.gather(this.key, frames);
  }

  sendValue(bytes: Buffer, start: number, end: number): boolean {
    const frames: Buffer[] = [];
    for (let at = start + sizeBytes; at < end; ) {
      const from = at + sizeBytes;
      at = from + bytes.readUInt32LE(at);
      frames.push(bytes.subarray(from, at));
    }
    const result = this.listener.gather(this.key, frames);
    if (result === "full") this.onFull();
    return result === "sent";
  }
}
