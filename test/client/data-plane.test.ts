import { expect, setDefaultTimeout, test } from "bun:test";
import { connect, type Subscription, type SubscriptionEvent, type TopicValue } from "task-engine";
import { latestPauseMs, unsentValuesBytesMax } from "../../src/limits.ts";
import { until } from "../support/connections.ts";
import { startDataPlane } from "../support/data-plane.ts";
import { startEngine } from "../support/engine.ts";
import { handRouter } from "../support/hand-router.ts";
import { freePorts } from "../support/ports.ts";
import { rejection } from "../support/rejection.ts";

setDefaultTimeout(60_000); // on a busy machine

const read = async (subscription: Subscription): Promise<TopicValue> => {
  const { value } = await subscription.next();
  if (value === undefined) throw new Error("the subscription ended");
  return value;
};

test("a value is published at once, and a confirmed one has its place in the topic", async () => {
  using data = startDataPlane();
  await using client = connect(data.router);
  const first = await client.publish("pose", { x: 1 }, { confirm: true });
  expect(first).toEqual({ seq: 1, epoch: expect.stringMatching(/^[a-z0-9]{8}$/) });
  expect(client.publish("pose", "höher")).toBe(true);
  expect((await client.publish("pose", 3, { confirm: true })).seq).toBe(3);
  expect(await client.get("pose")).toMatchObject({ topic: "pose", seq: 3 });
  expect((await client.history("pose")).map((value) => value.data)).toEqual([{ x: 1 }, "höher", 3]);
  expect((await client.history("pose", { limit: 1 })).map((value) => value.seq)).toEqual([3]);
  expect(client.publications.dropped.total).toBe(0);
});

test("bytes and arrays come as they were, with their type and shape", async () => {
  using data = startDataPlane();
  await using client = connect(data.router);
  const photo = new Uint8Array([0xff, 0xd8, 0, 0x80]);
  client.publish("camera", photo, { contentType: "image/jpeg" });
  const picture = await client.get("camera");
  expect(picture.data).toEqual(Buffer.from(photo));
  expect(picture.contentType).toBe("image/jpeg");
  expect(JSON.parse(JSON.stringify(picture))).toEqual({
    topic: "camera",
    contentType: "image/jpeg",
    bytes: 4,
    pack: picture.pack,
  });
  client.publish("scan", new Float32Array([1, 2.5, -3, 4]), { shape: [2, 2] });
  const scan = await client.get("scan");
  expect([scan.dtype, scan.shape, scan.array()]).toEqual(["float32", [2, 2], new Float32Array([1, 2.5, -3, 4])]);
  client.publish("counts", new BigInt64Array([-1n, 5n]));
  expect((await client.get("counts")).array()).toEqual(new BigInt64Array([-1n, 5n]));
  const large = Buffer.alloc(3_000_000, 7);
  client.publish("large", large);
  expect(large.equals((await client.get("large")).bytes)).toBe(true);
});

test("what cannot be published is an error at once, and nothing else is lost", async () => {
  using data = startDataPlane();
  await using client = connect(data.router);
  const codeOf = (topic: string, value: unknown, options = {}): unknown => {
    try {
      return client.publish(topic, value, options);
    } catch (error) {
      return (error as { code?: unknown }).code;
    }
  };
  // The first answer says how long a value may be.
  await client.publish("first", 1, { confirm: true });
  expect(codeOf("$engine/jobs", 1)).toBe("BAD_FRAME");
  expect(codeOf("", 1)).toBe("BAD_FRAME");
  expect(codeOf("a", () => 1)).toBe("BAD_ARGS");
  expect(codeOf("a", new Uint8Array(9 * 1024 * 1024))).toBe("TOO_LARGE");
  expect(codeOf("a", new Float64Array(3), { shape: [2] })).toBe("BAD_ARGS");
  expect(codeOf("a", new Uint8Array(3), { contentType: "jpeg" })).toBe("BAD_ARGS");
  expect((await client.publish("a", 1, { confirm: true })).seq).toBe(1);
});

test("a value may be as long as the engine's setting says, before the first connection, too", async () => {
  const mib = 2 ** 20;
  using large = startDataPlane(undefined, 10 * mib);
  const codes: string[] = [];
  await using client = connect(large.router, { onPublishError: ({ error }) => codes.push(error.code) });
  // Nobody knows the bound yet.
  expect(client.publish("b", Buffer.alloc(11 * mib))).toBe(false);
  await until("the long one is refused", () => codes.length === 1);
  expect(codes).toEqual(["TOO_LARGE"]);
  expect((await client.publish("a", Buffer.alloc(9 * mib, 1), { confirm: true })).seq).toBe(1);
  expect(Buffer.alloc(9 * mib, 1).equals((await client.get("a")).bytes)).toBe(true);
  expect(() => client.publish("a", Buffer.alloc(11 * mib))).toThrow(`the limit is ${10 * mib}`);
  using small = startDataPlane(undefined, mib);
  await using other = connect(small.router);
  const refused = await rejection(other.publish("a", Buffer.alloc(2 * mib), { confirm: true }));
  expect([refused.code, refused.message]).toEqual(["TOO_LARGE", expect.stringContaining(`${mib}`)]);
  expect((await other.publish("a", 1, { confirm: true })).seq).toBe(1);
});

test("topics are listed and removed, and one that is not there is UNKNOWN_TOPIC", async () => {
  using data = startDataPlane();
  await using client = connect(data.router);
  for (const topic of ["arm/left", "arm/right", "leg"]) client.publish(topic, 1);
  expect((await client.topics("arm/")).map(({ topic }) => topic)).toEqual(["arm/left", "arm/right"]);
  await client.remove("leg");
  for (const request of [client.get("leg"), client.history("leg"), client.remove("leg")]) {
    expect((await rejection(request)).code).toBe("UNKNOWN_TOPIC");
  }
});

test("a subscriber gets every value in order, also one that reads late, and by a function", async () => {
  using data = startDataPlane();
  await using client = connect(data.router);
  const subscription = client.subscribe(["fast"], { exact: true });
  const got: unknown[] = [];
  const others = client.subscribe("f", "other");
  client.subscribe(["fast"], { exact: true, onValue: (value) => got.push(value.data) });
  await client.publish("fast", 0, { confirm: true });
  expect((await read(subscription)).data).toBe(0);
  const total = 50_000;
  for (let index = 1; index <= total; index++) if (!client.publish("fast", index)) await client.drained();
  await client.publish("faster", "not wanted", { confirm: true });
  for (let index = 1; index <= total; index++) expect((await read(subscription)).data).toBe(index);
  while (got.at(-1) !== total) await Bun.sleep(5);
  expect(got.slice(got.indexOf(1))).toEqual(Array.from({ length: total }, (_, index) => index + 1));
  expect([subscription.dropped, subscription.malformed]).toEqual([0, 0]);
  await others.return();
});

test("a value that the data worker no longer has when it is the reader's turn is counted by its topic", async () => {
  using data = startDataPlane(2 * 1024 * 1024);
  await using client = connect(data.router);
  const events: SubscriptionEvent[] = [];
  const slow = client.subscribe(["a", "b"], { onEvent: (event) => events.push(event) });
  client.publish("a", 0);
  await client.publish("b", 0, { confirm: true });
  const begun = [await read(slow), await read(slow)];
  expect(begun.map(({ topic }) => topic).sort()).toEqual(["a", "b"]);
  const pad = "x".repeat(1000);
  for (let index = 1; index <= 6000; index++) if (!client.publish("a", pad)) await client.drained();
  await client.publish("a", "last", { confirm: true });
  let values = 0;
  for (let value = await read(slow); value.data !== "last"; value = await read(slow)) values++;
  expect(slow.dropped).toBeGreaterThan(0);
  expect(values + slow.dropped).toBe(6000);
  expect(slow.droppedByTopic).toEqual({ a: slow.dropped });
  expect(events).toContainEqual({ type: "dropped", topic: "a", count: expect.any(Number) });
});

test("with `latest` a program that stood still gets the newest value, and loses none that it wanted", async () => {
  using data = startDataPlane();
  await using client = connect(data.router);
  await client.publish("pose", 0, { confirm: true });
  const latest = client.subscribe(["pose"], { mode: "latest" });
  expect((await read(latest)).data).toBe(0);
  const pad = "x".repeat(500);
  for (let index = 1; index <= 3000; index++) if (!client.publish("pose", [index, pad])) await client.drained();
  await client.publish("pose", "newest", { confirm: true });
  Bun.sleepSync(2 * latestPauseMs);
  expect((await read(latest)).data).toBe("newest");
  expect(latest.dropped).toBe(0);
});

test("a data worker that died is found again, and its topics begin anew", async () => {
  using data = startDataPlane();
  await using client = connect(data.router);
  const events: string[] = [];
  const subscription = client.subscribe(["pose"], { onEvent: ({ type }) => events.push(type) });
  const { epoch } = await client.publish("pose", 1, { confirm: true });
  expect((await read(subscription)).epoch).toBe(epoch);
  await data.restart();
  while (!events.includes("lost")) await Bun.sleep(5);
  await client.publish("pose", 2, { confirm: true });
  const value = await read(subscription);
  expect(value.data).toBe(2);
  expect(value.epoch).not.toBe(epoch);
  expect(events).toEqual(["lost", "restarted"]);
});

test("while there is no data worker, the newest values of each topic wait, and what they replace is counted", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const pad = "x".repeat(unsentValuesBytesMax / 10);
  for (let index = 0; index < 20; index++) expect(client.publish("camera", [index, pad])).toBe(false);
  expect(client.publish("pose", 1)).toBe(false);
  expect(client.publications.dropped.total).toBeGreaterThan(9);
  expect(client.publications.dropped.byTopic).toEqual({ camera: client.publications.dropped.total });
});

test("several data workers share the topics, and a subscriber follows all of them", async () => {
  await using engine = await startEngine({ flags: ["--task-workers", "1", "--data-workers", "2"] });
  await using client = connect(engine.endpoint);
  await until("both data workers are there", async () => {
    const { workers } = await client.status();
    return workers.filter(({ role }) => role === "data").length === 2;
  });
  const topics = Array.from({ length: 20 }, (_, index) => `t${String(index).padStart(2, "0")}`);
  const subscription = client.subscribe("t");
  for (const topic of topics) await client.publish(topic, topic, { confirm: true });
  for (const topic of topics) expect((await client.get(topic)).data).toBe(topic);
  expect((await client.topics("t")).map(({ topic }) => topic)).toEqual(topics);
  const seen = new Set<unknown>();
  while (seen.size < topics.length) seen.add((await read(subscription)).data);
  expect(client.publications.refused.total).toBe(0);
});

test("a subscription that fails tells a program that reads nothing: by an event, or else by a warning", async () => {
  using router = handRouter();
  router.serve(({ ack }) => ack({ tasks: [], data: [] }));
  await using client = connect(router.endpoint);
  const onValue = (): void => undefined;
  const event = Promise.withResolvers<SubscriptionEvent>();
  client.subscribe(["pose"], { onValue, onEvent: event.resolve });
  expect(await event.promise).toMatchObject({ type: "failed", error: { code: "UNAVAILABLE" } });
  const warning = Promise.withResolvers<Error>();
  process.once("warning", warning.resolve);
  client.subscribe(["pose"], { onValue });
  expect((await warning.promise).message).toContain("a subscription has ended: the engine has no data worker");
});

test("options that cannot be are BAD_ARGS, before anything is asked", async () => {
  await using client = connect(`tcp://127.0.0.1:${freePorts(1)}`);
  const codeOf = (options: object): unknown => {
    try {
      return client.subscribe(["pose"], options);
    } catch (error) {
      return (error as { code?: unknown }).code;
    }
  };
  for (const options of [{ maxHz: 0 }, { maxHz: Number.NaN }, { lastMs: -1 }, { mode: "some" }]) {
    expect(codeOf(options)).toBe("BAD_ARGS");
  }
  expect((await rejection(client.publish("pose", 1, { confirm: true }))).code).toBe("NO_ANSWER");
});
