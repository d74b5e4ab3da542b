/** The way of the engine's own processes to the stream port of a data worker: see local-listener.ts. */
import { addressIn } from "../protocol/address.ts";
import { dataSocketPath } from "../security/state-folders.ts";
import { ShmConnection } from "../transport/shm/connection.ts";
import { closeLine, dial, isOwnOrRoot, localName, peerUid } from "../transport/shm/unix.ts";

/**
 * Connects to a data worker of the same engine; null if none of this machine listens there.
 * @param endpoint of its stream port, as it says it
 * @param folder of the engine's sockets, which has the one of an engine with keys; null without keys
 */
export const dialOwnStream = (endpoint: string, folder: string | null): ShmConnection | null => {
  const { host, port } = addressIn(endpoint);
  const line =
    folder === null ? dial(localName(host, port), "") : dial(dataSocketPath(folder, port), `${host}:${port}`);
  if (line === null) return null;
  if (isOwnOrRoot(peerUid(line.bell))) return new ShmConnection(line);
  closeLine(line);
  return null;
};
