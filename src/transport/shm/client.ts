/** A client's connection past libzmq to a listener on its own machine. */
import { messageFramesMax } from "../../limits.ts";
import { reactor } from "../reactor.ts";
import { type ClientConnection, type MessageFrame, type SendResult, unlostMs } from "../transport.ts";
import { ShmConnection } from "./connection.ts";
import { portOwner } from "./port-owner.ts";
import { closeLine, dial, isOwnOrRoot, localName, peerUid } from "./unix.ts";

/**
 * Connects to the listener beside a TCP port of this machine; null if there is none. Any user can
 * bind its name while the port is free, so it must be owned by the port's user, this user or root.
 * @param messageBytesMax of a message that comes
 */
export const connectBeside = (host: string, port: number, messageBytesMax?: number): ShmConnection | null =>
  connect(localName(host, port), (uid) => isOwnOrRoot(uid) || uid === portOwner(host, port), "", messageBytesMax);

/**
 * Connects to the listener at a path if it has the same user as that at the TCP port; null if there
 * is none, or the port is another machine's, or another user's, such as a tunnel. The user must be
 * this one or root, except that root may connect to anybody's.
 * @param introduction see `dial`
 */
export const connectAt = (
  path: string,
  host: string,
  port: number,
  introduction: string,
  messageBytesMax?: number,
): ShmConnection | null => {
  const owner = portOwner(host, port, host.startsWith("127."));
  if (owner === null || !(isOwnOrRoot(owner) || process.geteuid?.() === 0)) return null;
  return connect(path, (uid) => uid === owner, introduction, messageBytesMax);
};

/** @param isTrusted tells by the listener's user */
const connect = (
  path: string,
  isTrusted: (uid: number) => boolean,
  introduction: string,
  messageBytesMax: number | undefined,
): ShmConnection | null => {
  const line = dial(path, introduction);
  if (line === null) return null;
  const uid = peerUid(line.bell);
  if (uid !== null && isTrusted(uid)) return new ShmConnection(line, "", messageBytesMax).watchPeer();
  closeLine(line);
  return null;
};

export class ShmClient implements ClientConnection {
  readonly #connection: ShmConnection;
  #isClosed = false;
  /** When the connection was last seen to stand, on the clock of performance.now(). */
  #stoodAt = Number.NEGATIVE_INFINITY;

  /** As `connectBeside`. */
  static to(host: string, port: number): ShmClient | null {
    const connection = connectBeside(host, port);
    return connection === null ? null : new ShmClient(connection);
  }

  /** As `connectAt`. */
  static at(path: string, host: string, port: number, introduction: string): ShmClient | null {
    const connection = connectAt(path, host, port, introduction);
    return connection === null ? null : new ShmClient(connection);
  }

  /** Owns the connection from now on. */
  constructor(connection: ShmConnection) {
    this.#connection = connection;
  }

  get closed(): boolean {
    return this.#isClosed || this.#connection.closed;
  }

  /** This client has only one connection, but a message sent after its end would count as sent. */
  get isClear(): boolean {
    const now = performance.now();
    if (now - this.#stoodAt < unlostMs) return true;
    if (this.#connection.isDead) return false;
    this.#stoodAt = now;
    return true;
  }

  onReadable(handler: () => void): void {
    this.#connection.onReadable(handler);
  }

  /** At once: the program may let nothing else run after this. */
  trySend(frames: readonly MessageFrame[]): SendResult {
    return this.#connection.trySend(frames);
  }

  tryReceive(): MessageFrame[] | null {
    return this.#connection.tryReceive(messageFramesMax);
  }

  async linger(ms: number): Promise<void> {
    this.#isClosed = true;
    reactor.pause(this.#connection);
    const untilMs = performance.now() + ms;
    while (!this.#connection.flush() && performance.now() < untilMs) await Bun.sleep(1);
  }

  close(): void {
    this.#isClosed = true;
    this.#connection.close();
  }
}
