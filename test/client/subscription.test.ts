import { expect, setDefaultTimeout, test } from "bun:test";
import { type Client, connect, type Subscription, type TopicValue } from "task-engine";
import { Publisher } from "../../src/data/publisher.ts";
import { subscriptionValuesMax, topicsMax } from "../../src/limits.ts";
import { warn } from "../../src/process/log.ts";
import type { Json } from "../../src/protocol/json.ts";
import { Gate } from "../../src/security/gate.ts";
import { XPublisher } from "../../src/transport/zmq/socket.ts";
import { startDataPlane } from "../support/data-plane.ts";
import { handRouter, untilFree } from "../support/hand-router.ts";
import { freePorts } from "../support/ports.ts";
import { rejection } from "../support/rejection.ts";
import { storeOf } from "../support/store.ts";

setDefaultTimeout(60_000); // on a busy machine

const newPublisher = (): Publisher => {
  const gate = new Gate(null, warn);
  return new Publisher(gate, storeOf(gate));
};

/** A data worker's publisher, and a router that leads to it. */
const startData = () => {
  const endpoint = `tcp://127.0.0.1:${freePorts(1)}`;
  const router = handRouter();
  router.serve((arrived) => arrived.ack({ tasks: [], data: [endpoint] }));
  const publisher = newPublisher();
  publisher.bind(endpoint);
  return {
    router: router.endpoint,
    put: (topic: string, data: Json) => expect(publisher.put(topic, JSON.stringify({ data, pack: 7 }))).toBeNull(),
    [Symbol.dispose]: () => {
      publisher.close();
      router[Symbol.dispose]();
    },
  };
};

const read = async (subscription: Subscription): Promise<TopicValue> => {
  const { value } = await subscription.next();
  if (value === undefined) throw new Error("the subscription ended");
  return value;
};

/** Waits until a subscription has reached the publisher. */
const subscribedTo = async (publisher: XPublisher, topic: string): Promise<void> => {
  for (;;) {
    const [subscription] = await publisher.receive();
    if (Buffer.from(subscription ?? []).toString() === `\x01${topic}`) return;
  }
};

/** Reads until `last` has come, and gives all of it as `topic=data`. */
const readUntil = async (subscription: Subscription, last: string): Promise<string[]> => {
  const seen: string[] = [];
  while (seen.at(-1) !== last) {
    const { topic, data } = await read(subscription);
    seen.push(`${topic}=${data}`);
  }
  return seen;
};

test("a subscriber gets the last value of each topic that begins so, then every later one, each once", async () => {
  using data = startData();
  await using client = connect(data.router);
  for (const topic of ["arm", "arm.left", "leg"]) data.put(topic, 1);
  const subscription = client.subscribe("arm");
  expect((await readUntil(subscription, "arm.left=1")).sort()).toEqual(["arm.left=1", "arm=1"]);
  data.put("leg", 2);
  data.put("arm", 2);
  data.put("army", 3);
  data.put("arm", 4);
  expect(await readUntil(subscription, "arm=4")).toEqual(["arm=2", "army=3", "arm=4"]);
  expect(subscription.dropped).toBe(0);
  expect(subscription.malformed).toBe(0);
});

test("a value has its topic, its data and its time", async () => {
  using data = startData();
  await using client = connect(data.router);
  data.put("pose", { x: 1 });
  expect((await read(client.subscribe("pose"))).toJSON()).toEqual({ topic: "pose", data: { x: 1 }, pack: 7 });
});

test("without topics all are followed, and none of the engine's own is shown", async () => {
  using data = startData();
  await using client = connect(data.router);
  for (let index = 0; index < 20; index++) data.put(`t${index}`, index);
  const subscription = client.subscribe();
  const seen = new Set<string>();
  while (seen.size < 20) seen.add((await read(subscription)).topic);
  expect([...seen].every((topic) => topic.startsWith("t"))).toBe(true);
});

test("the last values of as many topics as there can be all arrive", async () => {
  using data = startDataPlane();
  await using client = connect(data.router);
  for (let index = 0; index < topicsMax; index++) client.publish(`t${index}`, index);
  await client.drained();
  const subscription = client.subscribe("t");
  const seen = new Set<string>();
  while (seen.size + subscription.dropped < topicsMax) seen.add((await read(subscription)).topic);
  expect(seen.size).toBe(topicsMax);
});

test("leaving the loop ends the subscription, and the client can go on", async () => {
  using data = startData();
  await using client: Client = connect(data.router);
  data.put("pose", 1);
  for await (const { data: value } of client.subscribe("pose")) {
    expect(value).toBe(1);
    break;
  }
  expect(await read(client.subscribe("pose"))).toMatchObject({ data: 1 });
});

test("return ends a read that waits", async () => {
  using data = startData();
  await using client = connect(data.router);
  const subscription = client.subscribe("never");
  const reading = subscription.next();
  await subscription.return();
  expect(await reading).toEqual({ done: true, value: undefined });
  expect(await subscription.next()).toEqual({ done: true, value: undefined });
});

test("who reads too slowly keeps the newest values, and what was lost is counted", async () => {
  const endpoint = `tcp://127.0.0.1:${freePorts(1)}`;
  using router = handRouter();
  router.serve((arrived) => arrived.ack({ tasks: [], data: [endpoint] }));
  // Without a high-water mark, so that nothing is lost on the way.
  using publisher = new XPublisher({ sendHighWaterMark: 0 });
  publisher.bind(endpoint);
  await using client = connect(router.endpoint);
  const subscription = client.subscribe("fast");
  await subscribedTo(publisher, "$topics");
  const total = subscriptionValuesMax + 500;
  for (let index = 1; index <= total; index++) {
    const meta = { id: "fast", role: "publisher", version: 0.2, type: "DATA", pack: 7, serial: String(index) };
    publisher.trySend(["fast", JSON.stringify(meta), JSON.stringify({ data: index, pack: 7 })]);
  }
  while (subscription.dropped < 500) await Bun.sleep(5);
  expect(await read(subscription)).toMatchObject({ data: 501 });
  for (let index = 502; index <= total; index++) expect((await read(subscription)).data).toBe(index);
});

test("messages that are no publications are counted and skipped", async () => {
  const endpoint = `tcp://127.0.0.1:${freePorts(1)}`;
  using router = handRouter();
  router.serve((arrived) => arrived.ack({ tasks: [], data: [endpoint] }));
  using publisher = new XPublisher();
  publisher.bind(endpoint);
  await using client = connect(router.endpoint);
  const subscription = client.subscribe("t");
  await subscribedTo(publisher, "$topics");
  const meta = '{"id":"t","role":"publisher","version":0.2,"type":"DATA","pack":7,"serial":"1"}';
  const good = '{"data":1,"pack":7}';
  for (const frames of [["t"], ["t", "{"], ["t", meta], ["t", meta, "{"], ["t", "[]", good], ["t", meta, good, good]]) {
    publisher.trySend(frames);
  }
  publisher.trySend(["$topics", meta, '{"data":5,"pack":7}']);
  publisher.trySend(["t", meta, good]);
  expect((await read(subscription)).toJSON()).toEqual({ topic: "t", data: 1, pack: 7 });
  expect(subscription.malformed).toBe(7);
});

test("a data worker that comes back on its port is followed again", async () => {
  const endpoint = `tcp://127.0.0.1:${freePorts(1)}`;
  using router = handRouter();
  router.serve((arrived) => arrived.ack({ tasks: [], data: [endpoint] }));
  await using client = connect(router.endpoint);
  const subscription = client.subscribe("pose");
  for (const value of [1, 2]) {
    const publisher = newPublisher();
    await untilFree(() => publisher.bind(endpoint));
    publisher.put("pose", JSON.stringify({ data: value, pack: value }));
    expect(await read(subscription)).toMatchObject({ data: value });
    publisher.close();
  }
});

test("an engine without a data worker is UNAVAILABLE", async () => {
  using router = handRouter();
  router.serve((arrived) => arrived.ack({ tasks: [], data: [] }));
  await using client = connect(router.endpoint);
  const subscription = client.subscribe("pose");
  expect((await rejection(subscription.next())).code).toBe("UNAVAILABLE");
  expect(await subscription.next()).toEqual({ done: true, value: undefined });
});
