/**
 * The way of a worker's values past the router, to the stream ports of the data workers. A file of
 * its own, which a worker that publishes nothing does not load.
 */
import { dirname } from "node:path";
import { Publications, type PublicationsOptions } from "../data/publications.ts";
import { dialOwnStream, type StreamDialer } from "../data/stream-link.ts";
import { ZmqStream } from "../data/zmq-stream.ts";
import { addressIn } from "../protocol/address.ts";
import { isLoopback } from "../security/exposure.ts";
import { connectBeside } from "../transport/shm/client.ts";
import type { SocketOptions } from "../transport/zmq/options.ts";

/**
 * @param backend the router's, `unix://PATH` for the engine's own workers, else `tcp://HOST:PORT`
 * @param keys CURVE keys for a router's port; empty without keys
 */
export const openPublications = (
  backend: string,
  keys: SocketOptions,
  options: Omit<PublicationsOptions, "dialer" | "flushesEach">,
): Publications => {
  const dialer = backend.startsWith("unix://") ? ownDialer(dirname(backend.slice("unix://".length))) : dialerWith(keys);
  return new Publications({ ...options, dialer, flushesEach: true });
};

/** Only by shared memory, where this worker needs no key. */
const ownDialer = (folder: string): StreamDialer => ({
  local: (endpoint) => dialOwnStream(endpoint, folder) ?? dialOwnStream(endpoint, null),
  zmq: null,
});

const dialerWith = (keys: SocketOptions): StreamDialer => ({
  local: (endpoint) => {
    const { host, port } = addressIn(endpoint);
    return Object.keys(keys).length === 0 && isLoopback(host) ? connectBeside(host, port) : null;
  },
  zmq: async (endpoint) => new ZmqStream(endpoint, keys),
});
