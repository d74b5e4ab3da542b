/**
 * Who comes in, in one process of the engine: its keys, the ZAP handler, the names of those who send, and the end of
 * connections whose keys have been revoked. An engine without keys has an open gate, behind which nobody has a name.
 */

import {
  arrivalsMax,
  backlogConnectionsMax,
  beatIntervalMs,
  beatSilenceMs,
  connectionLookMs,
  frameBytesHardMax,
  handshakeMs,
  lingerMs,
  peerQueueMessagesMax,
} from "../limits.ts";
import { Pulse } from "../transport/pulse.ts";
import { StartError } from "../transport/start-error.ts";
import { lostConnection } from "../transport/transport.ts";
import { admission } from "../transport/zmq/admission.ts";
import { Connections } from "../transport/zmq/connections.ts";
import { FreedMemory } from "../transport/zmq/freed-memory.ts";
import type { SocketOptions } from "../transport/zmq/options.ts";
import type { Socket } from "../transport/zmq/socket.ts";
import { Access, engineUser, formerUser } from "./access.ts";
import type { KeyPair } from "./certificate.ts";
import { curveServer, zapDomain } from "./curve.ts";
import { publicKeyOf } from "./keys.ts";
import { startZap } from "./zap.ts";

/** What a process needs to bind with CURVE. */
export interface Security {
  /** Of everything that binds. */
  readonly engine: KeyPair;
  /** The text of the file of authorized clients; empty where that cannot be used. */
  readonly authorized: string;
}

interface Guarded {
  readonly connections: Connections;
  readonly partingMs: number;
}

export class Gate implements Disposable {
  readonly #security: Security | null;
  readonly #warn: (line: string) => void;
  readonly #zap: Disposable | null;
  readonly #guarded = new Map<Socket, Guarded>();
  #access: Access;
  readonly #memory = new FreedMemory();
  #looks: Pulse | null = null;
  #soon: Timer | undefined;
  #hearAccess: (access: Access) => void = () => undefined;

  /**
   * Throws StartError for keys that do not belong together.
   * @param security null for an engine without keys
   * @param warn writes a line to the log
   */
  constructor(security: Security | null, warn: (line: string) => void) {
    this.#security = security;
    this.#warn = warn;
    this.#access = this.#read(security?.authorized ?? "");
    if (security === null) {
      this.#zap = null;
      return;
    }
    const { publicKey, secretKey } = security.engine;
    if (publicKeyOf(secretKey) !== publicKey) {
      throw new StartError("the engine's public key does not belong to its secret key; make both anew by keygen");
    }
    // The key, not the name: a name may be another's after a reload, while messages of the first are still in a queue.
    this.#zap = startZap((key) => (this.#access.nameOf(key) === null ? null : key));
  }

  get hasKeys(): boolean {
    return this.#security !== null;
  }

  /** Who may do what, at present. */
  get access(): Access {
    return this.#access;
  }

  /** Tells the handler who may do what: now, and at every change, before any connection is cut. */
  onAccess(handler: (access: Access) => void): void {
    this.#hearAccess = handler;
    handler(this.#access);
  }

  /** Options of a socket that binds. */
  get serverOptions(): SocketOptions {
    return {
      handshakeInterval: handshakeMs,
      backlog: backlogConnectionsMax,
      // PINGs find a dead peer, and tell it how long to wait for us. The I/O threads send and answer them: a worker whose task
      // blocks its own thread for long is not taken for dead.
      heartbeatInterval: beatIntervalMs,
      heartbeatTimeout: beatSilenceMs,
      heartbeatTimeToLive: beatSilenceMs,
      // A domain alone lets every peer in that speaks ZMTP 3, and refuses older ones. libzmq takes junk (a browser, a port scanner)
      // for ZMTP 1, and never frees the 9 KB of such a peer that has sent no routing id: its `disconnectMessage` is never read.
      ...(this.#security === null ? { zapDomain } : curveServer(this.#security.engine)),
    };
  }

  /** Options of a ROUTER socket that binds; it is told of each connection that is gone. */
  get routerOptions(): SocketOptions {
    return {
      ...this.serverOptions,
      mandatory: true,
      linger: lingerMs,
      maxMessageSize: frameBytesHardMax,
      sendHighWaterMark: peerQueueMessagesMax,
      receiveHighWaterMark: arrivalsMax,
      disconnectMessage: lostConnection,
    };
  }

  /** The name of the engine's own workers, who come by a socket of their own. */
  get ownUser(): string | null {
    return this.#security === null ? null : engineUser;
  }

  /**
   * Puts a socket that is bound under guard: revoked keys lose their connections to it, and so does who never ends a message.
   * @param partingMs ms that a connection whose key is revoked stands on, for the answers that say so; 0 for a socket that owes none
   */
  guard(socket: Socket, partingMs: number): void {
    admission.start(this.#warn);
    socket.askForPeers();
    this.#guarded.set(socket, { connections: new Connections(), partingMs });
    this.#looks ??= new Pulse(beatIntervalMs, () => {
      this.#cutEndless();
      this.#memory.look();
    });
  }

  /** The name of whoever sent the message that the socket has received last; null in an engine without keys. */
  userOf(socket: Socket): string | null {
    const peer = socket.lastPeer;
    this.#guarded.get(socket)?.connections.note(peer);
    if (this.#security === null) return null;
    return (peer.user === null ? null : this.#access.nameOf(peer.user)) ?? formerUser;
  }

  /** Whether a connection that has just spoken has said more, or has ended, and libzmq has not read that yet. */
  get hasUnread(): boolean {
    for (const [port, { connections }] of this.#ports()) if (connections.hasUnread(port)) return true;
    return false;
  }

  /**
   * Takes another text of authorized clients, by which every message is judged from now on. Who has lost a right by it loses every
   * connection as well, once the answers that say so can have left.
   */
  admit(text: string): void {
    const before = this.#access;
    this.#access = this.#read(text);
    this.#hearAccess(this.#access);
    const revoked = new Set(before.revokedIn(this.#access));
    if (revoked.size === 0) return;
    const mayStay = (key: string): boolean => {
      const name = before.nameOf(key);
      return name === null ? this.#access.nameOf(key) !== null : !revoked.has(name);
    };
    for (const [port, { connections, partingMs }] of this.#ports()) {
      if (partingMs === 0) connections.cut(port, mayStay);
      else setTimeout(() => connections.cut(port, mayStay), partingMs).unref();
    }
  }

  /** Nobody comes in any more, who is in stays. */
  [Symbol.dispose](): void {
    this.#looks?.[Symbol.dispose]();
    clearTimeout(this.#soon);
    this.#zap?.[Symbol.dispose]();
  }

  /** Along with the beats: a robot that idles is not to be woken for it. */
  #cutEndless(): void {
    const suspects = [...this.#ports()].filter(([port, { connections }]) => connections.cutEndless(port));
    clearTimeout(this.#soon);
    if (suspects.length > 0) this.#soon = setTimeout(() => this.#cutEndless(), connectionLookMs).unref();
  }

  *#ports(): Generator<[number, Guarded], void, undefined> {
    for (const [socket, guarded] of this.#guarded) {
      if (socket.closed) this.#guarded.delete(socket);
      else yield [Number(/\d+$/.exec(socket.lastEndpoint)?.[0]), guarded];
    }
  }

  #read(text: string): Access {
    const access = Access.parse(text);
    if (access instanceof Access) return access;
    // The supervisor has checked the text. Should the two ever differ, nobody comes in.
    const closed = Access.parse("");
    if (closed instanceof Access) return closed;
    throw new Error(closed);
  }
}
