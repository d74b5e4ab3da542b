/**
 * The client's ways past libzmq to the ports of an engine on its own machine (see
 * security/local-listener.ts): by the name of the address, without keys; by a file in the engine's
 * state folder, for the engine's own user and root. There a client with keys has the rights of its
 * key, and one without all rights. An older engine, or one behind a tunnel, has neither.
 */
import { dataMessageBytesMax } from "../limits.ts";
import { addressIn } from "../protocol/address.ts";
import { isLoopback } from "../security/exposure.ts";
import { dataSocketPath, engineFolders, frontSocketPath, stopSocketPath } from "../security/state-folders.ts";
import { isThere } from "../transport/libc.ts";
import { connectAt, connectBeside, ShmClient } from "../transport/shm/client.ts";
import type { ShmConnection } from "../transport/shm/connection.ts";
import type { ClientKeys } from "./keys.ts";

export class LocalEngine {
  readonly #router: Address;
  /** The folders in which this engine may have its files. */
  readonly #folders: readonly string[];
  /** The public ones, the engine's and this client's, if it has keys. */
  readonly #keys: readonly string[];
  /** An engine with keys has let this client in without any. */
  #isOwner = false;

  /**
   * @param endpoint of the router, on whatever machine
   * @param state the state folder of a local engine; null for the environment's or the usual ones
   */
  constructor(endpoint: string, { publicKeys }: ClientKeys, state: string | null) {
    this.#router = localAddress(endpoint);
    this.#folders = publicKeys === null ? [] : engineFolders(this.#router.port, state, process.env);
    this.#keys = publicKeys ?? [];
  }

  /** Connects to the router; null if it has no such way. */
  dialRouter(): ShmClient | null {
    const connection = this.#dial(this.#router, frontSocketPath);
    return connection === null ? null : new ShmClient(connection);
  }

  /** Connects to a port of a data worker that the engine has named; null if it has no such way. */
  dialData(endpoint: string): ShmConnection | null {
    const address = localAddress(endpoint);
    return this.#dial(address, (folder) => dataSocketPath(folder, address.port), dataMessageBytesMax);
  }

  /** Says why ZeroMQ would wait for ever for the ports of an engine; null if it does not. */
  get keysNeeded(): string | null {
    if (!this.#isOwner) return null;
    return "the data worker has no socket for its owner; name its key and yours by --server-key and --key";
  }

  /**
   * True if an engine of this user, which needs a key at its port, seems to run: it opens its
   * socket for local programs a moment after its port.
   */
  get mayCome(): boolean {
    if (this.#keys.length > 0 || !isLoopback(this.#router.host)) return false;
    return this.#folders.some((folder) => isThere(stopSocketPath(folder)));
  }

  #dial({ host, port }: Address, pathIn: (folder: string) => string, bytesMax?: number): ShmConnection | null {
    const named = this.#keys.length === 0 && isLoopback(host) ? connectBeside(host, port, bytesMax) : null;
    if (named !== null) return named;
    const introduction = [`${host}:${port}`, ...this.#keys].join(" ");
    for (const path of this.#folders.map(pathIn)) {
      const connection = isThere(path) ? connectAt(path, host, port, introduction, bytesMax) : null;
      if (connection === null) continue;
      this.#isOwner = this.#keys.length === 0;
      return connection;
    }
    return null;
  }
}

type Address = ReturnType<typeof addressIn>;

const localAddress = (endpoint: string): Address => {
  const { host, port } = addressIn(endpoint);
  return { host: host === "localhost" ? "127.0.0.1" : host, port };
};
