/**
 * Stops taking connections in before the process is out of file descriptors. libzmq cannot: its accept(2) then fails, the
 * listening socket stays readable, and its I/O thread tries again at once and for ever, with a whole core.
 *
 * libzmq has no switch for it either. So its epoll is told, behind its back, not to report the listening sockets for a while:
 * who connects waits in the kernel's backlog, and those that are connected are served on. What must be known for that
 * (which descriptor is in which epoll, and under what mark) the kernel tells in /proc/self/fdinfo.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { connectionLookMs, descriptorsMax, descriptorsReserve } from "../limits.ts";
import { warn } from "../log.ts";
import { epollCtl, epollDataOffset, epollEventSize, epollIn, libc } from "./library.ts";

/** A listening socket in the epoll of an I/O thread; `mark` is the pointer that epoll_wait gives back for it. */
interface Listener {
  readonly epoll: number;
  readonly descriptor: number;
  readonly mark: bigint;
}

const openFilesLimit = 7; // RLIMIT_NOFILE, getrlimit(2)
const socketLevel = 1; // SOL_SOCKET, getsockopt(2)
const isListeningOption = 30; // SO_ACCEPTCONN, socket(7)

class Admission {
  #timer: Timer | null = null;
  #listeners: Listener[] = [];
  /** Sockets were bound or closed since the listeners were looked for. */
  #isStale = false;
  #isPaused = false;
  #hasWarned = false;

  /** To be called when a socket has been bound or closed. */
  socketsChanged(): void {
    this.#isStale = true;
    this.#timer ??= setInterval(() => this.#look(), connectionLookMs).unref();
  }

  #look(): void {
    const limit = descriptorsLimit();
    const reserve = Math.min(descriptorsReserve, limit / 4);
    // Read anew where that is possible at all: at the very limit not even /proc can be opened.
    if (this.#isStale || this.#isPaused) this.#refresh();
    if (this.#isPaused) {
      if (openDescriptors() <= limit - 2 * reserve) this.#setPaused(false);
      // What has been bound meanwhile waits with the others.
      else this.#apply();
    } else if (lowestFreeDescriptor() >= limit - reserve) {
      this.#setPaused(true);
      this.#warn(limit);
    }
  }

  #refresh(): void {
    const listeners = findListeners();
    if (listeners === null) return;
    this.#listeners = listeners;
    this.#isStale = false;
  }

  #setPaused(isPaused: boolean): void {
    this.#isPaused = isPaused;
    this.#apply();
  }

  #apply(): void {
    // A descriptor that was closed may be another file's by now, and its mark a dead pointer.
    if (this.#isStale) return;
    const event = new DataView(new ArrayBuffer(epollEventSize));
    event.setUint32(0, this.#isPaused ? 0 : epollIn, true);
    for (const { epoll, descriptor, mark } of this.#listeners) {
      event.setBigUint64(epollDataOffset, mark, true);
      libc.epoll_ctl(epoll, epollCtl.mod, descriptor, new Uint8Array(event.buffer));
    }
  }

  /** Once: whoever opens connections by the thousand should not write the log as well. */
  #warn(limit: number): void {
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    warn(
      `Process [${process.pid}] has almost ${limit} files and connections open: new connections wait until others close; ` +
        "look for a program that opens many (`ss -tn`); said once",
    );
  }
}

export const admission = new Admission();

/** What the system allows this process, and not more than it is meant to use. */
const descriptorsLimit = (): number => {
  const limits = new BigUint64Array(2);
  if (libc.getrlimit(openFilesLimit, limits) !== 0) return descriptorsMax;
  return Math.min(Number(limits[0]), descriptorsMax);
};

/** The kernel gives the lowest free number: so many are in use at least. Infinity where there is none. */
const lowestFreeDescriptor = (): number => {
  const descriptor = libc.dup(0);
  if (descriptor < 0) return Number.POSITIVE_INFINITY;
  libc.close(descriptor);
  return descriptor;
};

/** Infinity where there are so many that they cannot be counted. */
const openDescriptors = (): number => descriptorNames()?.length ?? Number.POSITIVE_INFINITY;

/** null where none is left for asking. */
const descriptorNames = (): string[] | null => {
  try {
    return readdirSync("/proc/self/fd");
  } catch {
    return null;
  }
};

/** null where there is no descriptor left to look with. */
const findListeners = (): Listener[] | null => {
  const names = descriptorNames();
  if (names === null) return null;
  try {
    return names.filter(isEpoll).flatMap((name) => {
      const info = readFileSync(`/proc/self/fdinfo/${name}`, "latin1");
      const watched = [...info.matchAll(/^tfd:\s*(\d+) events:\s*[0-9a-f]+ data:\s*([0-9a-f]+)/gm)];
      return watched
        .map(([, descriptor, mark]) => ({
          epoll: Number(name),
          descriptor: Number(descriptor),
          mark: BigInt(`0x${mark}`),
        }))
        .filter(({ descriptor }) => isListening(descriptor));
    });
  } catch {
    return null;
  }
};

const isEpoll = (name: string): boolean => {
  try {
    return readlinkSync(`/proc/self/fd/${name}`) === "anon_inode:[eventpoll]";
  } catch {
    return false; // Closed since: the one by which the folder was read, for instance.
  }
};

const isListening = (descriptor: number): boolean => {
  const value = new Int32Array(1);
  const size = new Int32Array([4]);
  return libc.getsockopt(descriptor, socketLevel, isListeningOption, value, size) === 0 && value[0] === 1;
};
