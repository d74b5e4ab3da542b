/**
 * Reads all that has come, for a process that may have been halted or busy for long: what came by a connection that has ended, or was
 * cancelled, must not begin because the job lies before the end in a queue.
 *
 * Of a local connection all is there to be seen. Of libzmq's, its own thread may have been halted, too, and has to read first: whether
 * it has, the descriptors of the connections tell.
 */
import { catchUpMsMax } from "../limits.ts";
import { reactor } from "../transport/reactor.ts";
import type { Gate } from "./gate.ts";

/** Blocks the thread. Not to be called by a handler of the reactor's. @param awayMs since this process has last looked */
export const catchUp = (gate: Gate, awayMs: number): void => {
  const endAt = performance.now() + Math.min(awayMs, catchUpMsMax);
  for (let isMore = true; isMore && performance.now() < endAt; ) {
    // Asked first: what is read meanwhile is there to be received then.
    const isUnread = gate.hasUnread;
    const isAny = reactor.readNow();
    if (isUnread && !isAny) Bun.sleepSync(1);
    isMore = isUnread || isAny;
  }
  reactor.lookAgain();
};
