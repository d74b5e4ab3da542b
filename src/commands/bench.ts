/**
 * `bench` runs `count` many times and measures how long that takes.
 *
 * Sends `--samples` requests `count N 1`, at most `--window` of them in flight, and checks every
 * result. Prints `running 10000 samples, took: 2.42` (seconds), the rate, and the 50th and 99th
 * percentile of the time of a request, a line each. With one in flight these are round-trip times;
 * with 512 the rate is the engine's maximum.
 *
 * Exits with 0; 1 if the engine refused or a result is wrong; 2 for wrong usage; 3 if there is no
 * engine or no answer.
 */
import type { Client } from "../client/client.ts";
import { callTimeoutMs, clientRequestsMax } from "../limits.ts";
import { defineCommand, ExitError } from "./command.ts";
import { callArgs, waitFrom, withEngine } from "./engine.ts";
import { printResult } from "./output.ts";
import { numberFrom } from "./values.ts";

const samplesMax = 10_000_000;

export const benchCommand = defineCommand({
  meta: { name: "bench", description: "Measure how fast a running engine runs tasks" },
  args: {
    samples: { type: "string", valueHint: "count", default: "10000", description: "Requests in all" },
    window: { type: "string", valueHint: "count", default: "1", description: "Requests in flight at a time; try 512" },
    ...callArgs,
    json: { type: "boolean", description: "Print JSON with samples, window, seconds, perSecond, p50Ms, p99Ms" },
  },
  run: async ({ args }) => {
    const samples = numberFrom(args.samples, "--samples", 1, samplesMax);
    const window = numberFrom(args.window, "--window", 1, clientRequestsMax);
    const waitMs = waitFrom(args, callTimeoutMs);
    const report = await withEngine(args, (engine) => measure(engine, samples, window, waitMs));
    if (args.json) await printResult(JSON.stringify(report));
    else for (const line of reportLines(report)) await printResult(line);
  },
});

interface BenchReport {
  readonly samples: number;
  readonly window: number;
  readonly seconds: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

const measure = async (engine: Client, samples: number, window: number, waitMs: number): Promise<BenchReport> => {
  const takenMs = new Float64Array(samples);
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < samples) {
      const sample = next++;
      const startedMs = performance.now();
      const result = await engine.call("count", [sample, 1], {}, { waitMs });
      takenMs[sample] = performance.now() - startedMs;
      if (result !== sample + 1) {
        const got = JSON.stringify(result);
        throw new ExitError(`wrong result: count ${sample} 1 gave ${got} instead of ${sample + 1}`, 1);
      }
    }
  };
  const startedMs = performance.now();
  await Promise.all(Array.from({ length: Math.min(window, samples) }, lane));
  const seconds = (performance.now() - startedMs) / 1000;
  takenMs.sort();
  const quantile = (part: number): number => round(takenMs[Math.ceil(part * samples) - 1] ?? 0, 3);
  return {
    samples,
    window,
    seconds: round(seconds, 3),
    perSecond: Math.round(samples / seconds),
    p50Ms: quantile(0.5),
    p99Ms: quantile(0.99),
  };
};

const round = (value: number, digits: number): number => Number(value.toFixed(digits));

const reportLines = ({ samples, seconds, perSecond, p50Ms, p99Ms }: BenchReport): string[] => [
  `running ${samples} samples, took: ${seconds.toFixed(2)}`,
  `rate: ${perSecond} tasks/s`,
  `p50: ${p50Ms.toFixed(3)} ms`,
  `p99: ${p99Ms.toFixed(3)} ms`,
];
