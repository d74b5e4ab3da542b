/**
 * Waiting without blocking: one thread per process sleeps in epoll_wait(2) on the sockets' file descriptors and wakes the
 * main thread, which drains every socket and arms the thread again.
 *
 * A descriptor of libzmq says "look", and says it once; *any* call on a socket may swallow that word. So a turn goes over
 * all sockets, arms the thread, and looks again, until a whole pass finds none readable; and every call that is made outside
 * a turn asks for a look (`lookAgain`). Without either, a message can lie unseen until the next one comes.
 */
import { JSCallback, type Pointer } from "bun:ffi";
import { socketsTurnMs } from "../limits.ts";
import {
  addressOf,
  epollCtl,
  epollEventSize,
  epollIn,
  epollOneShot,
  libc,
  monotonicClock,
  pinnedBytes,
  timespecMs,
  timespecSize,
} from "./library.ts";
import type { Socket } from "./socket.ts";

/** ms that the main thread waits for a message by itself where it `waitsHere`, and how close two turns must be that it does. */
const waitHereMs = 1;
/** ms after which such a turn ends, so that timers and the supervisor's messages get theirs. */
const waitingTurnMs = 4;

interface Watch {
  readonly socket: Socket;
  /** True: it has left some messages for its next turn. */
  readonly handler: () => unknown;
  readonly descriptor: number;
  paused: boolean;
}

export class Reactor {
  /**
   * True: this process does nothing but serve its sockets. While one message follows the other, the main thread then waits for
   * the next one by itself, which spares each the way through the other thread. Timers, promises and the supervisor's messages
   * are a few ms late then, so a process that runs tasks must not do it.
   */
  waitsHere = false;
  readonly #watches = new Map<Socket, Watch>();
  #other: { readonly descriptor: number; readonly handler: () => void } | null = null;
  #thread: Worker | null = null;
  #wake: JSCallback | null = null;
  /** Holds all sockets' descriptors, level-triggered. */
  #inner = -1;
  /** Holds `#inner` alone, one-shot: one system call arms the thread for all sockets. */
  #outer = -1;
  #inTurn = false;
  /** The thread sleeps, or has woken and its call is on its way: either way a turn will come. */
  #isArmed = false;
  #lookPlanned = false;
  readonly #event = pinnedBytes(epollEventSize);
  /** struct timespec, written by the thread right before it wakes us. */
  readonly #wokenAt = pinnedBytes(timespecSize);
  readonly #clock = pinnedBytes(timespecSize);
  #wokenAtArming = 0;
  #turnEndedUnarmedAt: number | null = null;
  /** When a turn found something last. */
  #busyAt = Number.NEGATIVE_INFINITY;

  watch(socket: Socket, handler: () => unknown): void {
    this.#start();
    const descriptor = socket.descriptor;
    this.#watches.set(socket, { socket, handler, descriptor, paused: false });
    this.#control(this.#inner, epollCtl.add, descriptor, epollIn);
    this.lookAgain();
  }

  unwatch(socket: Socket): void {
    const watch = this.#watches.get(socket);
    if (watch === undefined) return;
    this.#watches.delete(socket);
    if (!watch.paused) this.#control(this.#inner, epollCtl.del, watch.descriptor, 0);
    if (this.#watches.size === 0) this.#stop();
  }

  /** Also calls `handler` when this descriptor, which is no socket's, is readable, for as long as there are sockets to wait for. */
  watchOther(descriptor: number, handler: () => void): void {
    this.#other = { descriptor, handler };
    if (this.#inner >= 0) this.#control(this.#inner, epollCtl.add, descriptor, epollIn);
  }

  /** Leaves a socket alone until `resume`: its messages stay in libzmq's bounded queue. */
  pause(socket: Socket): void {
    const watch = this.#watches.get(socket);
    if (watch === undefined || watch.paused) return;
    watch.paused = true;
    this.#control(this.#inner, epollCtl.del, watch.descriptor, 0);
  }

  resume(socket: Socket): void {
    const watch = this.#watches.get(socket);
    if (watch === undefined || !watch.paused) return;
    watch.paused = false;
    this.#control(this.#inner, epollCtl.add, watch.descriptor, epollIn);
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
   * and `ms` are not over. Not to be called by a handler.
   */
  lookNow(ms: number): void {
    const endAt = performance.now() + ms;
    do this.#turn();
    while (!this.#isArmed && performance.now() < endAt);
  }

  /** What a handler throws would vanish in the foreign call: it is thrown again where Bun reports it and ends the process. */
  #turnFromThread(): void {
    this.#isArmed = false;
    try {
      this.#turn(true);
    } catch (error) {
      setImmediate(() => {
        throw error;
      });
    }
  }

  /**
   * ms that the messages which are read now may have lain unread at most: the main thread may have been blocked by other
   * work when they came. 0 where they cannot have waited.
   */
  get waitedMs(): number {
    const since = this.#turnEndedUnarmedAt ?? (this.#woken === this.#wokenAtArming ? null : this.#woken);
    return since === null ? 0 : Math.max(0, this.#now() - since);
  }

  get #woken(): number {
    return timespecMs(this.#wokenAt);
  }

  /** ms of the one clock that both threads read: those of JavaScript begin at each thread's own start. */
  #now(): number {
    libc.clock_gettime(monotonicClock, this.#clock);
    return timespecMs(this.#clock);
  }

  #turn(isWoken = false): void {
    if (this.#inTurn || this.#watches.size === 0) return;
    this.#inTurn = true;
    const startedAt = performance.now();
    const waitsUntil = this.waitsHere && startedAt - this.#busyAt < waitHereMs ? startedAt + waitingTurnMs : startedAt;
    try {
      let isFirst = true;
      do {
        const seen = this.#pass();
        // Woken, and not for a socket.
        if (isWoken && isFirst && seen === "nothing") this.#other?.handler();
        isFirst = false;
        // Between the last look and the arming a message may have come, whose edge another call has taken: look once more.
        if (seen === "nothing" && this.#isArmed) return;
        if (this.#isMoreHere(seen, waitsUntil)) continue;
        // While there is more it is no use to be woken.
        if (seen !== "more" && !this.#isArmed) this.#arm();
      } while (performance.now() < startedAt + socketsTurnMs);
      this.#turnEndedUnarmedAt = this.#now();
      setImmediate(() => this.#turn());
    } finally {
      this.#inTurn = false;
    }
  }

  /** Gives every socket that is readable one call of its handler. */
  #pass(): "nothing" | "all" | "more" {
    let seen: "nothing" | "all" | "more" = "nothing";
    for (const watch of this.#watches.values()) {
      if (watch.paused || !watch.socket.readable) continue;
      const isMore = watch.handler() === true;
      if (seen !== "more") seen = isMore ? "more" : "all";
    }
    return seen;
  }

  /** Whether to look again, for there may be more or something has come, before the thread is armed. */
  #isMoreHere(seen: "nothing" | "all" | "more", waitsUntil: number): boolean {
    const now = performance.now();
    if (seen !== "nothing") this.#busyAt = now;
    if (this.#isArmed || now >= waitsUntil) return false;
    if (seen !== "nothing") return true;
    this.#beginWait();
    // What is here already ends the wait at once: the descriptors are level-triggered.
    return libc.epoll_wait(this.#inner, this.#event, 1, waitHereMs) > 0;
  }

  /** What is read after this has not lain unread. */
  #beginWait(): void {
    this.#wokenAtArming = this.#woken;
    this.#turnEndedUnarmedAt = null;
  }

  #arm(): void {
    this.#isArmed = true;
    this.#beginWait();
    if (this.#outer >= 0) this.#control(this.#outer, epollCtl.mod, this.#inner, epollIn | epollOneShot);
  }

  #start(): void {
    if (this.#thread !== null) return;
    this.#inner = libc.epoll_create1(0);
    this.#outer = libc.epoll_create1(0);
    this.#control(this.#outer, epollCtl.add, this.#inner, epollIn | epollOneShot);
    if (this.#other !== null) this.#control(this.#inner, epollCtl.add, this.#other.descriptor, epollIn);
    // Both are kept as fields: collected, they would leave the thread a dead pointer.
    this.#wake = new JSCallback(() => this.#turnFromThread(), { args: [], returns: "void", threadsafe: true });
    this.#thread = new Worker(new URL("./reactor-thread.ts", import.meta.url));
    this.#thread.postMessage({
      epoll: this.#outer,
      wake: this.#wake.ptr as Pointer,
      wokenAt: addressOf(this.#wokenAt),
    });
  }

  #stop(): void {
    this.#isArmed = false;
    this.#thread?.terminate();
    this.#thread = null;
    libc.close(this.#outer);
    libc.close(this.#inner);
    this.#outer = -1;
    this.#inner = -1;
  }

  #control(epoll: number, operation: number, descriptor: number, events: number): void {
    new DataView(this.#event.buffer).setUint32(0, events, true);
    if (libc.epoll_ctl(epoll, operation, descriptor, this.#event) !== 0) {
      throw new Error(`epoll_ctl(${operation}) failed for descriptor ${descriptor}`);
    }
  }
}

export const reactor = new Reactor();
