/** How task workers are brought to rest: told first, and killed where that does not help. */
import { killMs } from "../limits.ts";
import { warn } from "../process/log.ts";
import type { Child, HaltOrder } from "./child.ts";
import { late, within } from "./within.ts";

/**
 * Resolves when nothing runs any more in these workers that is to end, be it that they are dead.
 * @param graceMs for what runs, from the abort signal until its worker is killed
 */
export const haltAll = async (workers: readonly Child[], order: HaltOrder, graceMs: number): Promise<void> => {
  const halt = async (worker: Child): Promise<void> => {
    if ((await within(worker.still(order), graceMs)) !== late) return;
    await killWorker(worker, `it was not still after ${graceMs} ms: ${order.message}`);
  };
  await Promise.all(workers.map(halt));
};

/** Kills it, which is no death to be counted, and waits until it is gone. */
export const killWorker = async (worker: Child, why: string): Promise<void> => {
  if (!worker.hasEnded) warn(`Process [${worker.pid}]: ${worker.role.kind} is killed: ${why}`);
  worker.dismiss(why);
  worker.kill();
  // A process that cannot be killed is reported where it is ended; here it must not hold up the others.
  await within(worker.ended, killMs);
};
