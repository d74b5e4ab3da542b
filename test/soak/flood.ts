/**
 * Clients that send large messages faster than they can be read. Not a part of `bun test`: `bun test ./test/soak/flood.ts` runs it, and
 * the gate does.
 */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { connect } from "../../src/client/client.ts";
import {
  arrivalsMax,
  beatIntervalMs,
  endlessBytesMin,
  frameBytesMax,
  localRequestorsMax,
  localRingBytes,
  memoryBytesMax,
} from "../../src/limits.ts";
import { ringsOf } from "../../src/transport/shm/ring.ts";
import { closeLine, localName } from "../../src/transport/shm/unix.ts";
import { until } from "../support/connections.ts";
import { startEngine } from "../support/engine.ts";
import { dialled, ring } from "../support/local-router.ts";
import { memoryMib } from "../support/proc.ts";

const clients = 12;
const floodMs = 8_000;
/** What the engine itself, and its heap after much work, may have grown by. */
const leftMibMax = 48;
const mib = (bytes: number): number => bytes / 1024 / 1024;

/** The most that a process had, looked at often, until `work` is done. */
const peakMibDuring = async (pid: number, work: () => Promise<unknown>): Promise<number> => {
  let peak = 0;
  const looks = setInterval(() => {
    peak = Math.max(peak, memoryMib(pid));
  }, 20);
  await work();
  clearInterval(looks);
  return peak;
};

const overZeroMq = async (endpoint: string): Promise<number> => {
  const host = join(import.meta.dir, "../support/large-flooder-host.ts");
  await using flooder = Bun.spawn([process.execPath, host, endpoint, `${clients}`, `${floodMs}`], { stdout: "pipe" });
  return Number(await new Response(flooder.stdout).text());
};

/** By the local way, since the engine has no keys and is on this machine. */
const overMemory = async (endpoint: string): Promise<number> => {
  const argument = "x".repeat(frameBytesMax - 1024);
  let answered = 0;
  const endAt = performance.now() + floodMs;
  const flood = async (): Promise<void> => {
    const client = await connect(endpoint);
    const callOn = async (): Promise<void> => {
      while (performance.now() < endAt) {
        await expect(client.call("count", [argument])).rejects.toHaveProperty("code");
        answered++;
      }
    };
    await Promise.all(Array.from({ length: 4 }, callOn));
    client.close();
  };
  await Promise.all(Array.from({ length: clients }, flood));
  return answered;
};

test.each([
  ["ZeroMQ", overZeroMq, mib(memoryBytesMax + clients * arrivalsMax * frameBytesMax)],
  ["shared memory", overMemory, mib(memoryBytesMax)],
] as const)(
  "a router flooded with large messages over %s stays within its bound, and gives the memory back",
  async (way, flood, boundMib) => {
    await using engine = await startEngine();
    const [router] = engine.pidsOf("router");
    if (router === undefined) throw new Error("there is no router");
    const before = memoryMib(router);
    let messages = 0;
    const peak = await peakMibDuring(router, async () => {
      messages = await flood(engine.endpoint);
    });
    expect(messages).toBeGreaterThan(clients);
    expect(peak - before).toBeLessThan(boundMib);
    await until(
      () => `memory given back: ${memoryMib(router)} MiB`,
      () => memoryMib(router) < before + leftMibMax,
      10 * beatIntervalMs,
    );
    process.stdout.write(
      `${way}: ${messages} messages; MiB ${before.toFixed()} before, ${peak.toFixed()} at the most\n`,
    );
  },
  120_000,
);

test("256 connections of its machine with a long message each that never ends cost a router no more than its bound, and the others are served", async () => {
  await using engine = await startEngine();
  const [router = 0] = engine.pidsOf("router");
  const before = memoryMib(router);
  const name = localName("127.0.0.1", engine.ports.frontend);
  const lines = Array.from({ length: localRequestorsMax - 1 }, () => dialled(name));
  const writers = lines.map((line) => ringsOf(line.memory, line.isMaker).writer);
  const piece = Buffer.alloc(localRingBytes / 2);
  const peak = await peakMibDuring(router, async () => {
    const begun = Buffer.alloc(4);
    begun.writeUInt32LE(endlessBytesMin - 4);
    for (const writer of writers) writer.write(begun);
    for (let count = 0; count < 40; count++) {
      for (const [index, writer] of writers.entries()) {
        writer.write(piece);
        const line = lines[index];
        if (writer.show() && line !== undefined) ring(line);
      }
      await Bun.sleep(5);
    }
  });
  const sum = await engine.run("send", "count", "2", "3", "--router", engine.endpoint);
  expect(sum.stdout).toBe("5\n");
  await using client = connect(engine.endpoint);
  const { dropped } = (await client.status()).jobs;
  expect(dropped).toHaveProperty("requestorCut");
  expect(peak - before).toBeLessThan(mib(memoryBytesMax));
  process.stdout.write(`unfinished: MiB ${before.toFixed()} before, ${peak.toFixed()} at the most\n`);
  for (const line of lines) closeLine(line);
}, 120_000);
