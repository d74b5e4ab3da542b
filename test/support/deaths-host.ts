/**
 * Tells when processes die, from a process of its own that has nothing else to do: the one that asks may be too busy to see it.
 * A process id a line on stdin; `PID MS`, ms of `monotonicMs`, on stdout once it is dead.
 */
import { createInterface } from "node:readline";
import { monotonicMs } from "./clock.ts";
import { isAlive } from "./proc.ts";

for await (const line of createInterface({ input: process.stdin })) {
  const pid = Number(line);
  while (isAlive(pid)) await Bun.sleep(1);
  process.stdout.write(`${pid} ${monotonicMs()}\n`);
}
