/**
 * The router's end: a Unix socket at which the engine's own workers join it. Its file is for its user alone, so whoever comes is
 * one who could do as the engine does anyway, and needs no key.
 */
import { readFileSync, rmSync } from "node:fs";
import type { UnixSocketListener } from "bun";
import { beatIntervalMs, beatSilenceMs, workersMax } from "../limits.ts";
import { Pulse } from "../pulse.ts";
import { libc } from "../zmq/library.ts";
import type { SendResult } from "../zmq/socket.ts";
import { closeAll, LocalConnection } from "./connection.ts";

/** No key of a libzmq peer begins with it: each of their characters is a byte. */
const keyPrefix = "→";

export class LocalPort {
  readonly #listener: UnixSocketListener<LocalConnection>;
  readonly #connections = new Map<string, LocalConnection>();
  readonly #looks: Pulse;
  #count = 0;

  /**
   * Takes the place of one that a router has left behind. Throws what the system says.
   * @param joined is given each connection and the key by which it is sent to; who reads it is to be set then
   * @param silenceMs after which it is looked whether a peer was halted
   */
  constructor(path: string, joined: (connection: LocalConnection, key: string) => void, silenceMs = beatSilenceMs) {
    rmSync(path, { force: true });
    const socket = LocalConnection.handlers((connection) => {
      if (!this.#makeRoom()) return connection.drop();
      const key = `${keyPrefix}${++this.#count}`;
      this.#connections.set(key, connection);
      joined(connection, key);
    });
    const mask = process.umask(0o177);
    try {
      this.#listener = Bun.listen({ unix: path, socket });
    } finally {
      process.umask(mask);
    }
    this.#looks = new Pulse(Math.min(beatIntervalMs, silenceMs), () => this.#endHalted(silenceMs));
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
    this.#listener.stop(true);
  }

  #makeRoom(): boolean {
    for (const [key, { closed }] of this.#connections) if (closed) this.#connections.delete(key);
    return this.#connections.size < workersMax;
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

const socketLevel = 1; // SOL_SOCKET, getsockopt(2)
const credentialsOption = 17; // SO_PEERCRED, unix(7)
const credentialsSize = 12; // struct ucred: pid, uid, gid

/** Of the process that has connected; null where the system does not say. */
const peerPid = (descriptor: number): number | null => {
  const credentials = new Int32Array(credentialsSize / 4);
  const size = new Int32Array([credentialsSize]);
  if (libc.getsockopt(descriptor, socketLevel, credentialsOption, credentials, size) !== 0) return null;
  return credentials[0] ?? null;
};

/** Whether it was stopped by a signal or a debugger, proc(5). The name before its state may have any character. */
const isHalted = (pid: number): boolean => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return /^[Tt]/.test(stat.slice(stat.lastIndexOf(")") + 2));
  } catch {
    return false; // It has ended: of that the connection tells.
  }
};
