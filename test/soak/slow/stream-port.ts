/** Publishers and subscribers of 0.3, by shared memory and by ZeroMQ, with keys and without. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { Publisher } from "../../../src/data/publisher.ts";
import { StreamPort } from "../../../src/data/stream-port.ts";
import { dataBytesMax, localLongBytes, localRingBytes } from "../../../src/limits.ts";
import { warn } from "../../../src/process/log.ts";
import { Gate, type Security } from "../../../src/security/gate.ts";
import { makeKeyPair } from "../../../src/security/keys.ts";
import { Subscriber } from "../../../src/transport/zmq/socket.ts";
import { until } from "../../support/connections.ts";
import { freePorts } from "../../support/ports.ts";
import { storeOf } from "../../support/store.ts";
import { localPeer, localStream, zmqPeer } from "../../support/stream-peer.ts";

setDefaultTimeout(60_000); // on a busy machine

const startData = (security: Security | null = null, bytesMax?: number) => {
  const gate = new Gate(security, warn);
  const store = storeOf(gate, bytesMax);
  const publisher = new Publisher(gate, store);
  const stream = new StreamPort(store, gate);
  publisher.bind("tcp://127.0.0.1:*");
  stream.bind({ host: "127.0.0.1", port: freePorts(1), socket: null });
  gate.onAccess(() => store.accessChanged());
  return {
    gate,
    store,
    endpoint: stream.endpoint,
    publications: publisher.endpoint,
    put: (topic: string, data: string) => {
      const refusal = publisher.put(topic, data);
      stream.flush();
      return refusal;
    },
    event: (topic: string, data: string) => {
      publisher.event(topic, data, 0);
      stream.flush();
    },
    [Symbol.dispose]: () => {
      store.close();
      stream.close();
      gate[Symbol.dispose]();
    },
  };
};

const all = { prefixes: [""], credit: 50_000_000 };

/** `topic META DATA` of publications of 0.2. */
const publicationsAt = (endpoint: string, ...prefixes: string[]) => {
  const subscriber = new Subscriber();
  subscriber.connect(endpoint);
  subscriber.subscribe(...prefixes);
  const arrived: { topic: string; meta: Record<string, unknown>; data: string }[] = [];
  subscriber.onReadable(() => {
    for (let frames = subscriber.tryReceive(); frames !== null; frames = subscriber.tryReceive()) {
      const [topic = "", meta = "", data = ""] = frames.map(String);
      arrived.push({ topic, meta: JSON.parse(meta) as Record<string, unknown>, data });
    }
  });
  return { arrived, [Symbol.dispose]: () => subscriber.close() };
};

for (const [kind, connect] of [
  ["shared memory", localPeer],
  ["ZeroMQ", (endpoint: string) => zmqPeer(endpoint)],
] as const) {
  test(`values go through in order with their place, and confirmed ones are acknowledged, by ${kind}`, async () => {
    using data = startData();
    using publisher = connect(data.endpoint);
    using subscriber = connect(data.endpoint);
    expect((await subscriber.ask("SUBSCRIBE", "s", all)).meta.type).toBe("ACK");
    for (let value = 1; value <= 500; value++) publisher.publish("arm/left", `${value}`);
    publisher.publish("camera", Buffer.from([0xff, 0xd8, 0]), { contentType: "image/jpeg" });
    publisher.publish("arm/left", '{"last":true}', null, "c1");
    const { meta, payload } = await publisher.reply("c1");
    expect([meta.type, (payload as { data: object }).data]).toMatchObject(["ACK", { seq: 501 }]);
    await until("all", () => subscriber.values.length === 502);
    const arm = subscriber.values.filter(({ topic }) => topic === "arm/left");
    expect(arm.map((it) => it.meta.seq)).toEqual(Array.from({ length: 501 }, (_, index) => index + 1));
    expect(arm.slice(0, 500).map((it) => it.payload)).toEqual(Array.from({ length: 500 }, (_, index) => index + 1));
    expect(subscriber.values.find(({ topic }) => topic === "camera")).toMatchObject({
      bytes: 3,
      meta: { seq: 1, contentType: "image/jpeg", version: 0.3, type: "DATA" },
    });
  });

  test(`several long values of one moment all come, although nothing follows them, by ${kind}`, async () => {
    using data = startData();
    using publisher = connect(data.endpoint);
    using subscriber = connect(data.endpoint);
    await subscriber.ask("SUBSCRIBE", "s", all);
    const picture = Buffer.alloc(localLongBytes + 1, 1);
    for (let round = 1; round <= 5; round++) {
      for (let count = 0; count < 3; count++) publisher.publish("picture", picture, { contentType: "image/png" });
      await until("the round", () => subscriber.values.length === 3 * round);
    }
  });

  test(`history that is larger than any queue comes whole, and values of 1 MB, by ${kind}`, async () => {
    using data = startData();
    using peer = connect(data.endpoint);
    const value = `"${"x".repeat(1_000)}"`;
    for (let part = 0; part < 20; part++) {
      for (let count = 0; count < 100; count++) peer.publish("t", value, null, count === 99 ? `p${part}` : undefined);
      await peer.reply(`p${part}`);
    }
    const answer = await peer.ask("CONTROL", "h", { command: "history", topic: "t", lastMs: 60_000 });
    expect((answer.payload as { data: object }).data).toEqual({ count: 2_000, dropped: 0 });
    expect(peer.values.length).toBe(2_000);
    peer.publish("picture", Buffer.alloc(4 * localRingBytes, 1), { contentType: "image/png" }, "big");
    expect((await peer.reply("big")).meta.type).toBe("ACK");
    peer.arrived.length = 0;
    expect((await peer.ask("CONTROL", "g", { command: "get", topic: "picture" })).meta.type).toBe("ACK");
    expect(peer.values.map(({ bytes }) => bytes)).toEqual([4 * localRingBytes]);
  });
}

test("what is wrong with a value is said with its topic, once a second or to who asked, and loses nothing else", async () => {
  using data = startData();
  using peer = localPeer(data.endpoint);
  for (let count = 0; count < 5; count++) peer.publish("$engine/jobs", "1");
  peer.publish("a", "{", null, "bad json");
  peer.publish("a", Buffer.alloc(dataBytesMax + 1), { contentType: "image/png" }, "long");
  peer.publish("a", Buffer.alloc(3), { contentType: "application/octet-stream", dtype: "int16", shape: [2] }, "shape");
  peer.send(["a", '{"version":0.3,"type":"DATA","serial":"no pack"}', "1"]);
  peer.send(["a", '{"version":0.3,"type":"DATA","pack":1,"seq":7,"serial":"seq"}', "1"]);
  peer.send(["a", "junk", "1"]);
  peer.send(["a"]);
  peer.send(["", "junk"]);
  peer.publish("a", "42", null, "good");
  expect((await peer.reply("good")).meta.type).toBe("ACK");
  const errors = peer
    .repliesOf("ERR")
    .map(({ meta, payload }) => [meta.serial, (payload as { data: { code: string } }).data.code]);
  expect(errors).toEqual([
    [undefined, "BAD_FRAME"],
    ["bad json", "BAD_FRAME"],
    ["long", "TOO_LARGE"],
    ["shape", "BAD_FRAME"],
    ["no pack", "BAD_FRAME"],
    ["seq", "BAD_FRAME"],
    [undefined, "BAD_FRAME"],
    [undefined, "BAD_FRAME"],
    [undefined, "BAD_FRAME"],
  ]);
  expect(data.store.topics.size).toBe(1);
});

test("a subscriber that stood still gets the newest value with `latest`, else the count of what is lost and the rest in order", async () => {
  using data = startData(null, 4 * 1024 * 1024);
  using publisher = localPeer(data.endpoint);
  const [stoppedAll, stoppedLatest] = [localStream(data.endpoint), localStream(data.endpoint)];
  using quick = localPeer(data.endpoint);
  await quick.ask("SUBSCRIBE", "s", all);
  const meta = '{"version":0.3,"type":"SUBSCRIBE","pack":1,"serial":"s"}';
  for (const [stopped, mode] of [
    [stoppedAll, "all"],
    [stoppedLatest, "latest"],
  ] as const) {
    stopped.trySend(["", meta, JSON.stringify({ data: { ...all, mode }, pack: 1 })]);
  }
  data.put("other", '{"data":1,"pack":1}');
  await until("all three subscribed", () => data.store.topics.get("other")?.followers.length === 3);
  const value = `"${"x".repeat(3_000)}"`;
  const count = 4_000;
  for (let sent = 0; sent < count; sent += 400) {
    for (let index = 0; index < 400; index++)
      publisher.publish("t", value, null, index === 399 ? `p${sent}` : undefined);
    await publisher.reply(`p${sent}`);
  }
  await until("all at the quick one", () => quick.values.length === count + 1);
  expect(quick.repliesOf("DROPPED")).toEqual([]);
  const read = async (stopped: typeof stoppedAll) => {
    const seqs: number[] = [];
    let dropped = 0;
    stopped.onReadable(() => {
      for (let frames = stopped.tryReceive(); frames !== null; frames = stopped.tryReceive()) {
        const { seq, type } = JSON.parse(String(frames[1])) as { seq?: number; type: string };
        if (frames[0] === "t" && seq !== undefined) seqs.push(seq);
        if (type === "DROPPED") dropped += JSON.parse(String(frames[2])).data.topics.t;
      }
    });
    await until("the newest", () => seqs.at(-1) === count);
    stopped.drop();
    return { seqs, dropped };
  };
  const latest = await read(stoppedLatest);
  expect(latest.dropped).toBe(0);
  expect(latest.seqs.length).toBeLessThan(count / 10);
  const rest = await read(stoppedAll);
  expect(rest.dropped).toBeGreaterThan(0);
  expect(rest.seqs.length + rest.dropped).toBe(count);
  expect(rest.seqs).toEqual(rest.seqs.toSorted((a, b) => a - b));
});

test("with maxHz the last value of a burst comes although nothing else happens", async () => {
  using data = startData();
  using publisher = localPeer(data.endpoint);
  using subscriber = localPeer(data.endpoint);
  await subscriber.ask("SUBSCRIBE", "s", { ...all, maxHz: 20 });
  for (let value = 1; value <= 1_000; value++) publisher.publish("t", `${value}`);
  await until("the last", () => subscriber.values.at(-1)?.payload === 1_000);
  expect(subscriber.values.length).toBeLessThan(1_000);
});

test("no more is on its way than the credit, which the subscriber gives anew", async () => {
  using data = startData();
  using peer = localPeer(data.endpoint);
  await peer.ask("SUBSCRIBE", "s", { topics: ["t"], credit: 1 });
  for (let value = 1; value <= 3; value++) peer.publish("t", `${value}`);
  expect((await peer.ask("CREDIT", "s", { credit: 1, sync: true })).meta.type).toBe("ACK");
  expect(peer.values.map(({ payload }) => payload)).toEqual([1]);
  expect((await peer.ask("CREDIT", "s", { credit: 5_000, sync: true })).meta.type).toBe("ACK");
  expect(peer.values.map(({ payload }) => payload)).toEqual([1, 2, 3]);
});

test("subscribers of 0.2 get streamed values as DATA with their place, puts as they came, and an ERR for what is not theirs", async () => {
  using data = startData();
  using old = publicationsAt(data.publications, "");
  using peer = localPeer(data.endpoint);
  await until("subscribed", () => {
    data.put("start", '{"data":0,"pack":1.5}');
    return old.arrived.length > 0;
  });
  old.arrived.length = 0;
  const put = '{"data":{"volts": 11.10},"pack":7.25,"topic":"battery"}';
  expect(data.put("battery", put)).toBeNull();
  peer.publish("distance", "0.50");
  peer.publish("bad", "{not json");
  for (let count = 0; count < 5; count++) peer.publish("camera", Buffer.from([1, 2]), { contentType: "image/jpeg" });
  peer.publish("end", "1", null, "end");
  await until("the end", () => old.arrived.at(-1)?.topic === "end");
  while (old.arrived[0]?.topic === "start") old.arrived.shift();
  expect(old.arrived.map(({ topic, meta: { type, seq } }) => [topic, type, seq])).toEqual([
    ["battery", "DATA", 1],
    ["distance", "DATA", 1],
    ["bad", "ERR", undefined],
    ["camera", "ERR", undefined],
    ["end", "DATA", 1],
  ]);
  expect(old.arrived[0]?.data).toBe(put);
  expect(old.arrived[1]?.data).toMatch(/^\{"data":0\.50,"pack":[\d.]+\}$/);
  expect(old.arrived[3]?.data).toContain("topic camera: the value is image/jpeg; only version 0.3 can read it");
  using late = publicationsAt(data.publications, "battery", "camera", "$topics");
  await until("the last values", () => late.arrived.length === 3);
  expect(late.arrived.map(({ topic, meta }) => `${topic} ${meta.type}`).sort()).toEqual([
    "$topics DATA",
    "battery DATA",
    "camera ERR",
  ]);
  expect(late.arrived.find(({ topic }) => topic === "battery")?.data).toBe('{"data":{"volts": 11.10},"pack":7.25}');
});

test("values that are put, and events of the engine, reach subscribers of 0.3", async () => {
  using data = startData();
  using peer = localPeer(data.endpoint);
  await peer.ask("SUBSCRIBE", "s", { ...all, prefixes: ["", "$engine/"] });
  data.put("battery", '{"data":{"volts":11.1},"pack":7.25}');
  data.event("$engine/stop", '{"data":{"stopped":false},"pack":8.5}');
  await until("both", () => peer.values.length === 2);
  expect(peer.values).toMatchObject([
    { topic: "battery", payload: { volts: 11.1 }, meta: { seq: 1, pack: 7.25 } },
    { topic: "$engine/stop", payload: { stopped: false }, meta: { pack: 8.5 } },
  ]);
});

test("with keys a client publishes and follows what its rights allow, and a right that is taken back ends that", async () => {
  const [engine, arm] = [makeKeyPair(), makeKeyPair()];
  const authorized = `${arm.publicKey} arm read:arm/ write:arm/\n`;
  using data = startData({ engine, authorized });
  using peer = zmqPeer(data.endpoint, engine.publicKey, arm);
  const codeOf = ({ meta, payload }: { meta: Record<string, unknown>; payload: unknown }): unknown =>
    meta.type === "ACK" ? "ACK" : (payload as { data: { code: string } }).data.code;
  expect(codeOf(await peer.ask("SUBSCRIBE", "all", all))).toBe("UNAUTHORIZED");
  expect(codeOf(await peer.ask("SUBSCRIBE", "arm", { prefixes: ["arm/"], credit: 1_000_000 }))).toBe("ACK");
  peer.publish("cam/x", "1", null, "cam");
  expect(codeOf(await peer.reply("cam"))).toBe("UNAUTHORIZED");
  peer.publish("arm/x", "1");
  peer.publish("arm/x", "2", null, "arm/x");
  expect(codeOf(await peer.reply("arm/x"))).toBe("ACK");
  expect(codeOf(await peer.ask("CONTROL", "get", { command: "get", topic: "cam/x" }))).toBe("UNAUTHORIZED");
  expect(peer.values.map(({ payload }) => payload)).toEqual([1, 2]);
  data.gate.admit(`${arm.publicKey} arm write:cam/\n`);
  await until("the refusal", () => peer.repliesOf("ERR").some(({ meta }) => meta.serial === "arm"));
  data.put("arm/x", '{"data":3,"pack":1}');
  peer.publish("arm/x", "4", null, "late");
  expect(codeOf(await peer.reply("late"))).toBe("UNAUTHORIZED");
  expect(peer.values.length).toBe(2);
});

test("a peer that ends leaves nothing behind", async () => {
  using data = startData();
  const local = localPeer(data.endpoint);
  const remote = zmqPeer(data.endpoint);
  for (const peer of [local, remote]) await peer.ask("SUBSCRIBE", "s", { topics: ["t", "$engine/jobs"], credit: 100 });
  data.put("t", '{"data":1,"pack":1}');
  expect(data.store.topics.get("t")?.followers.length).toBe(2);
  expect(data.store.engineTopics.watched).toEqual(["$engine/jobs"]);
  local[Symbol.dispose]();
  remote[Symbol.dispose]();
  await until("both gone", () => data.store.topics.get("t")?.followers.length === 0);
  expect(data.store.engineTopics.watched).toEqual([]);
});

test("the list of topics has what a person asks for, and a removal is an event", async () => {
  using data = startData();
  using peer = localPeer(data.endpoint);
  await peer.ask("SUBSCRIBE", "s", { topics: ["$engine/topics", "camera"], credit: 100_000 });
  peer.publish("battery", "1");
  peer.publish("battery", '{"volts":11}');
  peer.publish("camera", Buffer.alloc(100), { contentType: "image/jpeg" });
  const { payload } = await peer.ask("CONTROL", "t", { command: "topics" });
  expect((payload as { data: { topics: object[] } }).data.topics).toMatchObject([
    { topic: "battery", contentType: "application/json", bytes: 12, values: 2, dropped: 0, publisher: null },
    { topic: "camera", contentType: "image/jpeg", bytes: 100, values: 1 },
  ]);
  expect((await peer.ask("CONTROL", "r", { command: "remove", topic: "camera" })).meta.type).toBe("ACK");
  await until("the event", () => peer.values.some(({ topic }) => topic === "$engine/topics"));
  expect(peer.values.at(-1)?.payload).toMatchObject({ event: "removed", topic: "camera" });
  expect(peer.repliesOf("REMOVED").map(({ meta }) => meta.serial)).toEqual(["s"]);
  expect((await peer.ask("CONTROL", "g", { command: "get", topic: "camera" })).meta.type).toBe("ERR");
});

test("subscribers that read nothing hold bounded memory, and a long value still reaches the others", async () => {
  using data = startData(null, 64 * 1024 * 1024);
  using publisher = localPeer(data.endpoint);
  const meta = '{"version":0.3,"type":"SUBSCRIBE","pack":1,"serial":"s"}';
  const subscribe = JSON.stringify({ data: { topics: ["picture"], mode: "latest", credit: 50_000_000 }, pack: 1 });
  const stuck = Array.from({ length: 6 }, () => localStream(data.endpoint));
  for (const connection of stuck) connection.trySend(["", meta, subscribe]);
  data.put("picture", '{"data":0,"pack":1}');
  await until("all subscribed", () => data.store.topics.get("picture")?.followers.length === stuck.length);
  const picture = Buffer.alloc(7 * 1024 * 1024);
  const publish = async (serial: string): Promise<void> => {
    publisher.publish("picture", picture, { contentType: "image/png" }, serial);
    expect((await publisher.reply(serial)).meta.type).toBe("ACK");
  };
  await publish("first");
  using reader = localPeer(data.endpoint);
  await reader.ask("SUBSCRIBE", "s", { topics: ["picture"], mode: "latest", credit: 50_000_000 });
  await publish("second");
  await until("the reader has it", () => reader.values.at(-1)?.meta.seq === 3);
  expect(data.store.drops.peerNotReading).toBeGreaterThan(0);
  for (const connection of stuck) connection.drop();
});
