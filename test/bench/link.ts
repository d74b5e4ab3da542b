/**
 * Measures a call over the link beside a bare request of NATS, in one run and by turns: `bun test/bench/link.ts [--quick]`.
 * Hub, responder, engine and link are processes of their own. A call over the link is a request of NATS and a call of the
 * engine, so the sum of these two, measured in the same rounds, is what it takes at least.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { connect as connectNats } from "@nats-io/transport-node";
import { connect } from "task-engine";
import { say } from "../../src/process/log.ts";
import { startEngine } from "../support/engine.ts";
import { startHub } from "../support/nats.ts";
import { tempFolder } from "../support/temp-folder.ts";
import { command } from "./figures.ts";
import { type Ask, increase, measure, median, memoryMib, processorMs, quantile } from "./measure.ts";

const { values: flags } = parseArgs({ options: { quick: { type: "boolean" } } });
const rounds = flags.quick === true ? 5 : 25;

await using hub = await startHub();
using folder = tempFolder({ "task-engine.toml": '[link]\nallow = ["send:count"]\n' });
await using engine = await startEngine({
  command,
  cwd: folder.path,
  flags: ["--nats", hub.url, "--robot", "r7", "--groups", "arms"],
});
await engine.line(/\[LINK\] r7 listens/);
/** The same without a link. */
await using alone = await startEngine({ command });
const [link = 0] = engine.pidsOf("link");
await Bun.sleep(flags.quick === true ? 1_000 : 20_000);
say(`memory of an idle link: ${memoryMib([link]).toFixed(1)} MiB`);

const memoryOf = (running: typeof engine): number =>
  memoryMib([running.pid, ...["router", "task worker", "data worker"].flatMap((role) => running.pidsOf(role))]);
const [besides, without] = [memoryOf(engine), memoryOf(alone)];
say(`memory of the rest of its idle engine by that of an engine without a link: ${(besides / without).toFixed(2)}`);

const module = Bun.resolveSync("@nats-io/transport-node", import.meta.dir);
const worker = Bun.spawn([process.execPath, join(import.meta.dir, "nats-worker.ts"), module, `127.0.0.1:${hub.port}`], {
  stdin: "ignore",
  stdout: "ignore",
  stderr: "inherit",
});
await using nats = await connectNats({ servers: `127.0.0.1:${hub.port}` });
await using robot = await connect(hub.url as `nats://${string}`, { robot: "r7" });
await using local = connect(engine.endpoint);
await using lone = connect(alone.endpoint);

const body = JSON.stringify({ args: [2, 3] });
const timeout = 10_000;
const ways = {
  bare: (answered) => void nats.request("count", body, { timeout }).then(answered),
  engine: (answered) => void local.call("count", [2, 3]).then(answered),
  raw: (answered) => void nats.request("te.r7.tasks.count", body, { timeout }).then(answered),
  link: (answered) => void robot.call("count", [2, 3]).then(answered),
} satisfies Record<string, Ask>;
type Way = keyof typeof ways;
const names = Object.keys(ways) as Way[];

while ((await nats.request("count", body, { timeout }).catch(() => null)) === null) await Bun.sleep(50);
for (const name of names) await measure(ways[name], 64, 20_000);
const warm = memoryMib([link]);

const byWay = (): Record<Way, number[]> => ({ bare: [], engine: [], raw: [], link: [] });
const [p50, p99, rate] = [byWay(), byWay(), byWay()];
const cost: number[] = [];
for (let round = 0; round < rounds; round++) {
  for (const name of names) {
    const { latencies } = await measure(ways[name], 1, 400);
    p50[name].push(median(latencies));
    p99[name].push(quantile(latencies, 0.99));
    const before = processorMs([link]);
    rate[name].push((await measure(ways[name], 64, 6_000)).rate);
    if (name === "link") cost.push((increase(before, processorMs([link])) / 6_000) * 1_000);
  }
}
worker.kill();

/** p99 of an engine's own jobs with a link by that of the same jobs without, each round by turns. */
const shares: number[] = [];
const askLocal: Ask = (answered) => void local.call("count", [2, 3]).then(answered);
const askLone: Ask = (answered) => void lone.call("count", [2, 3]).then(answered);
for (let round = 0; round < 2 * rounds; round++) {
  const p99Of = async (ask: Ask): Promise<number> => quantile((await measure(ask, 16, 4_000)).latencies, 0.99);
  const base = await p99Of(askLone);
  shares.push((await p99Of(askLocal)) / base);
}
const ratio = (of: Record<Way, number[]>, name: Way): string =>
  median(of[name].map((value, index) => value / (of.bare[index] ?? 1))).toFixed(2);
say("| way | p50 | × bare | p99 | 64 in flight | × bare |");
say("| --- | --- | --- | --- | --- | --- |");
for (const name of names) {
  const cells = [`${median(p50[name]).toFixed(3)} ms`, ratio(p50, name), `${median(p99[name]).toFixed(2)} ms`];
  say(`| ${[name, ...cells, median(rate[name]).toFixed(0), ratio(rate, name)].join(" | ")} |`);
}
const floor = p50.bare.map((bare, index) => (bare + (p50.engine[index] ?? 0)) / bare);
say(`the sum of bare and engine, p50: ${median(floor).toFixed(2)} × bare`);
say(`p99 of the engine's own jobs, 16 in flight, with a link by without: ${median(shares).toFixed(2)}`);
say(`processor time of the link for a call, 64 in flight: ${median(cost).toFixed(0)} µs`);
say(`memory of the link: ${warm.toFixed(1)} MiB warm, ${memoryMib([link]).toFixed(1)} MiB at the end`);
await Bun.sleep(flags.quick === true ? 1_000 : 30_000);
say(`memory of the link ${flags.quick === true ? 1 : 30} s later: ${memoryMib([link]).toFixed(1)} MiB`);
