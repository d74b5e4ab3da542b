/**
 * Measures the engine, all in one run: `bun test/bench/run.ts [--json FILE] [--compare FILE] [--quick] [SECTION …]`.
 * The section `systems` measures it beside others, by turns and several times over; its table has medians, and ratios to the echo
 * and to NATS, since absolute figures say more of the machine than of the system. The other sections are in `figures.ts`;
 * without a name all are measured. What cannot be measured here is named. --compare shows what an earlier JSON has beside it.
 * In full it takes a quarter of an hour, and wants a machine that does nothing else.
 */
import { parseArgs } from "node:util";
import { say, warn } from "../../src/process/log.ts";
import { command, type Figure, sections } from "./figures.ts";
import { type Ask, measure, median, quantile } from "./measure.ts";
import { type Candidate, candidates } from "./systems.ts";

interface Row {
  readonly name: string;
  /** tasks a second, by window */
  readonly rate: Readonly<Record<string, number>>;
  /** ms, one at a time */
  readonly p50Ms: number;
  readonly p99Ms: number;
}

interface Report {
  readonly rows: readonly Row[];
  readonly figures: readonly Figure[];
}

const windows = [1, 64, 512] as const;
/** What the others are compared with, by the beginnings of their names. */
const bases = { echo: "echo", NATS: "NATS" } as const;

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: "string" }, compare: { type: "string" }, quick: { type: "boolean" } },
});
const isQuick = flags.quick === true;
const known = ["systems", ...Object.keys(sections)];
const unknown = positionals.find((name) => !known.includes(name));
if (unknown !== undefined)
  throw new Error(`no section ${JSON.stringify(unknown)}; the sections are ${known.join(", ")}`);
const isWanted = (name: string): boolean => positionals.length === 0 || positionals.includes(name);

/** ms of work, 64 tasks in flight, before anything is measured: JavaScript is compiled while it runs, and gets up to twice as quick by that. */
const warmUpMs = isQuick ? 1_000 : 6_000;
const warmUp = async (ask: Ask): Promise<void> => {
  for (const startedMs = performance.now(); performance.now() - startedMs < warmUpMs; ) await measure(ask, 64, 2_000);
};

const samples = (window: number): number => (window === 1 ? 3_000 : 30_000) / (isQuick ? 3 : 1);

const measureSystems = async (present: readonly Candidate[]): Promise<Row[]> => {
  const rounds = isQuick ? 1 : 5;
  const rates = new Map<string, number[]>();
  const latencies = new Map<string, number[]>();
  const note = (map: Map<string, number[]>, key: string, values: readonly number[]): void => {
    map.set(key, [...(map.get(key) ?? []), ...values]);
  };
  for (let round = 1; round <= rounds; round++) {
    for (const { name, start } of present) {
      await using system = await start();
      await warmUp(system.ask);
      for (const window of windows) {
        const result = await measure(system.ask, window, samples(window));
        note(rates, `${name} ${window}`, [result.rate]);
        if (window === 1) note(latencies, name, result.latencies);
      }
    }
    warn(`systems: round ${round} of ${rounds} is done`);
  }
  return present.map(({ name }) => ({
    name,
    rate: Object.fromEntries(windows.map((window) => [window, median(rates.get(`${name} ${window}`) ?? [])])),
    p50Ms: median(latencies.get(name) ?? []),
    p99Ms: quantile(latencies.get(name) ?? [], 0.99),
  }));
};

const isPresent = ({ name, missing }: Candidate): boolean => {
  const why = missing();
  if (why !== null) warn(`left out: ${name}: ${why}`);
  return why === null;
};

/** `0.45 echo, 2.10 NATS` */
const ratios = (rows: readonly Row[], name: string, window: number): string => {
  const rate = rows.find((row) => row.name === name)?.rate[window];
  return Object.entries(bases)
    .map(([label, start]) => [label, rows.find((row) => row.name.startsWith(start))?.rate[window]] as const)
    .filter(([, base]) => rate !== undefined && base !== undefined)
    .map(([label, base]) => `${((rate ?? 0) / (base ?? 1)).toFixed(2)} ${label}`)
    .join(", ");
};

const number = (value: number): string => value.toLocaleString("en", { maximumFractionDigits: value < 100 ? 2 : 0 });

const printSystems = (rows: readonly Row[], before: readonly Row[]): void => {
  say(`| tasks a second (ratios to) | ${windows.map((window) => `${window} in flight`).join(" | ")} | p50 | p99 |`);
  say(`| --- | ${windows.map(() => "---").join(" | ")} | --- | --- |`);
  for (const { name, rate, p50Ms, p99Ms } of rows) {
    const cells = windows.map((window) => {
      const was = ratios(before, name, window);
      return `${number(rate[window] ?? 0)} (${ratios(rows, name, window)}${was === "" ? "" : `; was ${was}`})`;
    });
    say(`| ${name} | ${cells.join(" | ")} | ${p50Ms.toFixed(2)} ms | ${p99Ms.toFixed(2)} ms |`);
  }
};

const printFigures = (figures: readonly Figure[], before: readonly Figure[]): void => {
  say(`| figure of ${command.length === 1 ? "the executable" : "the engine from source"} | value | to reach |`);
  say("| --- | --- | --- |");
  for (const { name, value, unit, goal } of figures) {
    const was = before.find((figure) => figure.name === name);
    say(`| ${name} | ${number(value)} ${unit}${was === undefined ? "" : `, was ${number(was.value)}`} | ${goal} |`);
  }
};

const before: Report = flags.compare === undefined ? { rows: [], figures: [] } : await Bun.file(flags.compare).json();

const rows = isWanted("systems") ? await measureSystems(candidates.filter(isPresent)) : [];
if (rows.length > 0) printSystems(rows, before.rows);
const figures: Figure[] = [];
for (const [name, section] of Object.entries(sections)) {
  if (!isWanted(name)) continue;
  figures.push(...(await section({ share: isQuick ? 0.1 : 1 })));
  warn(`${name} is done`);
}
if (figures.length > 0) printFigures(figures, before.figures);
const report: Report = { rows, figures };
if (flags.json !== undefined) await Bun.write(flags.json, `${JSON.stringify(report, null, 2)}\n`);
