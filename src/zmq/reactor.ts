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

interface Watch {
  readonly socket: Socket;
  /** True: it has left some messages for its next turn. */
  readonly handler: () => unknown;
  readonly descriptor: number;
  paused: boolean;
}

export class Reactor {
  readonly #watches = new Map<Socket, Watch>();
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

  /** What a handler throws would vanish in the foreign call: it is thrown again where Bun reports it and ends the process. */
  #turnFromThread(): void {
    this.#isArmed = false;
    try {
      this.#turn();
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

  #turn(): void {
    if (this.#inTurn || this.#watches.size === 0) return;
    this.#inTurn = true;
    try {
      for (const endMs = this.#now() + socketsTurnMs; this.#now() < endMs; ) {
        const seen = this.#pass();
        // Between the last look and the arming a message may have come, whose edge another call has taken: look once more.
        if (seen === "nothing" && this.#isArmed) return;
        // While there is more it is no use to be woken.
        if (seen !== "more" && !this.#isArmed) this.#arm();
      }
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

  #arm(): void {
    this.#isArmed = true;
    this.#wokenAtArming = this.#woken;
    this.#turnEndedUnarmedAt = null;
    if (this.#outer >= 0) this.#control(this.#outer, epollCtl.mod, this.#inner, epollIn | epollOneShot);
  }

  #start(): void {
    if (this.#thread !== null) return;
    this.#inner = libc.epoll_create1(0);
    this.#outer = libc.epoll_create1(0);
    this.#control(this.#outer, epollCtl.add, this.#inner, epollIn | epollOneShot);
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
