/** Topics and who may read them, on real sockets. */
import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import type { KeyPair } from "../../src/certificate.ts";

import { subscriptionsMax } from "../../src/limits.ts";

import { Publisher } from "../../src/worker/publisher.ts";
import { Gate } from "../../src/zmq/gate.ts";
import { curveClient, makeKeyPair } from "../../src/zmq/keys.ts";
import { Socket, Subscriber } from "../../src/zmq/socket.ts";
import { until } from "../support/connections.ts";
import { json } from "../support/raw-requestor.ts";

/** ms in which what was sent has arrived, though this thread reads nothing meanwhile. */
const arrivalMs = 50;
const [engine, arm, cam] = [makeKeyPair(), makeKeyPair(), makeKeyPair()];
const authorized = `${arm.publicKey} arm read:arm/\n${cam.publicKey} cam read:cam/\n`;

const startPublisher = () => {
  const gate = new Gate({ engine, member: makeKeyPair(), authorized });
  const publisher = new Publisher(gate);
  publisher.bind("tcp://127.0.0.1:*");
  const endpoint = publisher.endpoint;
  let value = 0;
  return {
    endpoint,
    put: (topic: string): void => {
      publisher.put(topic, json({ data: ++value, pack: 1 }));
    },
    [Symbol.dispose]: () => {
      publisher.close();
      gate[Symbol.dispose]();
    },
  };
};

/** What comes at a socket, as `topic TYPE`. */
const inboxOf = (socket: Socket): string[] => {
  const inbox: string[] = [];
  socket.onReadable(() => {
    for (let frames = socket.tryReceive(); frames !== null; frames = socket.tryReceive()) {
      const [topic, meta] = frames.map((frame) => Buffer.from(frame).toString());
      inbox.push(`${topic} ${JSON.parse(meta ?? "{}").type}`);
    }
  });
  return inbox;
};

const connected = <Kind extends Socket>(socket: Kind, endpoint: string): Kind => {
  socket.connect(endpoint);
  return socket;
};
const reader = (endpoint: string, key: KeyPair): Subscriber =>
  connected(new Subscriber({ ...curveClient(engine.publicKey, key), reconnectInterval: 20 }), endpoint);
const rawReader = (endpoint: string, key: KeyPair): Socket =>
  connected(new Socket("xsub", curveClient(engine.publicKey, key)), endpoint);

test("who may not read a topic is told so, and gets no value of it, now or later", async () => {
  using publisher = startPublisher();
  using subscriber = reader(publisher.endpoint, cam);
  const inbox = inboxOf(subscriber);
  publisher.put("arm/left");
  subscriber.subscribe("arm/left", "arm/", "", "cam/front");
  await until("all refused", () => inbox.filter((line) => line.endsWith("ERR")).length === 3);
  for (const topic of ["arm/left", "arm/right", "lidar", "cam/front"]) publisher.put(topic);
  await until("the allowed one", () => inbox.includes("cam/front DATA"));
  expect(inbox.filter((line) => line.endsWith("DATA"))).toEqual(["cam/front DATA"]);
});

test("messages that are no subscriptions do not shift one subscriber's right to another", async () => {
  using publisher = startPublisher();
  using thief = rawReader(publisher.endpoint, cam);
  using honest = reader(publisher.endpoint, arm);
  const [stolen, received] = [inboxOf(thief), inboxOf(honest)];
  thief.trySend(["\u0001cam/x"]);
  honest.subscribe("arm/first");
  await until("both connected", () => {
    publisher.put("cam/x");
    publisher.put("arm/first");
    return stolen.length > 0 && received.length > 0;
  });
  stolen.length = 0;
  // libzmq pairs what it passes up with the connection that it came from, and takes a message of this kind for a subscription.
  thief.trySend(["\u0002no subscription"]);
  Bun.sleepSync(arrivalMs);
  publisher.put("arm/first");
  honest.subscribe("arm/left");
  Bun.sleepSync(arrivalMs);
  publisher.put("arm/first");
  thief.trySend(["\u0001cam/y"]);
  Bun.sleepSync(arrivalMs);
  await until("the honest one has what it asked for", () => {
    publisher.put("arm/left");
    return received.includes("arm/left DATA");
  });
  await Bun.sleep(arrivalMs);
  expect(stolen.filter((line) => line.startsWith("arm/"))).toEqual([]);
});

test("a subscriber with more subscriptions than anybody needs is cut off, and others are not", async () => {
  using publisher = startPublisher();
  using honest = reader(publisher.endpoint, arm);
  const received = inboxOf(honest);
  honest.subscribe("arm/");
  using greedy = rawReader(publisher.endpoint, cam);
  greedy.set({ sendHighWaterMark: 0 });
  const got = inboxOf(greedy);
  greedy.trySend(["\u0001cam/x"]);
  await until("both connected", () => {
    publisher.put("cam/x");
    publisher.put("arm/left");
    return got.length > 0 && received.length > 0;
  });
  const before = readdirSync("/proc/self/fd").length;
  for (let index = 0; index <= subscriptionsMax; index++) greedy.trySend([`\u0001cam/${index}`]);
  await until("cut off", () => readdirSync("/proc/self/fd").length < before);
  received.length = 0;
  publisher.put("arm/right");
  await until("the other still served", () => received.includes("arm/right DATA"));
});
