/**
 * Measures the data plane beside nats-server and mosquitto, in one run and by turns:
 * `BENCH_MODULES=FOLDER bun test/bench/data.ts [--quick] [--only engine,nats] [SECTION …]`. FOLDER has npm's @nats-io/transport-node and mqtt.
 * Publisher and subscribers are processes of their own. Prints medians, and ratios to the others.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { say, warn } from "../../src/process/log.ts";
import { startEngine } from "../support/engine.ts";
import { freePorts } from "../support/ports.ts";
import { tempFolder } from "../support/temp-folder.ts";
import type { Answer, Order } from "./data-peer.ts";
import { increase, median, processorMs, quantile } from "./measure.ts";

interface Server extends AsyncDisposable {
  readonly url: string;
  readonly pids: readonly number[];
}

type SystemName = "engine" | "nats" | "mosquitto";

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: { quick: { type: "boolean" }, only: { type: "string" } },
});
const rounds = flags.quick === true ? 2 : 5;
const share = flags.quick === true ? 0.1 : 1;
const modules = process.env.BENCH_MODULES ?? "";

const spawned = (command: string[]): { pid: number; end: () => Promise<void> } => {
  const child = Bun.spawn(command, { stdin: "ignore", stdout: "ignore", stderr: "ignore" });
  return {
    pid: child.pid,
    end: async () => {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
};

const servers: Record<SystemName, { missing: () => string | null; start: () => Promise<Server> }> = {
  engine: {
    missing: () => null,
    start: async () => {
      const engine = await startEngine();
      const pids = engine.pidsOf("data worker");
      return { url: engine.endpoint, pids, [Symbol.asyncDispose]: () => engine[Symbol.asyncDispose]() };
    },
  },
  nats: {
    missing: () => missing("nats-server", "@nats-io/transport-node"),
    start: async () => {
      const port = freePorts(1);
      const { pid, end } = spawned(["nats-server", "-a", "127.0.0.1", "-p", String(port)]);
      await Bun.sleep(500);
      return { url: `127.0.0.1:${port}`, pids: [pid], [Symbol.asyncDispose]: end };
    },
  },
  mosquitto: {
    missing: () => missing("mosquitto", "mqtt"),
    start: async () => {
      const port = freePorts(1);
      const folder = tempFolder({
        "mosquitto.conf": `listener ${port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n`,
      });
      const { pid, end } = spawned(["mosquitto", "-c", folder.at("mosquitto.conf")]);
      await Bun.sleep(500);
      return {
        url: `127.0.0.1:${port}`,
        pids: [pid],
        [Symbol.asyncDispose]: async () => {
          await end();
          folder[Symbol.dispose]();
        },
      };
    },
  },
};

const missing = (program: string, module: string): string | null => {
  if (Bun.which(program) === null) return `${program} is not installed`;
  return existsSync(join(modules, module)) ? null : `npm's ${module} is not in BENCH_MODULES`;
};

class PeerProcess implements AsyncDisposable {
  readonly #child: Bun.Subprocess;
  readonly #waiting: { wants: keyof never; take: (answer: Answer) => void }[] = [];
  onSeen: (seen: number, atMs: number) => void = () => undefined;

  constructor(...args: readonly string[]) {
    this.#child = Bun.spawn([process.execPath, join(import.meta.dir, "data-peer.ts"), ...args], {
      stdin: "ignore",
      stdout: "inherit",
      stderr: "inherit",
      ipc: (answer: Answer) => {
        if ("seen" in answer) this.onSeen(answer.seen, answer.atMs);
        const index = this.#waiting.findIndex(({ wants }) => wants in answer);
        if (index >= 0) this.#waiting.splice(index, 1)[0]?.take(answer);
      },
    });
  }

  get pid(): number {
    return this.#child.pid;
  }

  order(order: Order): void {
    this.#child.send(order);
  }

  answer<Wanted extends Answer>(wants: string): Promise<Wanted> {
    return new Promise((resolve) =>
      this.#waiting.push({ wants: wants as keyof never, take: resolve as (answer: Answer) => void }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }
}

type Report = Extract<Answer, { latencies: readonly number[] }>;

const peerOf = async (...args: readonly string[]): Promise<PeerProcess> => {
  const peer = new PeerProcess(...args);
  await peer.answer("ready");
  return peer;
};

/** values/s as received by the slowest subscriber, by the clock of its process, none dropped. */
const rateOf = async (name: SystemName, subscribers: number): Promise<number> => {
  await using server = await servers[name].start();
  await using subscriber = await peerOf(name, server.url, "count", String(subscribers));
  await using publisher = await peerOf(name, server.url, "publish");
  const total = Math.ceil((subscribers === 1 ? 1_000_000 : 150_000) * Math.max(share, 0.5));
  // JavaScript is compiled while it runs.
  const warmUp = Math.ceil(total / 2);
  const window = 16_384;
  let first: { seen: number; atMs: number } | null = null;
  const done = Promise.withResolvers<number>();
  subscriber.onSeen = (seen, atMs) => {
    publisher.order({ seen });
    if (seen >= warmUp) first ??= { seen, atMs };
    if (first === null || seen < total + warmUp - 1_000) return;
    done.resolve(((seen - first.seen) / (atMs - first.atMs)) * 1000);
  };
  publisher.order({ publish: total + warmUp, bytes: 100, window });
  const rate = await done.promise;
  await Bun.sleep(100);
  const reporting = subscriber.answer<Report>("latencies");
  subscriber.order({ report: true });
  const { dropped } = await reporting;
  if (dropped > 0) warn(`${name}: ${dropped} values dropped`);
  return rate;
};

interface Latency {
  readonly p50: number;
  readonly p99: number;
  /** ms of processor time of servers, publisher and subscribers for each value. */
  readonly processor: number;
}

const latencyOf = async (name: SystemName, hz: number, bytes: number, subscribers: number): Promise<Latency> => {
  await using server = await servers[name].start();
  await using subscriber = await peerOf(name, server.url, "time", String(subscribers));
  await using publisher = await peerOf(name, server.url, "publish");
  const total = Math.ceil(hz * 20 * Math.max(share, 0.2));
  const run = async (count: number): Promise<Report> => {
    publisher.order({ pace: count, hz, bytes });
    await publisher.answer("published");
    await Bun.sleep(200);
    const reporting = subscriber.answer<Report>("latencies");
    subscriber.order({ report: true });
    return reporting;
  };
  await run(Math.ceil(total / 4));
  const pids = [...server.pids, subscriber.pid, publisher.pid];
  const before = processorMs(pids);
  const { latencies } = await run(total);
  const processor = increase(before, processorMs(pids)) / total;
  return { p50: median(latencies), p99: quantile(latencies, 0.99), processor };
};

const names = (Object.keys(servers) as SystemName[]).filter((name) => {
  if (flags.only !== undefined && !flags.only.split(",").includes(name)) return false;
  const why = servers[name].missing();
  if (why !== null) warn(`left out: ${name}: ${why}`);
  return why === null;
});

const byTurns = async <Result>(measure: (name: SystemName) => Promise<Result>): Promise<Map<SystemName, Result[]>> => {
  const results = new Map<SystemName, Result[]>(names.map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const name of names) results.get(name)?.push(await measure(name));
  }
  return results;
};

const show = (title: string, unit: string, values: ReadonlyMap<SystemName, readonly number[]>): void => {
  const own = median(values.get("engine") ?? []);
  const cells = [...values].map(([name, list]) => {
    const other = median(list);
    return `${name} ${other.toLocaleString("en", { maximumFractionDigits: other < 100 ? 3 : 0 })}${name === "engine" ? "" : ` (× ${(own / other).toFixed(2)})`}`;
  });
  say(`| ${title}, ${unit} | ${cells.join(" | ")} |`);
};

const showLatencies = (title: string, results: ReadonlyMap<SystemName, readonly Latency[]>): void => {
  for (const key of ["p50", "p99", "processor"] as const) {
    const unit = key === "processor" ? "ms of processor time a value" : `ms, ${key}`;
    show(title, unit, new Map([...results].map(([name, list]) => [name, list.map((latency) => latency[key])])));
  }
};

/** At 1 kHz a subscriber with `latest` stands still for 3 s, beside one that reads. The engine alone. */
const stopped = async (): Promise<void> => {
  await using server = await servers.engine.start();
  await using quick = await peerOf("engine", server.url, "time", "1");
  await using still = await peerOf("engine", server.url, "time", "1", "latest");
  await using publisher = await peerOf("engine", server.url, "publish");
  const run = async (seconds: number, stillMs: number): Promise<[Report, Report]> => {
    publisher.order({ pace: seconds * 1000, hz: 1000, bytes: 100 });
    const published = publisher.answer("published");
    if (stillMs > 0) {
      await Bun.sleep(1000);
      process.kill(still.pid, "SIGSTOP");
      await Bun.sleep(stillMs);
      process.kill(still.pid, "SIGCONT");
    }
    await published;
    await Bun.sleep(500);
    const reports = [quick, still].map((peer) => {
      const reporting = peer.answer<Report>("latencies");
      peer.order({ report: true });
      return reporting;
    });
    return (await Promise.all(reports)) as [Report, Report];
  };
  await run(2, 0);
  const [quiet] = await run(5, 0);
  const [beside, resumed] = await run(6, 3000);
  // What had arrived before it stood still comes first.
  const oldest = resumed.latencies.lastIndexOf(Math.max(...resumed.latencies));
  const fresh = resumed.latencies.slice(oldest + 1).find((ms) => ms < 1000) ?? Number.NaN;
  const ratio = quantile(beside.latencies, 0.99) / quantile(quiet.latencies, 0.99);
  say(
    `| a subscriber stopped for 3 s at 1 kHz | the quick one: ${beside.latencies.length} of 6000, p99 × ${ratio.toFixed(2)} of quiet | ` +
      `\`latest\` resumes with a value of ${fresh.toFixed(1)} ms |`,
  );
};

const sections: Record<string, () => Promise<void>> = {
  one: async () => show("100 bytes, one subscriber", "values/s", await byTurns((name) => rateOf(name, 1))),
  ten: async () => show("100 bytes, ten subscribers", "values/s", await byTurns((name) => rateOf(name, 10))),
  latency: async () => showLatencies("100 Hz", await byTurns((name) => latencyOf(name, 100, 100, 1))),
  picture: async () =>
    showLatencies("100 KB at 30 Hz, three subscribers", await byTurns((name) => latencyOf(name, 30, 100_000, 3))),
  stopped,
};

for (const [name, section] of Object.entries(sections)) {
  if (positionals.length === 0 || positionals.includes(name)) await section();
}
