/** One task with many lists of arguments, against a socket that answers by hand. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { type BatchProgress, connect, type Json, type PartResult } from "task-engine";
import { batchTasksMax, clientBatchesMax, frameBytesMax } from "../../src/limits.ts";
import { type Arrived, argsOfAll, cancelOf, type HandRouter, handRouter } from "../support/hand-router.ts";
import { freePorts } from "../support/ports.ts";

setDefaultTimeout(60_000); // on a busy machine

const numbers = (count: number): Json[][] => Array.from({ length: count }, (_, index) => [index]);
const firsts = (arrived: Arrived): Json[] => argsOfAll(arrived).map(([first]) => first ?? null);
const echo = (arrived: Arrived): void =>
  arrived.request.kind === "task" && arrived.request.parts.length === 1
    ? arrived.ack(firsts(arrived)[0] ?? null)
    : arrived.ackAll(firsts(arrived).map((data) => ({ data })));
const take = async (router: HandRouter, count: number): Promise<Arrived[]> => {
  const taken = [];
  while (taken.length < count) taken.push(await router.next());
  return taken;
};
const codesOf = (results: readonly PartResult[]): (string | undefined)[] => results.map(({ error }) => error?.code);

test("map sends one message, and gives data or error of each part in order", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const results = client.map("drive", [[1], [2], [3]], { priority: 3, kwargs: { speed: 2 } });
  const arrived = await router.next();
  expect(arrived.request).toMatchObject({
    parts: [1, 2, 3].map((first) => ({ task: { args: [first], kwargs: { speed: 2 }, options: { priority: 3 } } })),
  });
  arrived.ackAll([{ data: "a" }, { error: { code: "TASK_ERROR", message: "stuck" } }, { data: null }]);
  const [first, second, third] = await results;
  expect([first?.data, second?.error?.code, second?.error?.message, third?.data]).toEqual([
    "a",
    "TASK_ERROR",
    "stuck",
    null,
  ]);
});

test("map of nothing sends nothing, and of one list a plain request", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  expect(await client.map("drive", [])).toEqual([]);
  const done = client.map("drive", [[1]]);
  (await router.next()).ack(7);
  expect(await done).toEqual([{ data: 7 }]);
  const failed = client.map("drive", [[1]]);
  (await router.next()).refuse("TASK_ERROR", "stuck");
  expect(codesOf(await failed)).toEqual(["TASK_ERROR"]);
});

test("a long list goes out in messages of 1000 parts, a bounded number at a time, and comes back in order", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const count = 7 * batchTasksMax + 5;
  const results = client.map("echo", numbers(count));
  const window = await take(router, clientBatchesMax);
  expect(window.map((one) => firsts(one).length)).toEqual(Array(clientBatchesMax).fill(batchTasksMax));
  await Bun.sleep(30);
  expect(router.hasMore).toBe(false);
  // The last first: what comes out of order waits for its turn.
  for (const one of window.reverse()) echo(one);
  for (const one of await take(router, 8 - clientBatchesMax)) echo(one);
  expect((await results).map(({ data }) => data)).toEqual(Array.from({ length: count }, (_, index) => index));
});

test("large parts go out in more messages, each within bounds", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const large = "x".repeat(frameBytesMax - 1_000);
  const results = client.map("store", [[large], [large], [large]]);
  const arrived = await take(router, 2);
  expect(arrived.map((one) => firsts(one).length)).toEqual([2, 1]);
  for (const one of arrived) one.ackAll(firsts(one).map(() => ({ data: 1 })));
  expect(await results).toEqual(Array(3).fill({ data: 1 }));
});

test("what cannot be sent fails alone", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const results = client.map("echo", [[1], [Number.NaN], [2], ["x".repeat(frameBytesMax)], [3]]);
  const arrived = await router.next();
  expect(firsts(arrived)).toEqual([1, 2, 3]);
  echo(arrived);
  const settled = await results;
  expect(codesOf(settled)).toEqual([undefined, "BAD_ARGS", undefined, "TOO_LARGE", undefined]);
  expect(settled.map(({ data }) => data)).toEqual([1, undefined, 2, undefined, 3]);
  expect(settled[1]?.error?.message).toBe("args[0] is NaN, which JSON cannot express");
});

test("what a whole message comes to, each of its parts does", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const results = client.map("nope", [[1], [2]]);
  (await router.next()).refuse("UNKNOWN_TASK", "no task nope");
  expect(codesOf(await results)).toEqual(["UNKNOWN_TASK", "UNKNOWN_TASK"]);
});

test("an answer with fewer parts than the question fails the parts that are missing", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const results = client.map("echo", [[1], [2], [3]]);
  (await router.next()).ackAll([{ data: 1 }, { data: 2 }]);
  expect(codesOf(await results)).toEqual([undefined, undefined, "BAD_FRAME"]);
});

test("an engine that is not there is NO_ANSWER for each part", async () => {
  await using client = connect(`tcp://127.0.0.1:${freePorts(1)}`, { waitMs: 40 });
  expect(codesOf(await client.map("echo", numbers(3)))).toEqual(Array(3).fill("NO_ANSWER"));
});

test("progress adds up what all messages say, and only grows", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const told: BatchProgress[] = [];
  const results = client.map("echo", numbers(batchTasksMax + 10), { onProgress: (progress) => told.push(progress) });
  const [first, second] = await take(router, 2);
  if (first === undefined || second === undefined) throw new Error("two were asked for");
  const sent = batchTasksMax + 10;
  first.progress({ done: 400, total: 1000 });
  second.progress({ done: 5, total: 10 });
  first.progress({ done: 300, total: 1000 });
  first.progress("nonsense");
  echo(second);
  echo(first);
  await results;
  expect(told.map(({ done }) => done)).toEqual([400, 405, 410, sent]);
  expect(told.at(-1)).toEqual({ done: sent, sent });
});

test("aborting cancels what is in flight, sends nothing more, and says so of each part", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const stop = new AbortController();
  const count = 6 * batchTasksMax;
  const results = client.map("slow", numbers(count), { signal: stop.signal });
  const window = await take(router, clientBatchesMax);
  stop.abort();
  for (const one of window) {
    await cancelOf(router, one);
    one.ackAll(firsts(one).map(() => ({ error: { code: "CANCELLED", message: "its requestor cancelled it" } })));
  }
  const settled = await results;
  expect(settled).toHaveLength(count);
  expect(new Set(codesOf(settled))).toEqual(new Set(["CANCELLED"]));
  expect(settled.at(-1)?.error?.message).toBe("it was cancelled before it was sent");
  expect(router.hasMore).toBe(false);
});

test("stream gives what is there while its source is silent", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const more = Promise.withResolvers<void>();
  const source = async function* () {
    yield [1];
    yield [2];
    await more.promise;
    yield [3];
  };
  const results = client.stream("echo", source());
  const first = results.next();
  const arrived = await router.next();
  expect(firsts(arrived)).toEqual([1, 2]);
  echo(arrived);
  expect((await first).value).toEqual({ data: 1 });
  expect((await results.next()).value).toEqual({ data: 2 });
  const third = results.next();
  more.resolve();
  echo(await router.next());
  expect((await third).value).toEqual({ data: 3 });
  expect((await results.next()).done).toBe(true);
});

test("stream asks its source for no more than it can hold, however long that is", async () => {
  using router = handRouter();
  router.serve(echo);
  await using client = connect(router.endpoint);
  let given = 0;
  const source = function* () {
    for (;;) yield [given++];
  };
  let read = 0;
  for await (const { data } of client.stream("echo", source())) {
    expect(data).toBe(read++);
    expect(given - read).toBeLessThanOrEqual((clientBatchesMax + 2) * batchTasksMax);
    if (read === 20_000) break;
  }
});

test("what a source throws comes after the results of what it gave", async () => {
  using router = handRouter();
  router.serve(echo);
  await using client = connect(router.endpoint);
  const source = function* () {
    yield [1];
    yield [2];
    throw new Error("line 3 is bad");
  };
  const seen: Json[] = [];
  const reading = (async () => {
    for await (const { data } of client.stream("echo", source())) seen.push(data ?? null);
  })();
  expect(reading).rejects.toThrow("line 3 is bad");
  await reading.catch(() => undefined);
  expect(seen).toEqual([1, 2]);
});

test("leaving the loop cancels what is in flight and ends the source", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  let ended = false;
  const source = function* () {
    try {
      for (let index = 0; ; index++) yield [index];
    } finally {
      ended = true;
    }
  };
  const results = client.stream("echo", source());
  const first = results.next();
  const window = await take(router, clientBatchesMax);
  window.slice(0, 1).forEach(echo);
  expect((await first).value).toEqual({ data: 0 });
  const leaving = results.return();
  const rest = window.slice(1);
  for (const one of rest) {
    await cancelOf(router, one);
    one.refuse("CANCELLED", "its requestor cancelled it");
  }
  await leaving;
  expect(ended).toBe(true);
});
