/**
 * Measures the engine beside others, all in one run: `bun test/bench/run.ts [--json FILE] [--compare FILE] [--quick]`.
 * Every system is measured in turn, several times over; the table has medians, and ratios to the echo, since absolute figures
 * say more of the machine than of the system. --compare shows the ratios of an earlier JSON beside them.
 */
import { parseArgs } from "node:util";
import { say, warn } from "../../src/log.ts";
import { type Ask, candidates } from "./systems.ts";

const windows = [1, 64, 512] as const;
const { values: flags } = parseArgs({
  options: { json: { type: "string" }, compare: { type: "string" }, quick: { type: "boolean" } },
});
const rounds = flags.quick === true ? 1 : 5;
/** Enough for the compiler to be done with its work before it is measured. */
const samples = (window: number): number => (window === 1 ? 3_000 : 30_000) / (flags.quick === true ? 3 : 1);

interface Row {
  readonly name: string;
  /** tasks a second, by window */
  readonly rate: Record<string, number>;
  /** ms, one at a time */
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** Tasks a second with `window` of them in flight, and each one's ms. */
const measure = async (ask: Ask, window: number, count: number): Promise<{ rate: number; latencies: number[] }> => {
  const latencies: number[] = [];
  const done = Promise.withResolvers<void>();
  let asked = 0;
  const next = (): void => {
    asked++;
    const askedMs = performance.now();
    ask(() => {
      latencies.push(performance.now() - askedMs);
      if (asked < count) next();
      else if (latencies.length === count) done.resolve();
    });
  };
  const startedMs = performance.now();
  for (let index = 0; index < window; index++) next();
  await done.promise;
  return { rate: (count / (performance.now() - startedMs)) * 1000, latencies };
};

const quantile = (values: readonly number[], share: number): number =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))] ?? 0;
const median = (values: readonly number[]): number => quantile(values, 0.5);

const present = candidates.filter(({ name, missing }) => {
  const why = missing();
  if (why !== null) warn(`left out: ${name}: ${why}`);
  return why === null;
});
const rates = new Map<string, number[]>();
const latencies = new Map<string, number[]>();
const note = (map: Map<string, number[]>, key: string, values: readonly number[]): void => {
  map.set(key, [...(map.get(key) ?? []), ...values]);
};

for (let round = 1; round <= rounds; round++) {
  for (const { name, start } of present) {
    await using system = await start();
    await measure(system.ask, 64, 5_000);
    for (const window of windows) {
      const result = await measure(system.ask, window, samples(window));
      note(rates, `${name} ${window}`, [result.rate]);
      if (window === 1) note(latencies, name, result.latencies);
    }
  }
  warn(`round ${round} of ${rounds} is done`);
}

const rows: Row[] = present.map(({ name }) => ({
  name,
  rate: Object.fromEntries(windows.map((window) => [window, median(rates.get(`${name} ${window}`) ?? [])])),
  p50Ms: quantile(latencies.get(name) ?? [], 0.5),
  p99Ms: quantile(latencies.get(name) ?? [], 0.99),
}));

const before: Row[] = flags.compare === undefined ? [] : (await Bun.file(flags.compare).json()).rows;
const ratio = (all: readonly Row[], row: Row, window: number): string => {
  const base = all.find(({ name }) => name.startsWith("echo"))?.rate[window];
  return base === undefined ? "" : ((row.rate[window] ?? 0) / base).toFixed(2);
};
say(
  `| tasks a second, in brackets the ratio to the echo | ${windows.map((window) => `${window} in flight`).join(" | ")} | p50 | p99 |`,
);
say(`| --- | ${windows.map(() => "---").join(" | ")} | --- | --- |`);
for (const row of rows) {
  const cells = windows.map((window) => {
    const old = before.find(({ name }) => name === row.name);
    const was = old === undefined ? "" : `, was ${ratio(before, old, window)}`;
    return `${Math.round(row.rate[window] ?? 0).toLocaleString("en")} (${ratio(rows, row, window)}${was})`;
  });
  say(`| ${row.name} | ${cells.join(" | ")} | ${row.p50Ms.toFixed(2)} ms | ${row.p99Ms.toFixed(2)} ms |`);
}
if (flags.json !== undefined) await Bun.write(flags.json, `${JSON.stringify({ rounds, rows }, null, 2)}\n`);
