/** The way to whoever serves on the same machine, past libzmq: see `frontend`. */
import { localBytesMax, messageFramesMax, requestorBeatMs, requestorSilenceMs } from "../limits.ts";
import { closeAll, LocalConnection } from "../local/connection.ts";
import { dial } from "../local/unix.ts";
import { Pulse } from "../pulse.ts";
import { saysLost } from "../zmq/lost.ts";
import { type Link, lookMs, lost } from "./link.ts";

export class LocalLink implements Link {
  readonly #connection: LocalConnection;
  readonly #looks: Pulse;
  #flushing = false;
  #gathered = 0;
  /** When it was there last, on the clock of performance.now(). */
  #stoodAt = Number.NEGATIVE_INFINITY;

  /** To who listens under that name; null where nobody does. */
  static to(name: string): LocalLink | null {
    const line = dial(name);
    return line === null ? null : new LocalLink(new LocalConnection(line, localBytesMax));
  }

  private constructor(connection: LocalConnection) {
    this.#connection = connection;
    this.#looks = new Pulse(requestorBeatMs, () => connection.endIfHalted(requestorSilenceMs));
  }

  get closed(): boolean {
    return this.#connection.closed;
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

  /** The first message goes out at once; what else is sent in the same turn of the program goes together, at the end of that. */
  send(frames: readonly string[]): boolean {
    if (this.#connection.gather(frames) !== "sent") return false;
    if (this.#flushing) {
      if (++this.#gathered % Number(process.env.GN ?? 16) === 0) this.#connection.flush();
      return true;
    }
    this.#connection.flush();
    this.#flushing = true;
    this.#gathered = 0;
    queueMicrotask(() => {
      this.#flushing = false;
      this.#connection.flush();
    });
    return true;
  }

  receive(): readonly Uint8Array[] | null | typeof lost {
    const message = this.#connection.tryReceive(messageFramesMax);
    return message !== null && saysLost(message) ? lost : message;
  }

  close(lingerMs: number): void {
    this.#looks[Symbol.dispose]();
    closeAll([this.#connection], lingerMs);
  }
}
