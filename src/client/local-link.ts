/** The way to whoever serves on the same machine, past libzmq: see `frontend`. */
import { messageFramesMax, requestorBeatMs, requestorSilenceMs } from "../limits.ts";
import type { Frame } from "../protocol/frame.ts";
import { Pulse } from "../transport/pulse.ts";
import { reactor } from "../transport/reactor.ts";
import { ShmConnection } from "../transport/shm/connection.ts";
import { localName } from "../transport/shm/name.ts";
import { portOwner } from "../transport/shm/port-owner.ts";
import { closeLine, dial, peerUid } from "../transport/shm/unix.ts";
import { saysLost } from "../transport/transport.ts";
import { type Link, lookMs, lost } from "./link.ts";

export class LocalLink implements Link {
  readonly #connection: ShmConnection;
  readonly #looks: Pulse;
  #isClosed = false;
  /** When it was there last, on the clock of performance.now(). */
  #stoodAt = Number.NEGATIVE_INFINITY;

  /**
   * To who serves at this address of this machine; null where nobody does by a Unix socket. Its name is free for all users where the
   * port is taken: so it counts only if it is of the port's user, of our own, or of root.
   */
  static to(host: string, port: number): LocalLink | null {
    const line = dial(localName(host, port));
    if (line === null) return null;
    const uid = peerUid(line.bell);
    const isTrusted = uid === 0 || uid === process.geteuid?.();
    if (uid !== null && (isTrusted || uid === portOwner(host, port))) return new LocalLink(new ShmConnection(line));
    closeLine(line);
    return null;
  }

  private constructor(connection: ShmConnection) {
    this.#connection = connection;
    this.#looks = new Pulse(requestorBeatMs, () => connection.endIfHalted(requestorSilenceMs));
  }

  get closed(): boolean {
    return this.#isClosed || this.#connection.closed;
  }

  /** There is no other connection that it could go by, but what is sent after the end of this one would count as sent. */
  get isClear(): boolean {
    const now = performance.now();
    if (now - this.#stoodAt < lookMs) return true;
    if (this.#connection.isDead) return false;
    this.#stoodAt = now;
    return true;
  }

  onReadable(handler: () => void): void {
    this.#connection.onReadable(handler);
  }

  /** At once: what the program does next may let nothing else run. */
  send(frames: readonly string[]): boolean {
    return this.#connection.trySend(frames) === "sent";
  }

  receive(): readonly Frame[] | null | typeof lost {
    const message = this.#connection.tryReceive(messageFramesMax);
    return message !== null && saysLost(message) ? lost : message;
  }

  async close(lingerMs: number): Promise<void> {
    this.#looks[Symbol.dispose]();
    this.#isClosed = true;
    // Nothing more is read.
    reactor.pause(this.#connection);
    const untilMs = performance.now() + lingerMs;
    while (!this.#connection.flush() && performance.now() < untilMs) await Bun.sleep(1);
    this.#connection.drop();
  }
}
