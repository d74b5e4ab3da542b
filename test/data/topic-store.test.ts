/** Topics, cursors and the bound of memory against a model, without sockets. */
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { StreamPeer } from "../../src/data/stream-peer.ts";
import { TopicStore } from "../../src/data/topic-store.ts";
import { encodeHandover, encodeStreamRequest } from "../../src/protocol/stream.ts";
import { encodePublicationMeta, readSeq } from "../../src/protocol/values.ts";
import { Access } from "../../src/security/access.ts";
import { encodedBytesMax, encodeInto, sizeBytes } from "../../src/transport/shm/framing.ts";

import { until } from "../support/connections.ts";

const framed = (frames: readonly string[]): Buffer => {
  const bytes = Buffer.alloc(encodedBytesMax(frames));
  return bytes.subarray(0, encodeInto(bytes, 0, frames));
};

const framesIn = (bytes: Buffer): string[] => {
  const frames: string[] = [];
  for (let at = sizeBytes; at < bytes.length; ) {
    const end = at + sizeBytes + bytes.readUInt32LE(at);
    frames.push(bytes.toString("utf8", at + sizeBytes, end));
    at = end;
  }
  return frames;
};

/** A peer whose transport takes so many messages, and no more until `take` is called. */
class ModelPeer {
  room = 0;
  readonly values: { topic: string; seq: number; payload: string }[] = [];
  readonly replies: { type: string; serial?: string; data: Record<string, unknown> }[] = [];
  readonly peer: StreamPeer;

  constructor(store: TopicStore) {
    this.peer = new StreamPeer(store, {
      user: null,
      send: ([, meta, data]) => {
        const { data: body } = JSON.parse(`${data}`);
        this.replies.push({ ...JSON.parse(`${meta}`), data: body });
        return true;
      },
      sendValue: (bytes, start, end) => {
        if (this.room <= 0) return false;
        this.room--;
        const message = bytes.subarray(start, end);
        const [topic = "", meta = "", payload = ""] = framesIn(Buffer.from(message));
        this.values.push({ topic, seq: readSeq(Buffer.from(meta), 0, meta.length), payload });
        return true;
      },
      flush: () => undefined,
    });
  }

  receive(frames: readonly string[]): void {
    const bytes = framed(frames);
    this.peer.receive(bytes, sizeBytes, bytes.length);
  }

  publish(topic: string, payload: string, serial?: string): void {
    this.receive([topic, encodePublicationMeta(null, serial), payload]);
  }

  subscribe(data: object): void {
    this.receive(encodeStreamRequest("SUBSCRIBE", "s", { credit: 1_000_000, ...data }));
  }

  take(count: number): void {
    this.room = count;
    this.peer.onRoom();
  }

  droppedOf(topic: string): number {
    let count = 0;
    for (const { type, data } of this.replies) {
      if (type === "DROPPED") count += (data.topics as Record<string, number>)[topic] ?? 0;
    }
    return count;
  }
}

const bytesMax = 20_000;
const newStore = (max = bytesMax, historyMs = 60_000): TopicStore =>
  new TopicStore({ access: () => Access.nobody, onWatched: () => undefined, bytesMax: max, historyMs });

const names = ["a", "b", "longer/name"];
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ publish: fc.constantFrom(...names), size: fc.integer({ min: 1, max: 900 }) }) },
  { weight: 2, arbitrary: fc.record({ take: fc.integer({ min: 0, max: 40 }), who: fc.nat(3) }) },
  { weight: 1, arbitrary: fc.record({ credit: fc.integer({ min: 1, max: 5_000 }), who: fc.nat(3) }) },
);

test("each subscriber gets every value in order or hears that it is lost, and the newest at last; memory keeps its bound", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const store = newStore();
      const publisher = new ModelPeer(store);
      const modes = [{}, { mode: "latest" }, { credit: 700 }, { lastMs: 60_000 }];
      const subscribers = modes.map((mode) => {
        const subscriber = new ModelPeer(store);
        subscriber.subscribe({ prefixes: [""], ...mode });
        return subscriber;
      });
      const published = new Map<string, string[]>(names.map((name) => [name, []]));
      for (const it of steps) {
        if ("publish" in it) {
          const text = `"${"x".repeat(it.size)}${published.get(it.publish)?.length}"`;
          publisher.publish(it.publish, text);
          published.get(it.publish)?.push(text);
        } else if ("take" in it) subscribers[it.who]?.take(it.take);
        else subscribers[it.who]?.receive(encodeStreamRequest("CREDIT", "s", { credit: it.credit }));
        expect(store.topics.bytes).toBeLessThanOrEqual(bytesMax);
      }
      for (const subscriber of subscribers) {
        subscriber.receive(encodeStreamRequest("CREDIT", "s", { credit: 10_000_000 }));
        subscriber.take(1_000_000);
      }
      for (const [index, subscriber] of subscribers.entries()) {
        for (const [name, texts] of published) {
          const got = subscriber.values.filter(({ topic }) => topic === name);
          for (const { seq, payload } of got) expect(payload).toBe(texts[seq - 1] ?? "none");
          expect(got.map(({ seq }) => seq)).toEqual(got.map(({ seq }) => seq).toSorted((a, b) => a - b));
          expect(new Set(got.map(({ seq }) => seq)).size).toBe(got.length);
          if (texts.length > 0) expect(got.at(-1)?.seq).toBe(texts.length);
          if (index !== 1) expect(got.length + subscriber.droppedOf(name)).toBe(texts.length);
          else expect(subscriber.droppedOf(name)).toBe(0);
        }
      }
      store.close();
    }),
    { numRuns: 200 },
  );
});

test("history and the newest value are answered in parts as the peer reads, and what is gone meanwhile is counted", () => {
  const store = newStore();
  const peer = new ModelPeer(store);
  for (let index = 1; index <= 20; index++) peer.publish("a", `${index}`);
  const ask = (data: object): void => peer.receive(encodeStreamRequest("CONTROL", "h", data));
  ask({ command: "history", topic: "a", lastMs: 60_000, limit: 10 });
  ask({ command: "get", topic: "a" });
  ask({ command: "get", topic: "b" });
  expect(peer.replies).toEqual([]);
  peer.take(4);
  for (let index = 0; index < 100; index++) peer.publish("b", `"${"x".repeat(800)}"`);
  peer.publish("a", "21");
  peer.take(100);
  const history = peer.replies.find(({ data }) => "count" in (data ?? {}))?.data ?? {};
  expect(Number(history.count) + Number(history.dropped)).toBe(10);
  const values = peer.values.map(({ payload }) => payload);
  expect(values.slice(0, 4)).toEqual(["11", "12", "13", "14"]);
  // `get` was asked for when 20 was the newest.
  expect(values.filter((value) => value.startsWith('"'))).toEqual([]);
  expect(peer.replies.map(({ type }) => type)).toEqual(["ACK", "ACK", "ERR"]);
  store.close();
});

test("memory full of newest values takes a new value of a topic in its old one's place, and no new topic", () => {
  const store = newStore(10_000);
  const peer = new ModelPeer(store);
  for (let index = 0; index < 8; index++) peer.publish(`t${index}`, `"${"x".repeat(1_000)}"`, `${index}`);
  const stored = peer.replies.filter(({ type }) => type === "ACK").length;
  expect(stored).toBeGreaterThan(2);
  expect(peer.replies.at(-1)).toMatchObject({ type: "ERR", data: { code: "STORE_FULL" } });
  for (let round = 0; round < 5; round++) peer.publish("t0", `"${"y".repeat(1_000)}"`, `again ${round}`);
  expect(peer.replies.slice(-5).map(({ type }) => type)).toEqual(["ACK", "ACK", "ACK", "ACK", "ACK"]);
  expect(store.topics.bytes).toBeLessThanOrEqual(10_000);
  store.close();
});

test("a slow topic's history takes no more than its time needs", () => {
  const store = newStore(10_000_000, 1);
  const peer = new ModelPeer(store);
  const until = performance.now() + 60;
  while (performance.now() < until) {
    peer.peer.onRoom();
    store.tick();
    peer.publish("a", `"${"x".repeat(100)}"`);
    Bun.sleepSync(2);
  }
  // Chunks do not grow while one holds all the time that history has.
  expect(store.topics.get("a")?.last?.bytes.length).toBeLessThan(2_000);
  store.close();
});

test("a removed topic is said to its subscribers with what they have lost, and begins anew", () => {
  const store = newStore();
  const peer = new ModelPeer(store);
  peer.subscribe({ topics: ["a"] });
  peer.publish("a", "1");
  peer.publish("a", "2");
  const epoch = store.topics.get("a")?.epoch;
  peer.receive(encodeStreamRequest("CONTROL", "r", { command: "remove", topic: "a" }));
  expect(peer.droppedOf("a")).toBe(2);
  expect(peer.replies.map(({ type }) => type)).toEqual(["ACK", "DROPPED", "REMOVED", "ACK"]);
  peer.take(10);
  peer.publish("a", "3");
  expect(peer.values).toEqual([{ topic: "a", seq: 1, payload: "3" }]);
  expect(store.topics.get("a")?.epoch).not.toBe(epoch);
  store.close();
});

test("events of the engine reach who asks for them with the gap of lost ones, and not who follows all topics", () => {
  const store = newStore();
  const [all, own] = [new ModelPeer(store), new ModelPeer(store)];
  all.take(100);
  own.take(100);
  all.subscribe({ prefixes: [""], lastMs: 0 });
  store.event("$engine/jobs", '{"data":{"event":"early"},"pack":1.5}', 0);
  own.subscribe({ prefixes: ["$engine/"], lastMs: 1_000 });
  expect(store.engineTopics.watched).toContain("$engine/jobs");
  store.event("$engine/jobs", '{"data":{"event":"a"},"pack":1.5}', 3);
  store.event("$engine/jobs", '{"data":{"event":"b"},"pack":1.5}', 0);
  expect(all.values).toEqual([]);
  expect(own.values.map(({ seq, payload }) => [seq, payload])).toEqual([
    [5, '{"event":"a"}'],
    [6, '{"event":"b"}'],
  ]);
  own.receive(encodeStreamRequest("UNSUBSCRIBE", "s"));
  expect(store.engineTopics.watched).toEqual([]);
  store.close();
});

test("a topic with a staleMs is stale without values, as subscribers and events say, and fresh with the next one", async () => {
  const store = newStore();
  const peer = new ModelPeer(store);
  peer.take(1_000);
  peer.subscribe({ topics: ["a", "$engine/topics"] });
  peer.publish("a", "1");
  store.staleness.set([{ topic: "a", staleMs: 20 }]);
  const events = () =>
    peer.values
      .filter(({ topic }) => topic === "$engine/topics")
      .map(({ payload }) => (JSON.parse(payload) as { event: string }).event);
  await until("stale", () => events().length > 0);
  expect(store.staleness.of("a")).toEqual({ staleMs: 20, stale: true });
  expect(peer.replies.at(-1)).toMatchObject({ type: "STALE", serial: "s", data: { topic: "a" } });
  store.tick();
  peer.publish("a", "2");
  expect(events().slice(0, 2)).toEqual(["stale", "fresh"]);
  expect(store.staleness.of("a")?.stale).toBe(false);
  store.staleness.set([]);
  expect(store.staleness.of("a")).toBeNull();
  expect(store.topics.get("a")?.followers.length).toBe(1);
  store.close();
});

test("whatever a peer sends, nothing throws, memory keeps its bound, and the next value is taken", () => {
  const seeds = [
    ["a", encodePublicationMeta(null), "1"],
    ["a", encodePublicationMeta({ contentType: "image/png" }, "s"), "x"],
    encodeStreamRequest("SUBSCRIBE", "s", { prefixes: [""], credit: 5_000, maxHz: 5, lastMs: 10 }),
    encodeStreamRequest("CREDIT", "s", { credit: 10, sync: true }),
    encodeStreamRequest("UNSUBSCRIBE", "s"),
    encodeStreamRequest("CONTROL", "s", { command: "history", topic: "a", lastMs: 10 }),
    encodeStreamRequest("CONTROL", "s", { command: "topics" }),
    encodeStreamRequest("CONTROL", "s", { command: "remove", topic: "a" }),
    encodeHandover("b", [encodePublicationMeta(null), "1", encodePublicationMeta(null), "2"]).map(String),
    ["", "", ""],
    [],
  ].map((frames) => framed(frames));
  const change = fc.record({ at: fc.nat(), byte: fc.nat(255), cut: fc.option(fc.nat(), { freq: 4 }) });
  const message = fc.oneof(
    fc.record({ seed: fc.nat(seeds.length - 1), changes: fc.array(change, { maxLength: 3 }) }),
    fc.uint8Array({ maxLength: 60 }),
  );
  fc.assert(
    fc.property(fc.array(message, { maxLength: 40 }), (messages) => {
      const store = newStore();
      const peer = new ModelPeer(store);
      peer.take(50);
      for (const it of messages) {
        let bytes = Buffer.from("seed" in it ? (seeds[it.seed] ?? Buffer.alloc(sizeBytes)).subarray(sizeBytes) : it);
        for (const { at, byte, cut } of "seed" in it ? it.changes : []) {
          if (bytes.length > 0) bytes[at % bytes.length] = byte;
          if (cut !== null) bytes = bytes.subarray(0, cut % (bytes.length + 1));
        }
        peer.peer.receive(bytes, 0, bytes.length);
        expect(store.topics.bytes).toBeLessThanOrEqual(bytesMax);
      }
      peer.publish("good", "1", "good");
      expect(peer.replies.at(-1)).toMatchObject({ type: "ACK", serial: "good" });
      store.close();
    }),
    { numRuns: 500 },
  );
});
