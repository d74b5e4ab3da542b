/**
 * How evenly the engine calls a source, and what an idle one costs: `bun test/bench/sources.ts`. A source of 100 Hz notes when it
 * is called, and its values are received by a subscriber; then one of 1 Hz counts its process's wake-ups. SECONDS=60 measures
 * longer than 20 s. Beside them stands how late a bare timer of the same rate is in this process at the same time: on a busy
 * machine both are late.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import { connect } from "../../src/client/client.ts";
import { say } from "../../src/process/log.ts";
import { startEngine } from "../support/engine.ts";
import { tempFolder } from "../support/temp-folder.ts";
import { increase, median, processorMs, quantile, wakeUps } from "./measure.ts";

const seconds = Number(process.env.SECONDS ?? 20);
const everyMs = 10;

const source = (ms: number): string =>
  `export const source_clock = { everyMs: ${ms}, topic: "clock", run: () => performance.now() };`;

/** Where in a period each of these times is, from a quarter before `origin` on. */
const phasesOf = (timesMs: readonly number[], origin: number): number[] =>
  timesMs.map((at) => {
    const sinceMs = at - origin + everyMs / 4;
    return sinceMs - Math.floor(sinceMs / everyMs) * everyMs - everyMs / 4;
  });

/** ms by which each of these times is later than the grid that the earliest percent of them gives. */
const delaysOf = (timesMs: readonly number[]): number[] => {
  // Most calls come in time, so the middle one of the phases shows where the periods begin.
  const first = timesMs[0] ?? 0;
  const phases = phasesOf(timesMs, first + median(phasesOf(timesMs, first)));
  const earliest = quantile(phases, 0.01);
  return phases.map((phase) => phase - earliest);
};

const shown = (delays: readonly number[]): string =>
  `p50 ${quantile(delays, 0.5).toFixed(2)}, p99 ${quantile(delays, 0.99).toFixed(2)}, ` +
  `max ${quantile(delays, 1).toFixed(2)} ms`;

/** Ticks of all processors since the machine's start: proc_stat(5). */
const processors = (): { idle: number; all: number } => {
  const ticks = (/^cpu +(.*)$/m.exec(readFileSync("/proc/stat", "latin1"))?.[1] ?? "").split(" ").map(Number);
  return { idle: ticks[3] ?? 0, all: ticks.slice(0, 8).reduce((sum, count) => sum + count, 0) };
};

using folder = tempFolder({ "tasks/clock.ts": source(everyMs) });
await using engine = await startEngine({ cwd: folder.path });
await using client = connect(engine.endpoint);
await Bun.sleep(4_000);

const bare: number[] = [];
let isOver = false;
const ring = (dueMs: number): void => {
  bare.push(performance.now() - dueMs);
  if (!isOver) setTimeout(ring, everyMs, performance.now() + everyMs);
};
ring(performance.now());
const calls: number[] = [];
/** Which calls fell into windows of 3 s, and how much of the processors' time nobody wanted then. */
const windows: { readonly from: number; readonly to: number; readonly idle: number }[] = [];
{
  await using subscription = client.subscribe("clock");
  const endMs = performance.now() + seconds * 1000;
  let [from, before, fromMs] = [0, processors(), performance.now()];
  for await (const { data } of subscription) {
    calls.push(Number(data));
    if (performance.now() - fromMs > 3000) {
      const now = processors();
      windows.push({ from, to: calls.length, idle: (now.idle - before.idle) / (now.all - before.all) });
      [from, before, fromMs] = [calls.length, now, performance.now()];
    }
    if (performance.now() > endMs) break;
  }
}
isOver = true;
const [status] = (await client.status()).sources;
say(`load average ${loadavg()[0]?.toFixed(1)}, ${calls.length} values in ${seconds} s`);
const delays = delaysOf(calls);
say(`source at ${1000 / everyMs} Hz, late by its own clock: ${shown(delays)}`);
const quietest = windows.toSorted((a, b) => b.idle - a.idle)[0];
if (quietest !== undefined) {
  const { from, to, idle } = quietest;
  say(`its quietest 3 s, the machine idle for ${(100 * idle).toFixed(0)} %: ${shown(delays.slice(from, to))}`);
}
say(`the same in status: p99 ${status?.jitterMs} ms, ${status?.hz} Hz, ${status?.overruns} overruns`);
say(`a bare timer beside it, late since it was set: ${shown(bare)}`);

writeFileSync(folder.at("tasks/clock.ts"), source(1000));
await engine.run("reload", "--router", engine.endpoint);
await Bun.sleep(4_000);
const [pid = 0] = engine.pidsOf("source worker");
const pids = [pid];
/** The threads of its runtime have their own habits in its first minute. */
const mainThread = (of: ReadonlyMap<string, number>): number => of.get(`/proc/${pid}/task/${pid}`) ?? 0;
const [wakes, ms, startedMs] = [wakeUps(pids), processorMs(pids), performance.now()];
await Bun.sleep(15_000);
const elapsed = (performance.now() - startedMs) / 1000;
say(
  `source worker with one source of 1 Hz: ${((mainThread(wakeUps(pids)) - mainThread(wakes)) / elapsed).toFixed(1)} wake-ups/s of its main thread, ` +
    `${((increase(ms, processorMs(pids)) / elapsed / 1000) * 100).toFixed(2)} % of a core`,
);
