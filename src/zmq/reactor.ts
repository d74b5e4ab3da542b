/**
 * Waiting without blocking, in Bun's own event loop: the descriptor that libzmq has for each socket, an eventfd(2), is read from as
 * a file is. What is read was libzmq's own word that there is something to do; it is written back, so that libzmq finds it, too.
 *
 * Such a word is said once, and *any* call on a socket may swallow it. So a turn goes over all sockets until a whole pass finds
 * none readable; and every call that is made outside a turn asks for a look (`lookAgain`). Without either, a message can lie
 * unseen until the next one comes.
 */
import { socketsTurnMs } from "../limits.ts";
import { duplicate, libc, pollEntrySize, pollEventsOffset, pollReadable, pollReturnedOffset } from "./library.ts";
import type { Socket } from "./socket.ts";

/** ms that the process waits for a message by itself where it may, and how close two turns must be that it does. */
const waitHereMs = 1;
/** ms after which such a turn ends, so that timers and the supervisor's messages get theirs. */
const waitingTurnMs = 4;

interface Words {
  read(): Promise<{ readonly value?: Uint8Array | undefined }>;
  cancel(): Promise<void>;
}

/** Tells when libzmq has something to do for one socket. */
class Alert {
  /** Our own to the same eventfd: libzmq closes its one when it likes, and that number may then be another file's. */
  readonly #descriptor: number;
  readonly #onAlert: () => void;
  readonly #words: Words;
  /** Null while it is listened to. */
  #resume: (() => void) | null = null;
  #isPaused = false;
  #isOver = false;

  constructor(descriptor: number, onAlert: () => void) {
    this.#descriptor = libc.fcntl(descriptor, duplicate, 0);
    if (this.#descriptor < 0) throw new Error("there is no file descriptor left to wait for a socket");
    this.#onAlert = onAlert;
    this.#words = Bun.file(this.#descriptor).stream().getReader();
    void this.#listen();
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    this.#resume?.();
  }

  /** From now on nothing is taken from the eventfd: libzmq's own thread is about to wait for it. */
  end(): void {
    this.#isOver = true;
    void this.#words.cancel();
    this.#resume?.();
  }

  async #listen(): Promise<void> {
    while (!this.#isOver) {
      const { value } = await this.#words.read();
      // Also where it is over: then libzmq's own thread waits for it.
      if (value !== undefined && libc.write(this.#descriptor, value, value.length) !== value.length) {
        throw new Error("libzmq's word that there is something to do cannot be given back");
      }
      if (value === undefined || this.#isOver) break;
      this.#alert();
      // What is not taken would be said again and again.
      if (this.#isPaused) await this.#untilResumed();
    }
    libc.close(this.#descriptor);
  }

  /** What a handler throws ends the process, as it does from a timer. */
  #alert(): void {
    try {
      this.#onAlert();
    } catch (error) {
      setImmediate(() => {
        throw error;
      });
    }
  }

  async #untilResumed(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#resume = resolve;
    });
    this.#resume = null;
  }
}

interface Watch {
  readonly socket: Socket;
  readonly handler: () => void;
  readonly alert: Alert;
  isPaused: boolean;
}

export class Reactor {
  /** Is called when libzmq had something to do, and it was no message: somebody has connected, or is gone. */
  onOther: () => void = () => undefined;
  /**
   * Whether there is nothing to do now but to serve sockets. While one message follows the other, the next one is then waited for
   * outside of the event loop, which spares each the way through that. Timers and the supervisor's messages are up to `waitingTurnMs`
   * late then.
   */
  mayWaitHere: () => boolean = () => false;
  readonly #watches = new Map<Socket, Watch>();
  /** `struct pollfd` of each socket. */
  #polled = new Uint8Array(0);
  /** When a turn found something last. */
  #busyAt = Number.NEGATIVE_INFINITY;
  #inTurn = false;
  #lookPlanned = false;

  watch(socket: Socket, handler: () => void): void {
    const alert = new Alert(socket.descriptor, () => {
      socket.expect();
      if (!this.#turn()) this.onOther();
    });
    this.#watches.set(socket, { socket, handler, alert, isPaused: false });
    this.#polled = pollEntries(this.#watches.keys());
    this.lookAgain();
  }

  unwatch(socket: Socket): void {
    this.#watches.get(socket)?.alert.end();
    this.#watches.delete(socket);
    this.#polled = pollEntries(this.#watches.keys());
  }

  /** Leaves a socket alone until `resume`: its messages stay in libzmq's bounded queue. */
  pause(socket: Socket): void {
    const watch = this.#watches.get(socket);
    if (watch === undefined) return;
    watch.isPaused = true;
    watch.alert.pause();
  }

  resume(socket: Socket): void {
    const watch = this.#watches.get(socket);
    if (watch === undefined || !watch.isPaused) return;
    watch.isPaused = false;
    watch.alert.resume();
    this.lookAgain();
  }

  /** To be called after any use of a socket: the use may have swallowed the word that a message is there. */
  lookAgain(): void {
    if (this.#inTurn || this.#lookPlanned || this.#watches.size === 0) return;
    this.#lookPlanned = true;
    queueMicrotask(() => {
      this.#lookPlanned = false;
      this.#turn();
    });
  }

  /**
   * Gives the sockets their turns at once, for who is about to act on that something has not come; again while something comes
   * and `ms` are not over. It has not come once a tenth of that was quiet: libzmq's own thread may have been halted as long as this
   * one, and has to read it first. Not to be called by a handler.
   */
  lookNow(ms: number): void {
    for (const socket of this.#watches.keys()) socket.expect();
    const endAt = performance.now() + ms;
    do {
      while (this.#turn() && performance.now() < endAt);
    } while (performance.now() < endAt && this.#comesWithin(ms / 10));
  }

  /** False where nothing was there at all. */
  #turn(): boolean {
    if (this.#inTurn) return true;
    this.#inTurn = true;
    const startedAt = performance.now();
    const waitsUntil = startedAt - this.#busyAt < waitHereMs ? startedAt + waitingTurnMs : startedAt;
    let isAny = false;
    try {
      do {
        if (this.#pass()) isAny = true;
        else if (!this.#comesHere(waitsUntil)) return isAny;
      } while (performance.now() < startedAt + socketsTurnMs);
    } finally {
      if (isAny) this.#busyAt = performance.now();
      this.#inTurn = false;
    }
    // Timers, signals and the supervisor's messages have their turn.
    setImmediate(() => this.#turn());
    return true;
  }

  /** Whether something comes while this process waits for it. */
  #comesHere(until: number): boolean {
    return performance.now() < until && this.mayWaitHere() && this.#comesWithin(waitHereMs);
  }

  #comesWithin(ms: number): boolean {
    if (libc.poll(this.#polled, this.#polled.length / pollEntrySize, Math.floor(ms)) <= 0) return false;
    let entry = 0;
    for (const socket of this.#watches.keys()) {
      if (this.#polled[entry + pollReturnedOffset] !== 0) socket.expect();
      entry += pollEntrySize;
    }
    return true;
  }

  /** Gives every socket that is readable one call of its handler. False where none is. */
  #pass(): boolean {
    let isAny = false;
    for (const { isPaused, socket, handler } of this.#watches.values()) {
      if (isPaused || socket.isKnownEmpty || !socket.readable) continue;
      isAny = true;
      handler();
    }
    return isAny;
  }
}

const pollEntries = (sockets: Iterable<Socket>): Uint8Array<ArrayBuffer> => {
  const descriptors = [...sockets].map(({ descriptor }) => descriptor);
  const entries = new DataView(new ArrayBuffer(descriptors.length * pollEntrySize));
  for (const [index, descriptor] of descriptors.entries()) {
    entries.setInt32(index * pollEntrySize, descriptor, true);
    entries.setInt16(index * pollEntrySize + pollEventsOffset, pollReadable, true);
  }
  return new Uint8Array(entries.buffer);
};

export const reactor = new Reactor();
