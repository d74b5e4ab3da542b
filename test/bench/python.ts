/**
 * Measures the Python client beside pyzmq, against one engine: one request at a time and 64 in flight, by turns in one process.
 * `npx bun test/bench/python.ts`; `ROUNDS=9` sets how often. Needs Debian's `python3-zmq`.
 */
import { join } from "node:path";
import { say } from "../../src/process/log.ts";
import { runCommand, startEngine } from "../support/engine.ts";
import { median } from "./measure.ts";

await using engine = await startEngine();
const script = join(import.meta.dir, "python_client.py");
const env = { PATH: process.env.PATH ?? "", PYTHONDONTWRITEBYTECODE: "1" };
const args = [script, engine.endpoint, process.env.ROUNDS ?? "9"];
const { stdout, stderr } = await runCommand(["/usr/bin/python3"], args, { env });
if (stdout === "") throw new Error(stderr);
const rates: Readonly<Record<string, readonly number[]>> = JSON.parse(stdout);

const show = (name: string, ours: string, theirs: string): void => {
  const [a = [], b = []] = [rates[ours], rates[theirs]];
  const ratios = a.map((rate, index) => rate / (b[index] ?? Number.NaN));
  const perSecond = `${Math.round(median(a))} requests/s, pyzmq ${Math.round(median(b))}`;
  say(`${name}: ${median(ratios).toFixed(2)} × pyzmq (${perSecond})`);
};
show("one at a time", "client_one", "pyzmq_one");
show("64 in flight", "client_64", "pyzmq_64");
show("batches", "client_map", "pyzmq_64");
