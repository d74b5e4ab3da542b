/**
 * Fails when a task costs more than it may: `bun test/bench/guard.ts`. What counts is not the clock but the processor's time that
 * router and workers take for a task, as a multiple of what an echo over the same sockets takes for a message. The two are
 * measured by turns, and the best of all rounds is taken of each, so a machine that is busy with something else does not matter.
 * Exit codes: 0 within the limits, 1 beyond.
 */
import { say } from "../../src/process/log.ts";
import { increase, measure, processorMs } from "./measure.ts";
import { type Candidate, echo, engine, type System } from "./systems.ts";

const rounds = 5;

/** How many tasks are in flight; how many are asked a round; how many times the echo's time a task may take. */
const limits = [
  { window: 1, count: 2_000, ratioMax: 4 },
  { window: 512, count: 40_000, ratioMax: 8 },
] as const;

/** ms of the processor for one task, requestor not counted. */
const costOf = async ({ ask, pids }: System, window: number, count: number): Promise<number> => {
  const before = processorMs(pids);
  await measure(ask, window, count);
  return increase(before, processorMs(pids)) / count;
};

const warmed = async (candidate: Candidate): Promise<System> => {
  const system = await candidate.start();
  // Until the compiler is done with it.
  await measure(system.ask, 64, 60_000);
  return system;
};

const microseconds = (ms: number): string => `${(ms * 1000).toFixed(1)} µs`;

await using ours = await warmed(engine);
await using theirs = await warmed(echo);
for (const { window, count, ratioMax } of limits) {
  let ourMs = Number.POSITIVE_INFINITY;
  let theirMs = Number.POSITIVE_INFINITY;
  for (let round = 0; round < rounds; round++) {
    ourMs = Math.min(ourMs, await costOf(ours, window, count));
    theirMs = Math.min(theirMs, await costOf(theirs, window, count));
  }
  const ratio = ourMs / theirMs;
  const isWithin = ratio <= ratioMax;
  say(
    `${isWithin ? "ok  " : "FAIL"} ${window} in flight: a task takes ${microseconds(ourMs)} of router and workers, an echo ${microseconds(theirMs)}: ` +
      `${ratio.toFixed(2)} times as much, at most ${ratioMax} are allowed`,
  );
  if (!isWithin) process.exitCode = 1;
}
