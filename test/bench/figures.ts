/** Figures of the engine alone: each with its unit and with what it has to be at most or at least. */
import { existsSync, statSync, writeFileSync } from "node:fs";
import { connect } from "task-engine";
import { executablePath } from "../../build.ts";
import { readKeyPair, writeCertificate } from "../../src/security/certificate.ts";
import { makeKeyPair } from "../../src/security/keys.ts";
import { type Engine, type EngineOptions, startEngine } from "../support/engine.ts";
import { taskEngine } from "../support/executable.ts";
import { tempFolder } from "../support/temp-folder.ts";
import { type Ask, increase, measure, median, memoryMib, processorMs, quantile, wakeUps } from "./measure.ts";
import { overClient } from "./systems.ts";

export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  readonly goal: string;
}

export interface FigureOptions {
  /** How much less than in full, for a quick look: 1 in full. */
  readonly share: number;
}

type Section = (options: FigureOptions) => Promise<readonly Figure[]>;

const executable = executablePath(process.arch === "arm64" ? "linux-arm64" : "linux-x64");
/** As it is used: the executable, where one has been built. */
export const command: readonly string[] = existsSync(executable) ? [executable] : taskEngine;
const start = (options: EngineOptions = {}): Promise<Engine> => startEngine({ command, ...options });

const allPids = (engine: Engine): number[] => [
  engine.pid,
  ...["router", "task worker", "data worker"].flatMap((role) => engine.pidsOf(role)),
];

/** Asks an engine for a sum, for something else if `task` says so. */
const asking = (engine: Engine, task?: Parameters<typeof overClient>[3]): { ask: Ask } & AsyncDisposable =>
  overClient(engine.endpoint, [], async () => undefined, task);

const batches: Section = async ({ share }) => {
  await using engine = await start();
  await using client = connect(engine.endpoint);
  const list = Array.from({ length: 100_000 }, (_, index) => [index, 1]);
  const rates: number[] = [];
  for (let round = 0; round < Math.ceil(12 * share); round++) {
    const startedMs = performance.now();
    await client.map("count", list);
    rates.push((list.length / (performance.now() - startedMs)) * 1000);
  }
  // The first ones are compiled while they run.
  const rate = median(rates.slice(Math.floor(rates.length / 3)));
  return [{ name: "batches of 1,000", value: rate, unit: "tasks/s", goal: "≥ 200,000" }];
};

const underLoad: Section = async ({ share }) => {
  await using engine = await start();
  await using load = asking(engine);
  await using one = asking(engine);
  await measure(load.ask, 512, 20_000);
  const { rate } = await measure(load.ask, 512, 40_000);
  // What is asked one at a time is compiled anew for that.
  await measure(one.ask, 1, Math.ceil(20_000 * share));
  const alone = await measure(one.ask, 1, Math.ceil(10_000 * share));
  let sent = 0;
  const startedMs = performance.now();
  const timer = setInterval(() => {
    for (const due = ((performance.now() - startedMs) * rate) / 2 / 1000; sent < due; sent++) load.ask(() => undefined);
  }, 1);
  const busy = await measure(one.ask, 1, Math.ceil(3_000 * share));
  clearInterval(timer);
  const p99 = quantile(alone.latencies, 0.99);
  return [
    { name: "one at a time, p50", value: median(alone.latencies), unit: "ms", goal: "" },
    { name: "one at a time, p99 / p50", value: p99 / median(alone.latencies), unit: "×", goal: "≤ 2" },
    { name: "under half of the peak load, p50", value: median(busy.latencies), unit: "ms", goal: "" },
    { name: "under half of the peak load, p99", value: quantile(busy.latencies, 0.99), unit: "ms", goal: "≤ 5" },
  ];
};

const linearity: Section = async ({ share }) => {
  await using engine = await start();
  await using asker = asking(engine);
  await measure(asker.ask, 512, 40_000);
  const figures: Figure[] = [];
  for (const [window, count] of [
    [1, 3_000],
    [100, 10_000],
    [10_000, 40_000],
  ] as const) {
    const few = Math.ceil(count * share);
    const ratios: number[] = [];
    // What is asked so is compiled anew for that.
    await measure(asker.ask, window, 10 * few);
    for (let round = 0; round < 5; round++) {
      const less = (await measure(asker.ask, window, few)).rate;
      ratios.push((10 * less) / (await measure(asker.ask, window, 10 * few)).rate);
    }
    const name = `10 times the tasks, ${window.toLocaleString("en")} in flight, take`;
    figures.push({ name, value: median(ratios), unit: "times as long", goal: "10 ± 1" });
  }
  return figures;
};

const memory: Section = async ({ share }) => {
  using folder = tempFolder({
    "tasks/hold.ts":
      "export const task_hold = { run: async (_, __, { signal }) => new Promise((end) => signal.addEventListener('abort', end)) };",
  });
  await using engine = await start({ flags: ["--tasks", folder.at("tasks")], cwd: folder.path });
  await using asker = asking(engine);
  await Bun.sleep(30_000 * share);
  const figures: Figure[] = [
    { name: "memory of the idle engine", value: memoryMib(allPids(engine)), unit: "MiB", goal: "≤ 75" },
  ];
  await measure(asker.ask, 512, Math.ceil(200_000 * share));
  const warm = memoryMib(allPids(engine));
  await measure(asker.ask, 512, Math.ceil(1_000_000 * share));
  const tasks = Math.ceil(1_000_000 * share).toLocaleString("en");
  const growth = (memoryMib(allPids(engine)) / warm - 1) * 100;
  figures.push({ name: `growth of memory over ${tasks} tasks`, value: growth, unit: "%", goal: "≤ 10" });
  // One that has done nothing before has nothing that it could give back meanwhile.
  await using second = await start({ flags: ["--tasks", folder.at("tasks")], cwd: folder.path });
  await using holder = asking(second, ["hold", ["x".repeat(1_000)]]);
  const before = memoryMib(second.pidsOf("router"));
  for (let job = 0; job < 10_000; job++) holder.ask(() => undefined);
  // Nobody answers any of them: until the router has them all.
  await Bun.sleep(3_000);
  const cost = memoryMib(second.pidsOf("router")) - before;
  figures.push({ name: "memory of 10,000 queued jobs of 1 KB", value: cost, unit: "MiB", goal: "≤ 40" });
  return figures;
};

const idleness: Section = async ({ share }) => {
  await using engine = await start();
  await Bun.sleep(40_000 * share);
  const pids = allPids(engine);
  const [wakesBefore, msBefore, startedMs] = [wakeUps(pids), processorMs(pids), performance.now()];
  await Bun.sleep(30_000 * share);
  const seconds = (performance.now() - startedMs) / 1000;
  return [
    { name: "idle engine, wake-ups", value: increase(wakesBefore, wakeUps(pids)) / seconds, unit: "/s", goal: "≤ 20" },
    {
      name: "idle engine, of one core",
      value: increase(msBefore, processorMs(pids)) / seconds / 10,
      unit: "%",
      goal: "≤ 0.3",
    },
  ];
};

/**
 * Calls on the engine's own machine with keys, of those without, in one run: by the socket for its own user, and by the port.
 * Another engine without keys shows what the machine adds by itself.
 */
const keys: Section = async ({ share }) => {
  using folder = tempFolder();
  for (const name of ["engine", "client"]) writeCertificate(folder.path, name, makeKeyPair(), false);
  const key = folder.at("client.key_secret");
  writeFileSync(folder.at("authorized"), `${readKeyPair(key).publicKey} client send\n`);
  await using open = await start();
  await using other = await start();
  const flags = ["--key", folder.at("engine.key_secret"), "--authorized", folder.at("authorized")];
  await using locked = await start({ flags });
  const over = (state: string): { ask: Ask } & AsyncDisposable => {
    const options = { key, serverKey: folder.at("engine.key"), state };
    return overClient(locked.endpoint, [], async () => undefined, undefined, options);
  };
  await using base = asking(open);
  await using again = asking(other);
  await using local = over(locked.state);
  await using remote = over(folder.path);
  const ways: readonly (readonly [name: string, ask: Ask, goal: string])[] = [
    ["without keys, of another engine", again.ask, ""],
    ["with keys, by the local socket", local.ask, "≥ 0.8"],
    ["with keys, by the port", remote.ask, ""],
  ];
  for (const ask of [base.ask, ...ways.map(([, each]) => each)]) await measure(ask, 64, 30_000 * share);
  const figures: Figure[] = [];
  for (const window of [1, 64, 512]) {
    const count = Math.ceil((window === 1 ? 600 : 6_000) * share);
    const ratios = ways.map((): number[] => []);
    for (let round = 0; round < 25; round++) {
      const { rate } = await measure(base.ask, window, count);
      for (const [index, [, ask]] of ways.entries())
        ratios[index]?.push((await measure(ask, window, count)).rate / rate);
    }
    for (const [index, [name, , goal]] of ways.entries()) {
      const value = median(ratios[index] ?? []);
      figures.push({ name: `calls ${name}, ${window} in flight`, value, unit: "of keys off", goal });
    }
  }
  return figures;
};

/** ms that a process takes from its start to its end. */
const msOf = async (...argv: readonly string[]): Promise<number> => {
  const startedMs = performance.now();
  await Bun.spawn([...argv], { stdin: "ignore", stdout: "ignore", stderr: "inherit" }).exited;
  return performance.now() - startedMs;
};

const starting: Section = async () => {
  const times: number[] = [];
  for (let round = 0; round < 3; round++) {
    const startedMs = performance.now();
    await using engine = await start();
    times.push(performance.now() - startedMs);
    await engine.run("--version");
  }
  await using engine = await start();
  const ratios: number[] = [];
  for (let round = 0; round < 25; round++) {
    const bare = await msOf(process.execPath, "-e", "0");
    ratios.push((await msOf(...command, "send", "count", "2", "3", "--router", engine.endpoint)) / bare);
  }
  const figures: Figure[] = [
    { name: "serve until it is ready", value: median(times), unit: "ms", goal: "≤ 500" },
    { name: "send, the whole process, against `bun -e 0`", value: median(ratios), unit: "×", goal: "≤ 2.5" },
  ];
  if (command.length === 1) {
    const over = (statSync(executable).size / statSync(process.execPath).size - 1) * 100;
    figures.push({ name: "the executable is larger than Bun by", value: over, unit: "%", goal: "≤ 10" });
  }
  return figures;
};

export const sections: Readonly<Record<string, Section>> = {
  batches,
  latency: underLoad,
  linearity,
  keys,
  memory,
  idleness,
  start: starting,
};
