/**
 * Measures Python in one run, by turns: the client beside pyzmq, against one engine; tasks beside a worker by hand, behind one router; and
 * client and task together beside a plain queue of pyzmq (pyzmq_engine.py). One request at a time, and 64 in flight.
 * `npx bun test/bench/python.ts`; `ROUNDS=9` sets how often. Needs Debian's `python3-zmq`.
 */
import { join } from "node:path";
import { connect } from "../../src/client/client.ts";
import { say } from "../../src/process/log.ts";
import { startEngine } from "../support/engine.ts";
import { freePorts } from "../support/ports.ts";
import { tempFolder } from "../support/temp-folder.ts";
import { median, memoryMib } from "./measure.ts";

const python = "/usr/bin/python3";
const rounds = Number(process.env.ROUNDS ?? 9);
const env = { PATH: process.env.PATH ?? "", PYTHONDONTWRITEBYTECODE: "1" };
const script = (name: string, ...args: readonly unknown[]) =>
  Bun.spawn([python, join(import.meta.dir, name), ...args.map(String)], { env, stdout: "inherit", stderr: "inherit" });

using folder = tempFolder({ "tasks/sum.py": "def task_sum(*args):\n    return sum(args)\n" });
await using engine = await startEngine({ cwd: folder.path, flags: ["--python", python] });
const plain = freePorts(2);
const others = [
  script("pyzmq_engine.py", "router", plain, plain + 1),
  script("pyzmq_engine.py", "worker", plain + 1),
  script("python_worker.py", `tcp://127.0.0.1:${engine.ports.backend}`),
];
process.once("exit", () => {
  for (const other of others) other.kill();
});

await using client = connect(engine.endpoint, { waitMs: 30_000 });
while (!(await client.tasks()).some(({ name }) => name === "plain")) await Bun.sleep(10);

/** ms of a bare interpreter, from its start to its end. */
const bareMs = async (): Promise<number> => {
  const begun = performance.now();
  await Bun.spawn([python, "-I", "-c", "pass"], { env }).exited;
  return performance.now() - begun;
};

/** ms from the start of a worker until the router has it; a reload replaces the one before. */
const startOfWorker = async (): Promise<{ pid: number; ms: number }> => {
  const seen = engine.lines.length;
  const newest = (pattern: RegExp) =>
    engine.lines
      .slice(seen)
      .map((line) => pattern.exec(line)?.[1])
      .find(Boolean);
  const reload = engine.run("reload", "--router", engine.endpoint);
  let pid: string | undefined;
  while (pid === undefined) {
    await Bun.sleep(1);
    pid = newest(/^Starting process \[(\d+)\]: task worker \(Python\)$/);
  }
  const begun = performance.now();
  while (newest(new RegExp(`^\\[WORKER-${pid}\\(TASK\\)\\] (Joined) `)) === undefined) await Bun.sleep(1);
  const ms = performance.now() - begun;
  await reload;
  return { pid: Number(pid), ms };
};

const starts: { readonly pid: number; readonly ms: number; readonly bareMs: number; readonly mib: number }[] = [];
for (let round = 0; round <= rounds; round++) {
  const start = await startOfWorker();
  // What it has done for its start is over by then.
  await Bun.sleep(200);
  starts.push({ ...start, mib: memoryMib([start.pid]), bareMs: await bareMs() });
}
const [mib, ms, bare] = [starts.map((it) => it.mib), starts.map((it) => it.ms), starts.map((it) => it.bareMs)].map(
  median,
);
const ratio = median(starts.map((it) => it.ms / it.bareMs)).toFixed(1);
say(`a worker joins ${ms?.toFixed(0)} ms after its start: ${ratio} × a bare interpreter (${bare?.toFixed(0)} ms)`);
say(`an idle worker has ${mib?.toFixed(1)} MiB of PSS`);

/** ms of so many calls of a task, one by one. */
const latencies = async (task: string, count: number): Promise<number[]> => {
  const found: number[] = [];
  for (let left = count; left > 0; left--) {
    const begun = performance.now();
    await client.call(task, [2, 3]);
    found.push(performance.now() - begun);
  }
  return found;
};

/** Jobs a second of a task, with 64 in flight. */
const rateOf = async (task: string): Promise<number> => {
  const jobs = 6000;
  let left = jobs;
  const begun = performance.now();
  const lane = async (): Promise<void> => {
    while (left-- > 0) await client.call(task, [2, 3]);
  };
  await Promise.all(Array.from({ length: 64 }, lane));
  return (1000 * jobs) / (performance.now() - begun);
};
const workers: Record<string, number[]> = { sum: [], plain: [], "sum 64": [], "plain 64": [] };
for (let round = 0; round <= rounds; round++) {
  const found: Record<string, number[]> = { sum: [], plain: [] };
  // By short turns, and by the median of each call: so other programs spoil both alike.
  for (let turn = 0; turn < 20; turn++) {
    for (const task of ["sum", "plain"]) found[task]?.push(...(await latencies(task, 20)));
  }
  for (const task of ["sum", "plain"]) {
    const rate = await rateOf(task);
    // The first round warms up.
    if (round === 0) continue;
    workers[task]?.push(1000 / median(found[task] ?? []));
    workers[`${task} 64`]?.push(rate);
  }
}

const args = [join(import.meta.dir, "python_client.py"), engine.endpoint, `${rounds}`, `tcp://127.0.0.1:${plain}`];
const stdout = await Bun.spawn([python, ...args], { env, stdout: "pipe", stderr: "inherit" }).stdout.text();
const rates: Readonly<Record<string, readonly number[]>> = { ...workers, ...JSON.parse(stdout) };

const show = (name: string, ours: string, theirs: string, whose = "pyzmq"): void => {
  const [a = [], b = []] = [rates[ours], rates[theirs]];
  const ratios = a.map((rate, index) => rate / (b[index] ?? Number.NaN));
  const perSecond = `${Math.round(median(a))} requests/s, ${whose} ${Math.round(median(b))}`;
  say(`${name}: ${median(ratios).toFixed(2)} × ${whose} (${perSecond})`);
};
show("client, one at a time", "client_one", "pyzmq_one");
show("client, 64 in flight", "client_64", "pyzmq_64");
show("client, batches", "client_map", "pyzmq_64");
show("task, one at a time", "sum", "plain", "a worker by hand");
show("task, 64 in flight", "sum 64", "plain 64", "a worker by hand");
show("client and task, one at a time", "pair_one", "plain_one", "a plain queue");
show("client and task, 64 in flight", "pair_64", "plain_64", "a plain queue");
for (const other of others) other.kill();
