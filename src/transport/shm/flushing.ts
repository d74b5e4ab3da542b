/** Waits for peers to read, by a process that may block its thread. */
import { localLingerMs, localStallMs, localStallMsMax } from "../../limits.ts";
import type { ShmConnection } from "./connection.ts";

/**
 * As `flush`, but blocks while the peer reads, since the caller may block next. A peer that was
 * behind already is not waited for. Returns false if it waited in vain.
 */
export const flushOut = (connection: ShmConnection): boolean => {
  if (connection.isBehind) {
    connection.flush();
    return true;
  }
  let left = connection.unsentBytes;
  let readAt = performance.now();
  const untilMs = readAt + localStallMsMax;
  while (!connection.flush()) {
    // A peer that reads byte by byte must not hold us.
    if (performance.now() >= Math.min(readAt + localStallMs, untilMs)) return false;
    if (connection.unsentBytes < left) readAt = performance.now();
    left = connection.unsentBytes;
    Bun.sleepSync(1);
  }
  return true;
};

/** Ends all of them, once what is unsent is out, or `ms` are over. Blocks the thread. */
export const closeAll = (connections: readonly ShmConnection[], ms = localLingerMs): void => {
  const untilMs = performance.now() + ms;
  const isAllSent = (): boolean => connections.map((connection) => connection.flush()).every(Boolean);
  while (!isAllSent() && performance.now() < untilMs) Bun.sleepSync(1);
  for (const connection of connections) connection.drop();
};
