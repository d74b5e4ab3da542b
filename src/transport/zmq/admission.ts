/**
 * Stops accepting connections before the process is out of file descriptors. libzmq cannot: if
 * accept(2) fails, the listening socket stays readable, and its I/O thread retries without pause,
 * with a whole core.
 *
 * libzmq has no switch for that, so this module removes the listening sockets from libzmq's epoll
 * for a while: new connections wait in the kernel's backlog, existing ones are served. The
 * descriptors, and their marks in the epoll, are in /proc/self/fdinfo.
 *
 * To let an idle robot sleep, it looks with each heartbeat, soon after a new connection, and often
 * only while many are connected.
 */
import { openSync, readdirSync, readlinkSync, readSync } from "node:fs";
import { beatIntervalMs, connectionLookMs, descriptorsMax, descriptorsReserve } from "../../limits.ts";
import { epollDataOffset, epollEventSize, epollIn, epollModify, libc, socketOption } from "../libc.ts";
import { untilPulse } from "../pulse.ts";

interface Epoll {
  readonly descriptor: number;
  /** Its /proc/self/fdinfo, open from the start: at the limit nothing can be opened any more. */
  readonly info: number;
}

/** A listening socket in an epoll; `mark` is the pointer that epoll_wait gives back for it. */
interface ListeningSocket {
  readonly descriptor: number;
  readonly mark: bigint;
}

const openFilesLimit = 7; // RLIMIT_NOFILE, getrlimit(2)
const isListeningOption = 30; // SO_ACCEPTCONN, socket(7)

class Admission {
  #timer: Timer | null = null;
  /** Time of the next look, on the clock of performance.now(). */
  #lookAt = Number.POSITIVE_INFINITY;
  #epolls: readonly Epoll[] = [];
  #isPaused = false;
  #hasWarned = false;
  #warn: (line: string) => void = () => undefined;

  /** To be called when a socket has been bound. @param warn writes a line to the log */
  start(warn: (line: string) => void): void {
    if (this.#timer !== null) return;
    this.#warn = warn;
    this.#epolls = openEpolls();
    this.#lookIn(connectionLookMs);
  }

  /** To be called when a peer may have connected. */
  lookSoon(): void {
    if (this.#timer !== null) this.#lookIn(connectionLookMs);
  }

  /** Unless there is to be a look before that. */
  #lookIn(delayMs: number): void {
    const at = performance.now() + delayMs;
    if (at >= this.#lookAt) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#lookAt = at;
    this.#timer = setTimeout(() => {
      this.#lookAt = Number.POSITIVE_INFINITY;
      this.#lookIn(this.#look() ? connectionLookMs : untilPulse(Date.now(), beatIntervalMs));
    }, delayMs).unref();
  }

  /** Returns true if descriptors may soon run out. */
  #look(): boolean {
    const limit = descriptorsLimit();
    const reserve = Math.min(descriptorsReserve, limit / 4);
    if (this.#isPaused) {
      this.#pause(openDescriptors() > limit - 2 * reserve);
      return true;
    }
    const lowestFree = lowestFreeDescriptor();
    if (lowestFree >= limit - reserve) {
      this.#pause(true);
      this.#warnOnce(limit);
    }
    return lowestFree > limit / 2;
  }

  /** Said anew at each look: a socket may have been bound since. */
  #pause(isPaused: boolean): void {
    this.#isPaused = isPaused;
    const event = new DataView(new ArrayBuffer(epollEventSize));
    event.setUint32(0, isPaused ? 0 : epollIn, true);
    for (const epoll of this.#epolls) {
      for (const { descriptor, mark } of listenersOf(epoll)) {
        event.setBigUint64(epollDataOffset, mark, true);
        libc.epoll_ctl(epoll.descriptor, epollModify, descriptor, new Uint8Array(event.buffer));
      }
    }
  }

  /** Once, so that a flood of connections does not flood the log, too. */
  #warnOnce(limit: number): void {
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    this.#warn(
      `Process [${process.pid}] has almost ${limit} files and connections open: ` +
        "new connections wait until others close; look for a program that opens many (`ss -tn`); logged once",
    );
  }
}

export const admission = new Admission();

/** Number of descriptors that the system allows, and at most the configured limit. */
const descriptorsLimit = (): number => {
  const limits = new BigUint64Array(2);
  if (libc.getrlimit(openFilesLimit, limits) !== 0) return descriptorsMax;
  return Math.min(Number(limits[0]), descriptorsMax);
};

/** Returns the lowest free descriptor, so at least as many are in use; Infinity if none is free. */
const lowestFreeDescriptor = (): number => {
  const descriptor = libc.dup(0);
  if (descriptor < 0) return Number.POSITIVE_INFINITY;
  libc.close(descriptor);
  return descriptor;
};

/** Infinity where there are so many that they cannot be counted. */
const openDescriptors = (): number => {
  try {
    return readdirSync("/proc/self/fd").length;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
};

/** All of this process; those of libzmq's I/O threads are there from its first socket on. */
const openEpolls = (): Epoll[] =>
  readdirSync("/proc/self/fd")
    .filter(isEpoll)
    .map((name) => ({ descriptor: Number(name), info: openSync(`/proc/self/fdinfo/${name}`, "r") }));

const isEpoll = (name: string): boolean => {
  try {
    return readlinkSync(`/proc/self/fd/${name}`) === "anon_inode:[eventpoll]";
  } catch {
    return false; // Closed since: the one by which the folder was read.
  }
};

const listenersOf = ({ info }: Epoll): ListeningSocket[] =>
  [...readAll(info).matchAll(/^tfd:\s*(\d+) events:\s*[0-9a-f]+ data:\s*([0-9a-f]+)/gm)]
    .map(([, descriptor, mark]) => ({ descriptor: Number(descriptor), mark: BigInt(`0x${mark}`) }))
    .filter(({ descriptor }) => isListening(descriptor));

/** Reads a file of /proc, which has no size, to its end. Empty if its subject is gone. */
const readAll = (file: number): string => {
  const chunks: string[] = [];
  const chunk = Buffer.alloc(64 * 1024);
  try {
    for (let at = 0; ; ) {
      const length = readSync(file, chunk, 0, chunk.length, at);
      if (length === 0) return chunks.join("");
      chunks.push(chunk.toString("latin1", 0, length));
      at += length;
    }
  } catch {
    return "";
  }
};

const isListening = (descriptor: number): boolean => socketOption(descriptor, isListeningOption, 1)?.[0] === 1;
