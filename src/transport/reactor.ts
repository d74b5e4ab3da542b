/**
 * Calls the handlers of all sources of messages in this process, fairly and without missing one.
 *
 * | state   | notices a message by                          | ends                          |
 * | ------- | --------------------------------------------- | ----------------------------- |
 * | asleep  | an alert of the event loop                    | with the alert                |
 * | turn    | asking each source, until a pass finds none   | when all are empty, or by time |
 * | waiting | reading memory, then poll(2), within a turn   | with a message, or by time    |
 * | looking | reading memory once an iteration of the loop  | with a message, or by `Spin`  |
 *
 * A turn that runs out of time is followed by another, after timers and other events. Only a
 * process that `mayWait` blocks its thread to wait; others look, if messages follow each other.
 *
 * libzmq announces a message once, and any call on one of its sockets may swallow that. So
 * `lookAgain` must follow each call outside a turn: else a message can lie unseen until the next.
 */
import { socketsTurnMs } from "../limits.ts";
import { libc, pollEntries, pollEntrySize, pollReadable, pollReturnedOffset } from "./libc.ts";
import { Spin } from "./spin.ts";

/** ms. A turn that follows the last message within this time waits for the next one. */
export const waitHereMs = 1;
/** ms between two calls of poll(2) while messages are seen in memory all the time. */
const pollEveryMs = 0.5;
/** ms of a turn that waits. Timers and the supervisor's messages come after it. */
const waitingTurnMs = 4;

/** Reports in the event loop that there may be something to receive, until its end. */
export interface Alert {
  pause(): void;
  resume(): void;
  end(): void;
}

/** A source of messages. */
export interface Source {
  /** poll(2) waits for it. */
  readonly descriptor: number;
  /** The last look found nothing, and nothing that memory shows has come since. */
  readonly isKnownEmpty: boolean;
  /** Looks, which takes a system call or two. */
  readonly readable: boolean;
  /**
   * Requests an alert, of a source whose messages memory shows and which sends none unasked.
   * Returns false where a message has come meanwhile.
   */
  requestWakeUp?(): boolean;
  /** There may be something to receive. */
  expect(): void;
  /** Calls the handler, after `expect`, whenever there may be something to receive. */
  listen(onAlert: () => void): Alert;
  /** An alert came, and no message. */
  onNothing?(): void;
}

interface Watch {
  readonly source: Source;
  readonly handler: () => void;
  /** Null until this process first sleeps: a source that is gone by then needs none. */
  alert: Alert | null;
  isPaused: boolean;
}

class Reactor {
  readonly #watches = new Map<Source, Watch>();
  /** Sources that are not paused, `struct pollfd` of each, and those that memory shows. */
  #sources: readonly Source[] = [];
  #polled = new Uint8Array(0);
  #visible: readonly Source[] = [];
  readonly #spin = new Spin();
  /** When a turn last found something, and when poll(2) was last called. */
  #busyAt = Number.NEGATIVE_INFINITY;
  #polledAt = Number.NEGATIVE_INFINITY;
  #isInTurn = false;
  /** The next turn comes by an alert, a microtask, an immediate or the look of an iteration. */
  #isMicrotaskPlanned = false;
  #isImmediatePlanned = false;
  #isLooking = false;
  #mayWaitMs: () => number = () => 0;

  /**
   * Lets this process wait by itself. Its main function calls this once; else no process waits.
   * @param mayWaitMs ms that it may wait now, with nothing to do but serve sockets; 0 for none.
   *   Timers and the supervisor's messages are up to `waitingTurnMs` late.
   */
  mayWait(mayWaitMs: () => number): void {
    this.#mayWaitMs = mayWaitMs;
  }

  watch(source: Source, handler: () => void): void {
    this.#watches.set(source, { source, handler, alert: null, isPaused: false });
    this.#changed();
    // A new peer is about to say something, or to be answered.
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
    if (watch === undefined || watch.isPaused) return;
    watch.isPaused = true;
    watch.alert?.pause();
    this.#changed();
  }

  resume(source: Source): void {
    const watch = this.#watches.get(source);
    if (watch === undefined || !watch.isPaused) return;
    watch.isPaused = false;
    watch.alert?.resume();
    this.#changed();
    this.lookAgain();
  }

  /** To be called after any use of a socket outside a turn. */
  lookAgain(): void {
    if (this.#isInTurn || this.#isMicrotaskPlanned || this.#watches.size === 0) return;
    this.#isMicrotaskPlanned = true;
    queueMicrotask(() => {
      this.#isMicrotaskPlanned = false;
      this.#turn();
    });
  }

  /**
   * Has turns at once, before the caller acts on the absence of a message: until none has come for
   * a tenth of `ms`, in which libzmq's own thread reads what came while both were halted, or until
   * `ms` are over. A handler must not call it.
   */
  lookNow(ms: number): void {
    for (const source of this.#sources) source.expect();
    const endAt = performance.now() + ms;
    do {
      while (this.#turn() && performance.now() < endAt);
    } while (performance.now() < endAt && this.#comesWithin(ms / 10));
  }

  /** Calls the handler of each source that has something once. False where none has. */
  readNow(): boolean {
    if (this.#isInTurn) return true;
    for (const source of this.#sources) if (source.requestWakeUp === undefined) source.expect();
    this.#comesWithin(0);
    this.#isInTurn = true;
    try {
      return this.#pass();
    } finally {
      this.#isInTurn = false;
    }
  }

  /** False where nothing was there at all. */
  #turn(): boolean {
    if (this.#isInTurn) return true;
    this.#isInTurn = true;
    const startedAt = performance.now();
    const waitsUntil = startedAt - this.#busyAt < waitHereMs ? startedAt + waitingTurnMs : startedAt;
    let isAny = false;
    try {
      do {
        if (this.#pass()) isAny = true;
        else if (isAny && waitsUntil > startedAt && this.#look()) return true;
        else if (!this.#comes(waitsUntil)) return isAny;
      } while (performance.now() < startedAt + socketsTurnMs);
    } finally {
      if (isAny) this.#busyAt = performance.now();
      this.#isInTurn = false;
    }
    this.#turnSoon();
    return true;
  }

  #turnSoon(): void {
    if (this.#isImmediatePlanned) return;
    this.#isImmediatePlanned = true;
    setImmediate(() => {
      this.#isImmediatePlanned = false;
      this.#turn();
    });
  }

  /** Calls the handler of each source that has something once. False where none has. */
  #pass(): boolean {
    let isAny = false;
    for (const { isPaused, source, handler } of this.#watches.values()) {
      if (isPaused || source.isKnownEmpty || !source.readable) continue;
      isAny = true;
      handler();
    }
    return isAny;
  }

  /** Begins to look for the next message in each iteration. False where that does not pay. */
  #look(): boolean {
    if (this.#isLooking) return true;
    if (this.#visible.length === 0 || this.#mayWaitMs() > 0 || !this.#spin.begin()) return false;
    this.#isLooking = true;
    const look = (): void => {
      const isSeen = this.#isSeen();
      if (isSeen) this.#spin.seen();
      else if (this.#watches.size > 0 && this.#spin.goOn()) {
        setImmediate(look);
        return;
      }
      this.#isLooking = false;
      if (isSeen || !this.#requestWakeUps()) this.#turn();
      else this.#listen();
    };
    setImmediate(look);
    return true;
  }

  /** Waits as long as this process may. True where something may have come; else alerts are on. */
  #comes(until: number): boolean {
    const leftMs = until - performance.now();
    const mayWaitMs = leftMs > 0 ? Math.min(this.#mayWaitMs(), Math.ceil(leftMs)) : 0;
    // A process that may wait for longer leaves the processor to those that it waits for.
    const maySpin = mayWaitMs > 0 && mayWaitMs <= waitHereMs && this.#visible.length > 0;
    if (maySpin && this.#spin.sees(this.#isSeen)) {
      // Sources that poll(2) alone tells of must not starve while something is seen each time.
      if (performance.now() >= this.#polledAt + pollEveryMs) this.#comesWithin(0);
      return true;
    }
    if (!this.#requestWakeUps() || (mayWaitMs > 0 && this.#comesWithin(mayWaitMs))) return true;
    this.#listen();
    return false;
  }

  /** Switches on the alerts of those that have none yet. */
  #listen(): void {
    for (const watch of this.#watches.values()) {
      if (watch.alert !== null) continue;
      const { source } = watch;
      watch.alert = source.listen(() => orEndProcess(() => this.#turn() || source.onNothing?.()));
      if (watch.isPaused) watch.alert.pause();
    }
  }

  readonly #isSeen = (): boolean => {
    for (const source of this.#visible) if (!source.isKnownEmpty) return true;
    return false;
  };

  /** False where something has come meanwhile. */
  #requestWakeUps(): boolean {
    let areAllEmpty = true;
    for (const source of this.#visible) if (source.requestWakeUp?.() === false) areAllEmpty = false;
    return areAllEmpty;
  }

  #comesWithin(ms: number): boolean {
    this.#polledAt = performance.now();
    if (libc.poll(this.#polled, this.#sources.length, Math.floor(ms)) <= 0) return false;
    for (let index = 0; index < this.#sources.length; index++) {
      if (this.#polled[index * pollEntrySize + pollReturnedOffset] !== 0) this.#sources[index]?.expect();
    }
    return true;
  }

  #changed(): void {
    this.#sources = [...this.#watches.values()].filter(({ isPaused }) => !isPaused).map(({ source }) => source);
    this.#visible = this.#sources.filter(({ requestWakeUp }) => requestWakeUp !== undefined);
    const descriptors = this.#sources.map(({ descriptor }) => descriptor);
    this.#polled = pollEntries(descriptors, pollReadable);
  }
}

/** An error that a handler throws ends the process, as one of a timer does. */
const orEndProcess = (work: () => void): void => {
  try {
    work();
  } catch (error) {
    setImmediate(() => {
      throw error;
    });
  }
};

/** The one of this process. */
export const reactor = new Reactor();
