/** Engines with several data workers, of which one dies. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { connect } from "task-engine";
import { ownerOf } from "../../../src/protocol/owner.ts";
import { until } from "../../support/connections.ts";
import { startEngine } from "../../support/engine.ts";

setDefaultTimeout(60_000); // many processes on a busy machine

test("every put is answered while a data worker dies, and a topic that was put since has its newest value", async () => {
  await using engine = await startEngine({ flags: ["--task-workers", "1", "--data-workers", "2"] });
  await using client = connect(engine.endpoint);
  const dataWorkers = async () => (await client.status()).workers.filter(({ role }) => role === "data");
  await until("two data workers", async () => (await dataWorkers()).length === 2);
  const names = Array.from({ length: 20 }, (_, index) => `topic${index}`);
  for (const name of names) await client.publish(name, 0);
  const [victim] = await dataWorkers();
  if (victim === undefined) throw new Error("no data worker");
  process.kill(victim.pid, "SIGKILL");
  for (let round = 1; round <= 10; round++) await Promise.all(names.map((name) => client.publish(name, round)));
  await until("it is back", async () => {
    const there = await dataWorkers();
    return there.length === 2 && there.every(({ pid }) => pid !== victim.pid);
  });
  const values = async (): Promise<unknown[]> =>
    await Promise.all(names.map(async (name) => (await client.get(name).catch(() => null))?.data));
  await until("all newest values", async () => (await values()).every((value) => value === 10));
  const endpoints = (await dataWorkers()).map(({ endpoint }) => endpoint);
  expect(new Set(names.map((name) => ownerOf(name, endpoints))).size).toBe(2);
});
