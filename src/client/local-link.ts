/** The way to whoever serves on the same machine, past libzmq: see `frontend`. */
import { gatheredMessagesMax, messageFramesMax, requestorBeatMs, requestorSilenceMs } from "../limits.ts";
import { closeAll, LocalConnection } from "../local/connection.ts";
import { dial } from "../local/unix.ts";
import { Pulse } from "../pulse.ts";
import { saysLost } from "../zmq/lost.ts";
import { type Link, lookMs, lost } from "./link.ts";

export class LocalLink implements Link {
  readonly #connection: LocalConnection;
  readonly #looks: Pulse;
  /** The messages that wait for the end of this turn, or for as many others as go together at the most. */
  #gathered = 0;
  #isPlanned = false;
  /** When it was there last, on the clock of performance.now(). */
  #stoodAt = Number.NEGATIVE_INFINITY;

  /** To who listens under that name; null where nobody does. */
  static to(name: string): LocalLink | null {
    const line = dial(name);
    return line === null ? null : new LocalLink(new LocalConnection(line));
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

  /** The first message of a turn of the program goes out at once; what else is sent in it goes together. */
  send(frames: readonly string[]): boolean {
    if (this.#connection.gather(frames) !== "sent") return false;
    this.#gathered++;
    if (!this.#isPlanned || this.#gathered >= gatheredMessagesMax) this.#flush();
    if (!this.#isPlanned) {
      this.#isPlanned = true;
      queueMicrotask(() => {
        this.#isPlanned = false;
        this.#flush();
      });
    }
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

  #flush(): void {
    this.#gathered = 0;
    this.#connection.flush();
  }
}
