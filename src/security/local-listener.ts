/**
 * The Unix socket beside a port, for programs of the same machine. Over that one, a message needs a
 * system call only to wake a sleeping peer, and no other thread.
 *
 * - In an engine without keys on a loopback address it is named after the address and has no file:
 *   like the port, it exists in the network namespace for as long as its process, and is open to
 *   all users. A client trusts it if it is owned by the port's user, by the client's own user or by
 *   root.
 * - In an engine with keys it is a file in the state folder (0700), and the kernel says whose
 *   process connects (SO_PEERCRED): the engine's own user and root come in, who could read the
 *   engine's key anyway. Everybody else is cut, and comes by the port and with a key.
 *
 * A program introduces itself there by the address that it wants to reach, `HOST:PORT`, since a
 * tunnel on another address of this machine may have the same port. If it has keys, the engine's
 * public one and its own follow. It has the rights of that client then. If the keys do not fit, it
 * is cut, and finds that out once more at the port. It proves nothing, since without keys it would
 * be the owner, who has all rights.
 */
import { partingMs } from "../limits.ts";
import type { ShmConnection } from "../transport/shm/connection.ts";
import { ShmListener, type ShmListenerOptions } from "../transport/shm/listener.ts";
import { localName, socketPathBytesMax } from "../transport/shm/unix.ts";
import { StartError } from "../transport/start-error.ts";
import { isLoopback } from "./exposure.ts";
import type { Gate } from "./gate.ts";

/** The address of a port, and the Unix socket beside it. */
export interface PortAddress {
  readonly host: string;
  readonly port: number;
  /** Path of the socket file, for an engine with keys; null for none. */
  readonly socket: string | null;
}

export interface LocalListener {
  readonly listener: ShmListener;
  /** The user of the last message of a connection; null in an engine without keys. */
  readonly userOf: (connection: ShmConnection) => string | null;
}

type Bounds = Omit<ShmListenerOptions, "path" | "isPrivate" | "identify">;

/**
 * Opens the socket beside a port that is bound; null if it has none. Replaces a file that an
 * earlier process left, so the caller must belong to the engine that has locked the state folder.
 * Throws the system's error if a name cannot be had, and StartError if a file cannot be made. A
 * path that is too long is only warned of: the port is there.
 */
export const openLocalListener = (gate: Gate, address: PortAddress, bounds: Bounds): LocalListener | null => {
  const { host, port, socket } = address;
  if (!gate.hasKeys) {
    if (!isLoopback(host)) return null;
    return { listener: new ShmListener({ path: localName(host, port), ...bounds }), userOf: () => null };
  }
  if (socket === null) return null;
  if (Buffer.byteLength(socket) > socketPathBytesMax) {
    gate.warn(
      `Programs on this machine need keys and are served more slowly: the path ${socket} is too long for a socket; ` +
        "name a shorter folder with --state",
    );
    return null;
  }
  const identify = (introduction: string): string | null => {
    const [address = "", ...keys] = introduction.split(" ");
    return isSame(address, host, port) ? gate.identify(keys) : null;
  };
  const listener = privateListener({ path: socket, isPrivate: true, identify, ...bounds });
  gate.guardLocal(listener, partingMs);
  return { listener, userOf: ({ identity }) => gate.localUserOf(identity) };
};

/** @param address as a program has introduced itself by it */
const isSame = (address: string, host: string, port: number): boolean =>
  address === `${host}:${port}` || (host === "0.0.0.0" && isLoopback(address) && address.endsWith(`:${port}`));

const privateListener = (options: ShmListenerOptions): ShmListener => {
  try {
    return new ShmListener(options);
  } catch (failure) {
    const why = (failure as Error).message;
    throw new StartError(
      `the socket ${options.path} cannot be made: ${why}; fix it, or name another folder with --state`,
    );
  }
};
