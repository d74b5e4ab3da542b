/**
 * The Unix socket beside a port, for programs of the same machine. Over that one, a message needs a
 * system call only to wake a sleeping peer, and no other thread.
 *
 * - In an engine without keys on a loopback address it is named after the address and has no file:
 *   like the port, it exists in the network namespace for as long as its process, and is open to
 *   all users. A client trusts it if it is owned by the port's user, by the client's own user or by
 *   root.
 * - In an engine with keys it is a file in the state folder (0700), and the kernel says who
 *   connects (SO_PEERCRED): the engine's own user and root come in, as `ownerUser`; they could read
 *   the engine's key anyway. Everybody else is cut, and comes by the port and with a key. The file
 *   names no address, so only an engine that listens on 127.0.0.1 has it.
 */
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

interface LocalListener {
  readonly listener: ShmListener;
  /** The user that each message of it counts as; null in an engine without keys. */
  readonly user: string | null;
}

/**
 * Opens the socket beside a port that is bound; null if it has none. Replaces a file that an
 * earlier process left, so the caller must belong to the engine that has locked the state folder.
 * Throws the system's error if a name cannot be had, and StartError if a file cannot be made. A
 * path that is too long is only warned of: the port is there.
 */
export const openLocalListener = (
  gate: Gate,
  address: PortAddress,
  bounds: Omit<ShmListenerOptions, "path" | "isPrivate">,
): LocalListener | null => {
  const { host, port, socket } = address;
  if (!gate.hasKeys) {
    return isLoopback(host)
      ? { listener: new ShmListener({ path: localName(host, port), ...bounds }), user: null }
      : null;
  }
  if (socket === null || !servesLoopback(host)) return null;
  if (Buffer.byteLength(socket) > socketPathBytesMax) {
    gate.warn(
      `Programs on this machine need keys and are served more slowly: the path ${socket} is too long for a socket; ` +
        "name a shorter folder with --state",
    );
    return null;
  }
  return { listener: privateListener(socket, bounds), user: gate.localUser };
};

/** The address at which a client looks for the file. */
export const localHost = "127.0.0.1";

const servesLoopback = (host: string): boolean => host === localHost || host === "0.0.0.0";

const privateListener = (path: string, bounds: Omit<ShmListenerOptions, "path" | "isPrivate">): ShmListener => {
  try {
    return new ShmListener({ path, isPrivate: true, ...bounds });
  } catch (failure) {
    const why = (failure as Error).message;
    throw new StartError(`the socket ${path} cannot be made: ${why}; fix it, or name another folder with --state`);
  }
};
