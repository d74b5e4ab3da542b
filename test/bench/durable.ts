/**
 * Measures durable jobs beside beanstalkd and BullMQ, in one run and by turns:
 * `BENCH_MODULES=FOLDER bun test/bench/durable.ts [--quick]`. FOLDER has npm's bullmq and ioredis. 64 requests are in flight; each is acknowledged
 * once its job is on the disk, and a worker in a process of its own runs it. A rate counts jobs that were acknowledged, run and forgotten.
 */
import { mkdirSync } from "node:fs";
import { connect as connectSocket } from "node:net";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { connect } from "../../src/client/client.ts";
import { say, warn } from "../../src/process/log.ts";
import { startEngine } from "../support/engine.ts";
import { freePorts } from "../support/ports.ts";
import { tempFolder } from "../support/temp-folder.ts";
import { increase, median, processorMs } from "./measure.ts";

/** A queue, with its worker. */
interface Queue extends AsyncDisposable {
  readonly pids: readonly number[];
  /** Resolves when the job is on the disk. */
  put(): Promise<void>;
  /** Jobs that have not ended. */
  left(): Promise<number>;
}

const { values: flags } = parseArgs({ options: { quick: { type: "boolean" } } });
const [rounds, jobs] = flags.quick === true ? [2, 500] : [7, 3_000];
const inFlight = 64;
const modules = process.env.BENCH_MODULES ?? "";

const robot = `
  export const task_count = {
    durable: true,
    moves: false,
    run: (numbers) => numbers.reduce((sum, value) => sum + value, 0),
  };
`;

const engine = async (): Promise<Queue> => {
  const folder = tempFolder({ "tasks/robot.ts": robot });
  const server = await startEngine({ cwd: folder.path, state: folder.at("state"), flags: ["--task-workers", "1"] });
  const client = connect(server.endpoint);
  return {
    pids: [server.pid, ...server.childPids],
    put: async () => void (await client.call("count", [2, 3], {}, { detach: true, waitMs: 60_000 })),
    left: async () => (await client.status()).journal?.unfinished ?? 0,
    [Symbol.asyncDispose]: async () => {
      await client.close();
      await server[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
};

const spawn = (command: readonly string[]) => Bun.spawn([...command], { stdio: ["ignore", "ignore", "inherit"] });

/** Ends the server if it cannot start. @param system what the worker is told; `port` is the server's */
const workerOf = async (system: string, port: number, server: Bun.Subprocess): Promise<Bun.Subprocess> => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const command = [process.execPath, join(import.meta.dir, "durable-worker.ts"), system, String(port)];
  const child = Bun.spawn(command, { stdio: ["ignore", "inherit", "inherit"], ipc: () => resolve() });
  const isDead = await Promise.race([promise.then(() => false), child.exited.then(() => true)]);
  if (isDead) await ended(server);
  if (isDead) throw new Error(`the worker of ${system} has ended`);
  return child;
};

const ended = async (...children: readonly Bun.Subprocess[]): Promise<void> => {
  for (const child of children) child.kill("SIGKILL");
  await Promise.all(children.map(({ exited }) => exited));
};

/** Its answers come in the order of the commands. */
class Beanstalkd {
  readonly #socket;
  readonly #waiting: ((answer: string) => void)[] = [];
  #text = "";

  constructor(port: number) {
    this.#socket = connectSocket(port, "127.0.0.1");
    this.#socket.setNoDelay(true);
    this.#socket.on("data", (bytes) => this.#hear(bytes.toString("latin1")));
  }

  ask(command: string): Promise<string> {
    this.#socket.write(command);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  close(): void {
    this.#socket.destroy();
  }

  #hear(text: string): void {
    this.#text += text;
    for (let line = this.#text.indexOf("\r\n"); line >= 0; line = this.#text.indexOf("\r\n")) {
      const answer = this.#text.slice(0, line);
      const end = line + 2 + (answer.startsWith("OK ") ? Number(answer.slice(3)) + 2 : 0);
      if (this.#text.length < end) return;
      this.#waiting.shift()?.(this.#text.slice(0, end));
      this.#text = this.#text.slice(end);
    }
  }
}

const beanstalkd = async (): Promise<Queue> => {
  const folder = tempFolder();
  const port = freePorts(1);
  mkdirSync(folder.at("log"));
  const server = spawn(["beanstalkd", "-l", "127.0.0.1", "-p", String(port), "-b", folder.at("log"), "-f", "0"]);
  await Bun.sleep(500);
  const worker = await workerOf("beanstalkd", port, server);
  const client = new Beanstalkd(port);
  const body = JSON.stringify({ task: "count", args: [2, 3], kwargs: {} });
  const countOf = (stats: string, name: string): number =>
    Number(new RegExp(`^current-jobs-${name}: (\\d+)`, "m").exec(stats)?.[1]);
  return {
    pids: [server.pid, worker.pid],
    put: async () => {
      const answer = await client.ask(`put 0 0 60 ${body.length}\r\n${body}\r\n`);
      if (!answer.startsWith("INSERTED")) throw new Error(`beanstalkd: ${answer}`);
    },
    left: async () => {
      const stats = await client.ask("stats\r\n");
      return countOf(stats, "ready") + countOf(stats, "reserved");
    },
    [Symbol.asyncDispose]: async () => {
      client.close();
      await ended(worker, server);
      folder[Symbol.dispose]();
    },
  };
};

const bullmq = async (): Promise<Queue> => {
  const folder = tempFolder();
  const port = freePorts(1);
  const log = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""];
  const server = spawn(["redis-server", "--bind", "127.0.0.1", "--port", String(port), "--dir", folder.path, ...log]);
  await Bun.sleep(500);
  const worker = await workerOf("bullmq", port, server);
  const { Queue } = await import(join(modules, "bullmq"));
  const queue = new Queue("bench", { connection: { host: "127.0.0.1", port } });
  const options = { removeOnComplete: true };
  return {
    pids: [server.pid, worker.pid],
    put: async () => void (await queue.add("count", { args: [2, 3] }, options)),
    left: async () => {
      const { waiting = 0, active = 0 } = await queue.getJobCounts("waiting", "active");
      return waiting + active;
    },
    [Symbol.asyncDispose]: async () => {
      await queue.close();
      await ended(worker, server);
      folder[Symbol.dispose]();
    },
  };
};

const isThere = async (program: string, module?: string): Promise<boolean> => {
  if (Bun.which(program) === null) warn(`${program} is not installed`);
  else if (module === undefined || (await Bun.file(join(modules, module, "package.json")).exists())) return true;
  else warn(`npm's ${module} is not in BENCH_MODULES`);
  return false;
};

interface Round {
  /** jobs a second, acknowledged, and run */
  readonly accepted: number;
  readonly run: number;
  /** ms of the processor for a job, requestor not counted */
  readonly processorMs: number;
}

const measure = async (queue: Queue, count: number): Promise<Round> => {
  const before = processorMs(queue.pids);
  const startedMs = performance.now();
  let asked = 0;
  const ask = async (): Promise<void> => {
    while (asked++ < count) await queue.put();
  };
  await Promise.all(Array.from({ length: inFlight }, ask));
  const acceptedMs = performance.now() - startedMs;
  while ((await queue.left()) > 0) await Bun.sleep(2);
  const runMs = performance.now() - startedMs;
  return {
    accepted: (count / acceptedMs) * 1000,
    run: (count / runMs) * 1000,
    processorMs: increase(before, processorMs(queue.pids)) / count,
  };
};

const queues = new Map<string, Queue>();
const results = new Map<string, Round[]>();
try {
  queues.set("engine", await engine());
  if (await isThere("beanstalkd")) queues.set("beanstalkd", await beanstalkd());
  if (await isThere("redis-server", "bullmq")) queues.set("BullMQ", await bullmq());
  for (const queue of queues.values()) await measure(queue, 500);
  for (let round = 0; round < rounds; round++) {
    for (const [name, queue] of queues) results.set(name, [...(results.get(name) ?? []), await measure(queue, jobs)]);
  }
  const rates = (name: string, key: keyof Round): number[] => (results.get(name) ?? []).map((round) => round[key]);
  for (const name of queues.keys()) {
    const [accepted, run, ms] = (["accepted", "run", "processorMs"] as const).map((key) => median(rates(name, key)));
    const ratio = (key: "accepted" | "run"): string =>
      median(rates("engine", key).map((rate, index) => rate / (rates(name, key)[index] ?? 1))).toFixed(2);
    say(
      `${name.padEnd(10)} ${accepted?.toFixed(0)} acknowledged/s, ${run?.toFixed(0)} run/s, ${ms?.toFixed(3)} ms of processor each` +
        (name === "engine" ? "" : `; the engine has ${ratio("accepted")} and ${ratio("run")} times as many`),
    );
  }
} finally {
  for (const queue of queues.values()) await queue[Symbol.asyncDispose]();
}
