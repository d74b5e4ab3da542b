/** Topics and who may read them, on real sockets. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync } from "node:fs";
import { Publisher } from "../../../src/data/publisher.ts";
import { subscriptionPrefixBytesMax, subscriptionsMax } from "../../../src/limits.ts";
import { warn } from "../../../src/process/log.ts";
import type { KeyPair } from "../../../src/security/certificate.ts";
import { curveClient } from "../../../src/security/curve.ts";
import type { Security } from "../../../src/security/gate.ts";
import { Gate } from "../../../src/security/gate.ts";
import { makeKeyPair } from "../../../src/security/keys.ts";
import { Socket, Subscriber } from "../../../src/transport/zmq/socket.ts";
import { until } from "../../support/connections.ts";
import { memoryMib } from "../../support/proc.ts";
import { rawPeer, subscribing, unsubscribing } from "../../support/raw-peer.ts";
import { json } from "../../support/raw-requestor.ts";
import { storeOf } from "../../support/store.ts";

setDefaultTimeout(60_000); // on a busy machine

/** ms in which what was sent has arrived, though this thread reads nothing meanwhile. */
const arrivalMs = 50;
const [engine, arm, cam] = [makeKeyPair(), makeKeyPair(), makeKeyPair()];
const authorized = `${arm.publicKey} arm read:arm/\n${cam.publicKey} cam read:cam/\n`;

const startPublisher = (security: Security | null = { engine, authorized }) => {
  const gate = new Gate(security, warn);
  const publisher = new Publisher(gate, storeOf(gate));
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

test("who has several connections may not have more on all of them than on one", async () => {
  using publisher = startPublisher();
  const half = subscriptionPrefixBytesMax / 512 / 2;
  /** A connection that takes half of what one client may have, and more, and is not made again once it is cut. */
  const takeHalf = (client: KeyPair, area: string): Socket => {
    const socket = new Socket("xsub", { ...curveClient(engine.publicKey, client), reconnectInterval: -1 });
    socket.connect(publisher.endpoint);
    for (let index = 0; index < half; index++) socket.trySend([`\u0001${area}${index}`.padEnd(513, "x")]);
    socket.trySend([`\u0001${area}`]);
    return socket;
  };
  const untilServed = async (inbox: readonly string[], topic: string): Promise<void> => {
    const had = inbox.length;
    await until(`${topic} served`, () => {
      publisher.put(topic);
      return inbox.length > had;
    });
  };
  using first = takeHalf(cam, "cam/1/");
  const ofFirst = inboxOf(first);
  await untilServed(ofFirst, "cam/1/x");
  using second = takeHalf(cam, "cam/2/");
  const ofSecond = inboxOf(second);
  await Bun.sleep(4 * arrivalMs);
  using other = takeHalf(arm, "arm/");
  await untilServed(inboxOf(other), "arm/x");
  publisher.put("cam/2/x");
  await untilServed(ofFirst, "cam/1/x");
  expect(ofSecond).toEqual([]);
});

test("who unsubscribes from what it has not subscribed to gets no room for it", async () => {
  using publisher = startPublisher(null);
  using cheat = await rawPeer(publisher.endpoint, "SUB");
  for (let index = 0; index <= subscriptionsMax && cheat.isOpen; index++) {
    await cheat.send([subscribing(`topic ${index}`), unsubscribing(`another topic ${index}`)]);
    if (index % 500 === 0) await Bun.sleep(1);
  }
  await until("cut off", () => !cheat.isOpen);
});

test("a refused subscription is not kept once it is taken back", async () => {
  using publisher = startPublisher();
  using subscriber = rawReader(publisher.endpoint, cam);
  subscriber.set({ sendHighWaterMark: 0 });
  const refusals = inboxOf(subscriber);
  const name = "x".repeat(800);
  const refuse = async (count: number): Promise<void> => {
    const wanted = refusals.length + count;
    for (let index = 0; index < count; index++) {
      subscriber.trySend([`\u0001${wanted} ${index} ${name}`]);
      subscriber.trySend([`\0${wanted} ${index} ${name}`]);
    }
    await until("refused", () => refusals.length >= wanted);
  };
  await refuse(100);
  const beforeMib = memoryMib(process.pid);
  for (let round = 0; round < 50; round++) await refuse(100);
  // Each byte that is kept costs libzmq 75: together 300 MB.
  expect(memoryMib(process.pid) - beforeMib).toBeLessThan(100);
}, 60_000);

/* ── The engine's own topics ─────────────────────────────────────────────────────────────────────────────────────── */

/** A publisher of an engine without keys, and the topics of the engine that are watched. */
const startWatched = (security: Security | null = null) => {
  const gate = new Gate(security, warn);
  const store = storeOf(gate);
  const publisher = new Publisher(gate, store);
  publisher.bind("tcp://127.0.0.1:*");
  return {
    publisher,
    endpoint: publisher.endpoint,
    watched: () => store.engineTopics.watched.map((topic) => topic.replace("$engine/", "")).join(" "),
    event: (topic: string): void => publisher.event(topic, json({ data: topic, pack: 1 }), 0),
    [Symbol.dispose]: () => {
      publisher.close();
      gate[Symbol.dispose]();
    },
  };
};

test("whoever follows all topics gets those of programs, and none of the engine's own", async () => {
  using engine = startWatched();
  using all = connected(new Subscriber(), engine.endpoint);
  using own = connected(new Subscriber(), engine.endpoint);
  const [values, events] = [inboxOf(all), inboxOf(own)];
  all.subscribe("");
  own.subscribe("$engine/");
  await until("watched", () => engine.watched() !== "");
  engine.event("$engine/jobs");
  for (const topic of ["battery", "\u00e4rm", "%"]) engine.publisher.put(topic, json({ data: 1, pack: 1 }));
  await until("all values", () => values.length >= 3 && events.length > 0);
  expect([values, events]).toEqual([["battery DATA", "\u00e4rm DATA", "% DATA"], ["$engine/jobs DATA"]]);
  all.set({ unsubscribe: "" });
  all.subscribe("mark");
  await until("subscribed", () => {
    engine.publisher.put("mark", json({ data: 1, pack: 1 }));
    engine.publisher.put("battery", json({ data: 1, pack: 1 }));
    return values.includes("mark DATA");
  });
  const before = values.filter((line) => line.startsWith("battery")).length;
  engine.publisher.put("battery", json({ data: 1, pack: 1 }));
  engine.publisher.put("mark", json({ data: 2, pack: 1 }));
  const marks = values.length;
  await until("the mark", () => values.length > marks);
  expect(values.filter((line) => line.startsWith("battery")).length).toBe(before);
});

test("a topic of the engine is watched while somebody is subscribed, also one whose connection ends unsaid", async () => {
  using engine = startWatched();
  const first = connected(new Subscriber(), engine.endpoint);
  using second = connected(new Subscriber(), engine.endpoint);
  first.subscribe("$engine/jobs");
  second.subscribe("$engine/jobs", "$engine/stop", "");
  await until("both", () => engine.watched() === "jobs stop");
  second.set({ unsubscribe: "$engine/jobs" });
  second.set({ unsubscribe: "$engine/stop" });
  await until("the first", () => engine.watched() === "jobs");
  first.close();
  await until("nobody", () => engine.watched() === "");
});

test("the stop is kept for whoever comes while it is followed, and not from an earlier time", async () => {
  using engine = startWatched();
  const first = connected(new Subscriber(), engine.endpoint);
  first.subscribe("$engine/stop");
  await until("watched", () => engine.watched() === "stop");
  engine.event("$engine/stop");
  using second = connected(new Subscriber(), engine.endpoint);
  const kept = inboxOf(second);
  second.subscribe("$engine/stop");
  await until("the newest value", () => kept.length > 0);
  second.set({ unsubscribe: "$engine/stop" });
  first.close();
  await until("nobody", () => engine.watched() === "");
  using third = connected(new Subscriber(), engine.endpoint);
  const late = inboxOf(third);
  third.subscribe("$engine/stop", "$topics");
  await until("the list", () => late.length > 0);
  expect(late).toEqual(["$topics DATA"]);
});

test("the right to read all topics does not give the engine's own, and a refused subscription watches nothing", async () => {
  const [all, page] = [makeKeyPair(), makeKeyPair()];
  const clients = `${all.publicKey} all read\n${page.publicKey} page observe\n`;
  using watched = startWatched({ engine, authorized: clients });
  using refused = reader(watched.endpoint, all);
  using observer = reader(watched.endpoint, page);
  const [none, events] = [inboxOf(refused), inboxOf(observer)];
  refused.subscribe("$engine/jobs", "$engine/", "$", "");
  await until("the refusals", () => none.length === 3);
  expect(watched.watched()).toBe("");
  observer.subscribe("$engine/jobs");
  await until("watched", () => watched.watched() === "jobs");
  watched.event("$engine/jobs");
  watched.publisher.put("battery", json({ data: 1, pack: 1 }));
  await until("the event and the value", () => events.length > 0 && none.length > 3);
  expect([events, none.slice(3)]).toEqual([["$engine/jobs DATA"], ["battery DATA"]]);
});
