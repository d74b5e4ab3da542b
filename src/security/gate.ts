/**
 * Access control of the sockets of one process: keys, ZAP handler, users of messages, and the end
 * of connections whose keys are revoked. In an engine without keys every peer may connect, and no
 * message has a user.
 */

import {
  arrivalsMax,
  backlogConnectionsMax,
  beatIntervalMs,
  beatSilenceMs,
  catchUpMsMax,
  connectionLookMs,
  frameBytesHardMax,
  handshakeMs,
  lingerMs,
  peerQueueMessagesMax,
} from "../limits.ts";
import { Pulse } from "../transport/pulse.ts";
import { reactor } from "../transport/reactor.ts";
import type { ShmListener } from "../transport/shm/listener.ts";
import { StartError } from "../transport/start-error.ts";
import { lostConnection } from "../transport/transport.ts";
import { admission } from "../transport/zmq/admission.ts";
import { Connections } from "../transport/zmq/connections.ts";
import { FreedMemory } from "../transport/zmq/freed-memory.ts";
import type { SocketOptions } from "../transport/zmq/options.ts";
import type { Socket } from "../transport/zmq/socket.ts";
import { Access, engineUser, formerUser, ownerUser } from "./access.ts";
import type { KeyPair } from "./certificate.ts";
import { curveServer, zapDomain } from "./curve.ts";
import { publicKeyOf } from "./keys.ts";
import { startZap } from "./zap.ts";

/** Keys of an engine. */
export interface Security {
  /** Keys of all sockets that bind. */
  readonly engine: KeyPair;
  /** The text of the file of authorized clients; empty if that cannot be used. */
  readonly authorized: string;
}

/** The identity of a local program that has no key. */
const owner = "";

interface Guarded {
  readonly connections: Connections;
  readonly partingMs: number;
}

const arrivalOptions = { handshakeInterval: handshakeMs, backlog: backlogConnectionsMax };

const routingOptions = {
  mandatory: true,
  linger: lingerMs,
  maxMessageSize: frameBytesHardMax,
  sendHighWaterMark: peerQueueMessagesMax,
  receiveHighWaterMark: arrivalsMax,
  disconnectMessage: lostConnection,
};

export class Gate implements Disposable {
  /** Writes a line to the log. */
  readonly warn: (line: string) => void;
  readonly #security: Security | null;
  readonly #zap: Disposable | null;
  readonly #guarded = new Map<Socket, Guarded>();
  /** With their partingMs. */
  readonly #guardedLocals = new Map<Pick<ShmListener, "cut">, number>();
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
    this.warn = warn;
    this.#access = accessOf(security?.authorized ?? "");
    if (security === null) {
      this.#zap = null;
      return;
    }
    const { publicKey, secretKey } = security.engine;
    if (publicKeyOf(secretKey) !== publicKey) {
      throw new StartError("the engine's public key does not belong to its secret key; make both again by keygen");
    }
    // The key, not the name: after a reload a name may have another key, while older messages are
    // still in a queue.
    this.#zap = startZap((key) => (this.#access.nameOf(key) === null ? null : key));
  }

  get hasKeys(): boolean {
    return this.#security !== null;
  }

  /** The present rights. */
  get access(): Access {
    return this.#access;
  }

  /** Calls the handler with the rights now, and at each change before any connection is cut. */
  onAccess(handler: (access: Access) => void): void {
    this.#hearAccess = handler;
    handler(this.#access);
  }

  /** Options of a socket that binds. */
  get serverOptions(): SocketOptions {
    return {
      ...arrivalOptions,
      // PINGs find a dead peer. The I/O threads send and answer them, so a worker whose task blocks
      // its thread does not seem dead.
      heartbeatInterval: beatIntervalMs,
      heartbeatTimeout: beatSilenceMs,
      heartbeatTimeToLive: beatSilenceMs,
      // A domain without CURVE admits every peer with ZMTP 3, and refuses older ones. libzmq takes
      // junk (a browser, a port scanner) for ZMTP 1, and never frees the 9 KB of such a peer that
      // has sent no routing id: its `disconnectMessage` is never read.
      ...(this.#security === null ? { zapDomain } : curveServer(this.#security.engine)),
    };
  }

  /** Options of a ROUTER socket that binds; it receives a message when a connection has ended. */
  get routerOptions(): SocketOptions {
    return {
      ...this.serverOptions,
      ...routingOptions,
    };
  }

  /**
   * The same for a Unix socket of this user alone, with neither keys nor ZAP. No PINGs: a process
   * whose interpreter is held by C code answers none; the supervisor watches it instead.
   */
  get localRouterOptions(): SocketOptions {
    return { ...arrivalOptions, ...routingOptions, ipcUser: process.geteuid?.() ?? -1 };
  }

  /** The user of the engine's own workers, which have a socket of their own. */
  get ownUser(): string | null {
    return this.#security === null ? null : engineUser;
  }

  /**
   * The identity of a program of the engine's owner: its public key, or empty for the owner. Null
   * if its keys do not fit.
   * @param keys the engine's public key and its own, or none (see local-listener.ts)
   */
  identify([engine, own = ""]: readonly string[]): string | null {
    if (engine === undefined) return owner;
    if (engine !== this.#security?.engine.publicKey) return null;
    if (own === engine) return owner;
    return this.#access.nameOf(own) === null ? null : own;
  }

  /** The user with such an identity. */
  localUserOf(identity: string): string {
    return identity === owner ? ownerUser : (this.#access.nameOf(identity) ?? formerUser);
  }

  /** As `guard`, for a listener whose peers have such identities. */
  guardLocal(listener: Pick<ShmListener, "cut">, partingMs: number): void {
    this.#guardedLocals.set(listener, partingMs);
  }

  /**
   * Ends connections to a bound socket if their key is revoked, or if they never end a message.
   * @param partingMs ms that a connection with a revoked key stays open for the answers that say
   * so; 0 for a socket without answers
   */
  guard(socket: Socket, partingMs: number): void {
    admission.start(this.warn);
    socket.askForPeers();
    this.#guarded.set(socket, { connections: new Connections(), partingMs });
    this.#looks ??= new Pulse(beatIntervalMs, () => {
      this.#cutEndless();
      this.#memory.look();
    });
  }

  /** The user of the last message that the socket has received; null in an engine without keys. */
  userOf(socket: Socket): string | null {
    const peer = socket.lastPeer;
    this.#guarded.get(socket)?.connections.note(peer);
    if (this.#security === null) return null;
    return (peer.user === null ? null : this.#access.nameOf(peer.user)) ?? formerUser;
  }

  /** A connection has sent more, or has ended, and libzmq has not read that yet. */
  get #hasUnread(): boolean {
    for (const [port, { connections }] of this.#ports()) if (connections.hasUnread(port)) return true;
    return false;
  }

  /**
   * Reads everything that has arrived, in a process that may have been halted or busy for long.
   * Otherwise a job could begin although a cancellation, or the end of its connection, waits behind
   * it in a queue. libzmq's own thread may have been halted, too, so the descriptors of the
   * connections tell if it has to read first. Blocks the thread. Not to be called by a handler of
   * the reactor.
   * @param awayMs ms since this process has looked last
   */
  catchUp(awayMs: number): void {
    const endAt = performance.now() + Math.min(awayMs, catchUpMsMax);
    for (let isMore = true; isMore && performance.now() < endAt; ) {
      // Before reading: input that libzmq reads meanwhile is received by the next turn.
      const isUnread = this.#hasUnread;
      const isAny = reactor.readNow();
      if (isUnread && !isAny) Bun.sleepSync(1);
      isMore = isUnread || isAny;
    }
    reactor.lookAgain();
  }

  /**
   * Replaces the text of authorized clients. A user with less rights than before loses its
   * connections, after the answers that say so.
   */
  admit(text: string): void {
    const before = this.#access;
    this.#access = accessOf(text);
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
    for (const [listener, partingMs] of this.#guardedLocals) {
      const cut = (): void => listener.cut((identity) => identity === owner || mayStay(identity));
      setTimeout(cut, partingMs).unref();
    }
  }

  /** From now on no connection is accepted; those that exist stay. */
  [Symbol.dispose](): void {
    this.#looks?.[Symbol.dispose]();
    clearTimeout(this.#soon);
    this.#zap?.[Symbol.dispose]();
  }

  /** Together with the heartbeats, to let an idle robot sleep. */
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
}

/** The supervisor has checked the text; should the two ever differ, nobody is let in. */
const accessOf = (text: string): Access => {
  const access = Access.parse(text);
  return access instanceof Access ? access : Access.nobody;
};
