/**
 * Waiting without blocking: the event loop tells of each source that there may be something to receive, and all of them get their turn.
 *
 * libzmq says such a word once, and *any* call on one of its sockets may swallow it. So a turn goes over all sources until a whole
 * pass finds none readable; and every call on a socket that is made outside a turn asks for a look (`lookAgain`). Without either, a
 * message can lie unseen until the next one comes.
 */
import { socketsTurnMs } from "../limits.ts";
import { libc, pollEntries, pollEntrySize, pollReadable, pollReturnedOffset } from "./libc.ts";
import { Spin } from "./spin.ts";

/** ms: how close two turns must be that the process waits for the next message by itself, and how long most may at once. */
export const waitHereMs = 1;
/** ms between two looks at what only the system tells of, while there is something to do all the time. */
const pollEveryMs = 0.5;
/** ms after which such a turn ends, so that timers and the supervisor's messages get theirs. */
const waitingTurnMs = 4;

/** Tells in the event loop that there may be something to receive, until its end. */
export interface Alert {
  pause(): void;
  resume(): void;
  end(): void;
}

/** Something that messages come from. */
export interface Source {
  /** What poll(2) waits for. */
  readonly descriptor: number;
  /** Nothing is there, or nothing was and nothing has said since that something has come: what does is announced by the descriptor. */
  readonly isKnownEmpty: boolean;
  /** Looks, which is a call to the system or two. */
  readonly readable: boolean;
  /**
   * To be said before waiting for the descriptor, for a source that announces nothing by it while it need not. False where something has
   * come meanwhile.
   */
  rest?(): boolean;
  /** The descriptor says that there may be something to receive. */
  expect(): void;
  /** Calls the handler whenever there may be something to receive, after it has expected that itself. */
  listen(onAlert: () => void): Alert;
}

interface Watch {
  readonly source: Source;
  readonly handler: () => void;
  /** Null until this process first sleeps: one that is gone by then needs none. */
  alert: Alert | null;
  isPaused: boolean;
}

export class Reactor {
  /** Is called when libzmq had something to do, and it was no message: somebody has connected, or is gone. */
  onOther: () => void = () => undefined;
  /**
   * ms that this process may wait for now by itself, as there is nothing to do but to serve sockets; 0 for not at all. While one message
   * follows the other, the next one is then waited for outside of the event loop, which spares each the way through that. Timers and the
   * supervisor's messages are up to `waitingTurnMs` late then.
   */
  mayWaitMs: () => number = () => 0;
  readonly #watches = new Map<Source, Watch>();
  /** `struct pollfd` of each source. */
  #polled = new Uint8Array(0);
  readonly #spin = new Spin();
  /** When a turn found something last. */
  #busyAt = Number.NEGATIVE_INFINITY;
  /** Whether there is a source that tells without a call to the system whether something has come. */
  #canSee = false;
  #inTurn = false;
  #isLingering = false;
  #polledAt = Number.NEGATIVE_INFINITY;
  #lookPlanned = false;
  #turnPlanned = false;

  watch(source: Source, handler: () => void): void {
    this.#watches.set(source, { source, handler, alert: null, isPaused: false });
    this.#changed();
    // Who has just connected is about to say something, or to be answered.
    this.#busyAt = performance.now();
    this.lookAgain();
  }

  unwatch(source: Source): void {
    this.#watches.get(source)?.alert?.end();
    if (this.#watches.delete(source)) this.#changed();
  }

  /** Leaves a source alone until `resume`: its messages stay in a queue that is bounded. */
  pause(source: Source): void {
    const watch = this.#watches.get(source);
    if (watch === undefined) return;
    watch.isPaused = true;
    watch.alert?.pause();
  }

  resume(source: Source): void {
    const watch = this.#watches.get(source);
    if (watch === undefined || !watch.isPaused) return;
    watch.isPaused = false;
    watch.alert?.resume();
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
   * Gives the sources their turns at once, for who is about to act on that something has not come; again while something comes
   * and `ms` are not over. It has not come once a tenth of that was quiet: libzmq's own thread may have been halted as long as this
   * one, and has to read it first. Not to be called by a handler.
   */
  lookNow(ms: number): void {
    for (const source of this.#watches.keys()) source.expect();
    const endAt = performance.now() + ms;
    do {
      while (this.#turn() && performance.now() < endAt);
    } while (performance.now() < endAt && this.#comesWithin(ms / 10));
  }

  /** Gives each source that has something one call of its handler, and waits for nothing. False where none has. */
  readNow(): boolean {
    if (this.#inTurn) return true;
    for (const source of this.#watches.keys()) if (source.rest === undefined) source.expect();
    this.#comesWithin(0);
    this.#inTurn = true;
    try {
      return this.#pass();
    } finally {
      this.#inTurn = false;
    }
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
        else if (isAny && waitsUntil > startedAt && this.#linger()) return true;
        else if (!this.#comes(waitsUntil)) return isAny;
      } while (performance.now() < startedAt + socketsTurnMs);
    } finally {
      if (isAny) this.#busyAt = performance.now();
      this.#inTurn = false;
    }
    // Timers, signals and the supervisor's messages have their turn.
    this.#turnSoon();
    return true;
  }

  /** One alone, however many alerts have led to a turn that took its whole time. */
  #turnSoon(): void {
    if (this.#turnPlanned) return;
    this.#turnPlanned = true;
    setImmediate(() => {
      this.#turnPlanned = false;
      this.#turn();
    });
  }

  /**
   * Where the process may not wait by itself, and messages follow one another, what comes next is looked for within the event loop, for a
   * moment, among all that has its turn there. False where that is left.
   */
  #linger(): boolean {
    if (this.#isLingering) return true;
    if (!this.#canSee || this.mayWaitMs() > 0 || !this.#spin.begin()) return false;
    this.#isLingering = true;
    const look = (): void => {
      const isSeen = this.#isSeen();
      if (isSeen) this.#spin.seen();
      else if (this.#watches.size > 0 && this.#spin.goOn()) {
        setImmediate(look);
        return;
      }
      this.#isLingering = false;
      if (isSeen || !this.#restAll()) this.#turn();
      else this.#listen();
    };
    setImmediate(look);
    return true;
  }

  /** Whether something comes while this process waits for it by itself; it is ready to be told when this is false. */
  #comes(until: number): boolean {
    const leftMs = until - performance.now();
    const mayWaitMs = leftMs > 0 ? Math.min(this.mayWaitMs(), Math.ceil(leftMs)) : 0;
    // Who may wait for longer leaves the processor to those whom it waits for.
    const mayLook = mayWaitMs > 0 && mayWaitMs <= waitHereMs && this.#canSee;
    if (mayLook && this.#spin.sees(this.#isSeen)) {
      // What only the system tells of must not wait for as long as something is seen each time.
      if (performance.now() >= this.#polledAt + pollEveryMs) this.#comesWithin(0);
      return true;
    }
    if (!this.#restAll() || (mayWaitMs > 0 && this.#comesWithin(mayWaitMs))) return true;
    this.#listen();
    return false;
  }

  /** To be told by the event loop. */
  #listen(): void {
    for (const watch of this.#watches.values()) {
      if (watch.alert !== null) continue;
      watch.alert = watch.source.listen(() => orEndProcess(() => this.#turn() || this.onOther()));
      if (watch.isPaused) watch.alert.pause();
    }
  }

  /** Whether there is something that can be seen without a call to the system. */
  readonly #isSeen = (): boolean => {
    for (const { isPaused, source } of this.#watches.values()) {
      if (!isPaused && source.rest !== undefined && !source.isKnownEmpty) return true;
    }
    return false;
  };

  /** False where something has come meanwhile. */
  #restAll(): boolean {
    let areAllAtRest = true;
    for (const { isPaused, source } of this.#watches.values()) {
      if (!isPaused && source.rest?.() === false) areAllAtRest = false;
    }
    return areAllAtRest;
  }

  #changed(): void {
    const sources = [...this.#watches.keys()];
    this.#polled = pollEntries(
      sources.map(({ descriptor }) => descriptor),
      pollReadable,
    );
    this.#canSee = sources.some(({ rest }) => rest !== undefined);
  }

  #comesWithin(ms: number): boolean {
    this.#polledAt = performance.now();
    if (libc.poll(this.#polled, this.#polled.length / pollEntrySize, Math.floor(ms)) <= 0) return false;
    let entry = 0;
    for (const source of this.#watches.keys()) {
      if (this.#polled[entry + pollReturnedOffset] !== 0) source.expect();
      entry += pollEntrySize;
    }
    return true;
  }

  /** Gives every source that is readable one call of its handler. False where none is. */
  #pass(): boolean {
    let isAny = false;
    for (const { isPaused, source, handler } of this.#watches.values()) {
      if (isPaused || source.isKnownEmpty || !source.readable) continue;
      isAny = true;
      handler();
    }
    return isAny;
  }
}

/** What a handler throws ends the process, as it does from a timer. */
const orEndProcess = (work: () => void): void => {
  try {
    work();
  } catch (error) {
    setImmediate(() => {
      throw error;
    });
  }
};

export const reactor = new Reactor();
