/**
 * Measures POST /api/tasks/count over 64 connections beside a bare `Bun.serve` handler that parses and answers the same JSON, beside
 * one that has the engine answer it by `client.call` and does nothing else, and beside the client alone, all in one run and by turns.
 * `npx bun test/bench/gateway.ts`; `ROUNDS=9` sets how often (5).
 */
import { join } from "node:path";
import { say } from "../../src/process/log.ts";
import { startServed } from "../support/gateway.ts";
import { type Ask, increase, measure, median, processorMs } from "./measure.ts";
import { overClient } from "./systems.ts";

const rounds = Number(process.env.ROUNDS ?? 5);
const connections = 64;
const count = 3_000;

interface Side {
  readonly name: string;
  /** Connects anew for each round: a server closes a connection that is not used meanwhile. */
  readonly open: () => Promise<Lines>;
  /** The process whose time is compared. */
  readonly pid: number;
}

interface Lines extends Disposable {
  readonly ask: Ask;
}

/** Connections that are kept, with one request at a time on each. It looks no closer at an answer than it has to. */
const overHttp = async (port: number, path: string): Promise<Lines> => {
  const body = '{"args":[2,3]}';
  const head = `POST ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Type: application/json\r\n`;
  const request = `${head}Content-Length: ${body.length}\r\n\r\n${body}`;
  const free: Ask[] = [];
  const sockets: { end: () => void }[] = [];
  for (let index = 0; index < connections; index++) {
    let answered: () => void = () => undefined;
    let heard = "";
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        data: (_, bytes) => {
          heard += bytes.toString("latin1");
          if (!heard.endsWith('{"data":5}')) return;
          if (!heard.startsWith("HTTP/1.1 200")) throw new Error(heard);
          heard = "";
          free.push(send);
          answered();
        },
      },
    });
    const send: Ask = (then) => {
      answered = then;
      socket.write(request);
    };
    free.push(send);
    sockets.push(socket);
  }
  return {
    ask: (answered) => free.pop()?.(answered),
    [Symbol.dispose]: () => {
      for (const socket of sockets) socket.end();
    },
  };
};

const peer = async (...args: readonly string[]): Promise<{ readonly port: number; readonly pid: number }> => {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "http-peer.ts"), ...args], { stderr: "inherit" });
  process.once("exit", () => child.kill("SIGKILL"));
  const { value } = await child.stdout.getReader().read();
  return { port: Number(new TextDecoder().decode(value)), pid: child.pid };
};

const served = await startServed({}, {}, ["--task-workers", "2"]);
const { engine } = served;
const [bare, bridge] = await Promise.all([peer("bare"), peer("bridge", engine.endpoint, engine.state)]);
const client = overClient(engine.endpoint, [], async () => undefined, ["count", [2, 3]], { state: engine.state });
const sides: readonly Side[] = [
  { name: "bare handler", open: () => overHttp(bare.port, "/"), pid: bare.pid },
  { name: "gateway", open: () => overHttp(served.port, "/api/tasks/count"), pid: engine.pidsOf("gateway")[0] ?? 0 },
  { name: "handler with client.call", open: () => overHttp(bridge.port, "/"), pid: bridge.pid },
  {
    name: "client.call alone",
    open: async () => ({ ask: client.ask, [Symbol.dispose]: () => undefined }),
    pid: process.pid,
  },
];
const rates = sides.map((): number[] => []);
const costs = sides.map((): number[] => []);
// The first rounds are for the compiler.
for (let round = -3; round < rounds; round++) {
  for (const [index, { open, pid }] of sides.entries()) {
    using lines = await open();
    const before = processorMs([pid]);
    const { rate } = await measure(lines.ask, connections, count);
    if (round < 0) continue;
    rates[index]?.push(rate);
    costs[index]?.push((1000 * increase(before, processorMs([pid]))) / count);
  }
}
const [bareRates = []] = rates;
for (const [index, { name }] of sides.entries()) {
  const own = rates[index] ?? [];
  const ratio = median(own.map((rate, round) => rate / (bareRates[round] ?? Number.NaN)));
  const figures = [`${Math.round(median(own))} a second`, `${ratio.toFixed(2)} of the bare handler`];
  say(`${name}: ${figures.join(", ")}, ${median(costs[index] ?? []).toFixed(0)} µs of its process for one`);
}
await client[Symbol.asyncDispose]();
await served[Symbol.asyncDispose]();
process.exit(0);
