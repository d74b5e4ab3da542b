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
import { median } from "./measure.ts";

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

/** Jobs a second of a task, with so many in flight. */
const rateOf = async (task: string, inFlight: number): Promise<number> => {
  let left = inFlight === 1 ? 500 : 6000;
  const jobs = left;
  const begun = performance.now();
  const lane = async (): Promise<void> => {
    while (left-- > 0) await client.call(task, [2, 3]);
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
  return (1000 * jobs) / (performance.now() - begun);
};
const workers: Record<string, number[]> = {};
for (let round = 0; round <= rounds; round++) {
  for (const [task, inFlight] of [
    ["sum", 1],
    ["plain", 1],
    ["sum", 64],
    ["plain", 64],
  ] as const) {
    const rate = await rateOf(task, inFlight);
    // The first round warms up.
    if (round > 0) workers[`${task} ${inFlight}`] = [...(workers[`${task} ${inFlight}`] ?? []), rate];
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
show("task, one at a time", "sum 1", "plain 1", "a worker by hand");
show("task, 64 in flight", "sum 64", "plain 64", "a worker by hand");
show("client and task, one at a time", "pair_one", "plain_one", "a plain queue");
show("client and task, 64 in flight", "pair_64", "plain_64", "a plain queue");
for (const other of others) other.kill();
