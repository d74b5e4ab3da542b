/** Jobs that end when their requestor does not show that it is there: how this client shows it. */
import { expect, setDefaultTimeout } from "bun:test";
import { connect } from "task-engine";
import { test } from "../support/concurrent.ts";
import { type Arrived, cancelOf, type HandRouter, handRouter } from "../support/hand-router.ts";
import { freePorts } from "../support/ports.ts";
import { rejection } from "../support/rejection.ts";

setDefaultTimeout(60_000); // they wait for one another

const deadmanMs = 60;

/** Waits for so many KEEPALIVEs in a row, all for this request. */
const keepAlivesOf = async (router: HandRouter, { serial }: Arrived, count: number): Promise<void> => {
  for (let index = 0; index < count; index++) {
    const { request } = await router.next();
    expect([request.kind, request.meta.serial]).toEqual(["keepAlive", serial]);
  }
};

/** Takes what is still under way, then waits long enough for more to come: none must. */
const expectSilence = async (router: HandRouter): Promise<void> => {
  await Bun.sleep(10);
  while (router.hasMore) expect((await router.next()).request.kind).toBe("keepAlive");
  await Bun.sleep(2 * deadmanMs);
  expect(router.hasMore).toBe(false);
};

test("a job with a dead man is kept alive until it is answered, and not longer", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const result = client.call("drive", [], {}, { deadmanMs });
  const arrived = await router.next();
  expect(arrived.request).toMatchObject({ parts: [{ task: { options: { deadmanMs } } }] });
  await keepAlivesOf(router, arrived, 5);
  arrived.ack("there");
  expect(await result).toBe("there");
  await expectSilence(router);
});

test("a job without one is not kept alive, unless the engine wishes it", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const result = client.call("drive");
  const arrived = await router.next();
  await Bun.sleep(deadmanMs);
  expect(router.hasMore).toBe(false);
  arrived.wish(deadmanMs);
  await keepAlivesOf(router, arrived, 3);
  arrived.ack("there");
  expect(await result).toBe("there");
  await expectSilence(router);
  expect(client.dropped).toEqual({ unknown: 0, malformed: 0 });
});

test("the engine's wish tightens what was asked for, and loosens nothing", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const result = client.call("drive", [], {}, { deadmanMs: 600_000 });
  const arrived = await router.next();
  arrived.wish(deadmanMs);
  await keepAlivesOf(router, arrived, 2);
  arrived.wish(600_000);
  await keepAlivesOf(router, arrived, 3);
  arrived.ack(null);
  await result;
});

test("a wish for what was answered already is dropped, and one that is no time counted", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const first = client.call("drive");
  const answered = await router.next();
  answered.ack(null);
  await first;
  answered.wish(deadmanMs);
  const second = rejection(client.call("drive"));
  const arrived = await router.next();
  arrived.wish(Number.MIN_SAFE_INTEGER);
  expect((await second).code).toBe("BAD_FRAME");
  await expectSilence(router);
  expect(client.dropped).toEqual({ unknown: 1, malformed: 1 });
});

test("a cancelled job is kept alive no more, whatever the engine wishes", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const stop = new AbortController();
  const failure = rejection(client.call("drive", [], {}, { deadmanMs: 600_000, signal: stop.signal }));
  const arrived = await router.next();
  stop.abort();
  await cancelOf(router, arrived);
  arrived.wish(deadmanMs);
  await expectSilence(router);
  arrived.refuse("CANCELLED", "its requestor cancelled it");
  expect((await failure).code).toBe("CANCELLED");
});

test("a job whose time is over is kept alive no more", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const failure = rejection(client.call("drive", [], {}, { deadmanMs, waitMs: 2 * deadmanMs }));
  await router.next();
  expect((await failure).code).toBe("NO_ANSWER");
  const kinds: string[] = [];
  while (!kinds.includes("cancel")) kinds.push((await router.next()).request.kind);
  await expectSilence(router);
});

test("a batch is kept alive as a whole", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const results = client.map("drive", [[1], [2], [3]], { deadmanMs });
  const arrived = await router.next();
  expect(arrived.request).toMatchObject({ parts: Array(3).fill({ task: { options: { deadmanMs } } }) });
  await keepAlivesOf(router, arrived, 4);
  arrived.ackAll([{ data: 1 }, { data: 2 }, { data: 3 }]);
  await results;
  await expectSilence(router);
});

test("what has not been sent is not kept alive", async () => {
  const endpoint = `tcp://127.0.0.1:${freePorts(1)}`;
  await using client = connect(endpoint, { waitMs: 30_000 });
  const result = client.call("drive", [], {}, { deadmanMs });
  await Bun.sleep(2 * deadmanMs);
  using router = handRouter(endpoint);
  const arrived = await router.next();
  expect(arrived.request.kind).toBe("task");
  await keepAlivesOf(router, arrived, 1);
  arrived.ack(null);
  await result;
});

test("many jobs are all kept alive, and each for as long as it lasts", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const results = Promise.all(
    Array.from({ length: 200 }, (_, index) => client.call("drive", [index], {}, { deadmanMs })),
  );
  const jobs = new Map<string, Arrived>();
  const kept = new Set<string>();
  while (kept.size < 200) {
    const arrived = await router.next();
    if (arrived.request.kind === "task") jobs.set(arrived.serial, arrived);
    else kept.add(arrived.serial);
  }
  expect(kept).toEqual(new Set(jobs.keys()));
  const [last, ...others] = [...jobs.values()].reverse();
  for (const job of others) job.ack(null);
  await Bun.sleep(deadmanMs);
  while (router.hasMore) await router.next();
  if (last === undefined) throw new Error("200 were sent");
  await keepAlivesOf(router, last, 3);
  last.ack(null);
  await results;
  await expectSilence(router);
});
