/**
 * The router's end: a Unix socket at which the engine's own workers join it. Its file is for its user alone, so whoever comes is
 * one who could do as the engine does anyway, and needs no key.
 */
import { readFileSync, rmSync } from "node:fs";
import type { Socket, UnixSocketListener } from "bun";
import { beatIntervalMs, beatSilenceMs, workersMax } from "../limits.ts";
import { Pulse } from "../pulse.ts";
import { duplicateOf, libc } from "../zmq/library.ts";
import type { SendResult } from "../zmq/socket.ts";
import { closeAll, LocalConnection } from "./connection.ts";
import { isDead, peerPid } from "./unix.ts";

/** No key of a libzmq peer begins with it: each of their characters is a byte. */
const keyPrefix = "→";

/** The first socket of a line of which the second has not come yet. */
interface Half {
  readonly descriptor: number;
  /** It was there at the last look already. */
  isOld: boolean;
}

export class LocalPort {
  readonly #listener: UnixSocketListener<undefined>;
  readonly #joined: (connection: LocalConnection, key: string) => void;
  readonly #connections = new Map<string, LocalConnection>();
  /** By the pid of who has connected. */
  readonly #halves = new Map<number, Half>();
  readonly #looks: Pulse;
  #count = 0;

  /**
   * Takes the place of one that a router has left behind. Throws what the system says.
   * @param joined is given each connection and the key by which it is sent to; who reads it is to be set then
   * @param silenceMs after which it is looked whether a peer was halted
   */
  constructor(path: string, joined: (connection: LocalConnection, key: string) => void, silenceMs = beatSilenceMs) {
    this.#joined = joined;
    rmSync(path, { force: true });
    const mask = process.umask(0o177);
    try {
      const socket = { open: (stranger: Socket<undefined>) => this.#open(stranger), data: () => undefined };
      this.#listener = Bun.listen({ unix: path, socket });
    } finally {
      process.umask(mask);
    }
    this.#looks = new Pulse(Math.min(beatIntervalMs, silenceMs), () => {
      this.#forgetClosed();
      this.#endHalves();
      this.#endHalted(silenceMs);
    });
  }

  /** Whether the key is one of ours, be its connection gone. */
  has(key: string): boolean {
    return key.startsWith(keyPrefix);
  }

  /** Sends a whole message or nothing; never waits. */
  trySend(key: string, frames: readonly (Uint8Array | string)[]): SendResult {
    return this.#connections.get(key)?.trySend(frames) ?? "unreachable";
  }

  /** What is unsent goes out within the lingering time. */
  close(): void {
    this.#looks[Symbol.dispose]();
    closeAll([...this.#connections.values()]);
    for (const { descriptor } of this.#halves.values()) libc.close(descriptor);
    this.#halves.clear();
    this.#listener.stop(true);
  }

  /** Takes the socket from Bun before anything is read from it. A process connects both of a line one right after the other. */
  #open(stranger: Socket<undefined>): void {
    // Bun's types leave it out.
    const descriptor = duplicateOf((stranger as Socket<undefined> & { readonly fd: number }).fd);
    stranger.terminate();
    if (descriptor === null) return;
    const pid = peerPid(descriptor);
    const half = pid === null ? undefined : this.#takeHalf(pid);
    if (half !== undefined) {
      // Its owner has given it up: whoever halts a router finds it with one after the other in its backlog.
      if (isDead(descriptor)) {
        libc.close(half.descriptor);
        libc.close(descriptor);
        return;
      }
      const connection = new LocalConnection({ messages: half.descriptor, bell: descriptor });
      const key = `${keyPrefix}${++this.#count}`;
      this.#connections.set(key, connection);
      this.#joined(connection, key);
    } else if (pid !== null && this.#makeRoom()) this.#halves.set(pid, { descriptor, isOld: false });
    else libc.close(descriptor);
  }

  /** Not one that its owner has given up since. */
  #takeHalf(pid: number): Half | undefined {
    const half = this.#halves.get(pid);
    this.#halves.delete(pid);
    if (half === undefined || !isDead(half.descriptor)) return half;
    libc.close(half.descriptor);
    return undefined;
  }

  #forgetClosed(): void {
    for (const [key, { closed }] of this.#connections) if (closed) this.#connections.delete(key);
  }

  #makeRoom(): boolean {
    this.#forgetClosed();
    return this.#connections.size + this.#halves.size < workersMax;
  }

  /** Of somebody who does not know how to connect, or has died in between. */
  #endHalves(): void {
    for (const [pid, half] of this.#halves) {
      if (half.isOld) {
        libc.close(half.descriptor);
        this.#halves.delete(pid);
      }
      half.isOld = true;
    }
  }

  /** The kernel tells of a process that has died, but not of one that was halted, and may be holding what drives the robot. */
  #endHalted(silenceMs: number): void {
    for (const connection of this.#connections.values()) {
      if (connection.closed || performance.now() - connection.heardAt < silenceMs) continue;
      const pid = peerPid(connection.descriptor);
      if (pid !== null && isHalted(pid)) connection.end();
    }
  }
}

/** Whether it was stopped by a signal or a debugger, proc(5). The name before its state may have any character. */
const isHalted = (pid: number): boolean => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return /^[Tt]/.test(stat.slice(stat.lastIndexOf(")") + 2));
  } catch {
    return false; // It has ended: of that the connection tells.
  }
};
