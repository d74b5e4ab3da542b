/** Topics that go from one data worker to another, by the sockets between them. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { handOver } from "../../src/data/handover.ts";
import { Publisher } from "../../src/data/publisher.ts";
import { StreamPort } from "../../src/data/stream-port.ts";
import { dataBytesMax } from "../../src/limits.ts";
import { warn } from "../../src/process/log.ts";
import { Gate } from "../../src/security/gate.ts";
import { until } from "../support/connections.ts";
import { freePorts } from "../support/ports.ts";
import { storeOf } from "../support/store.ts";
import { localPeer, localStream } from "../support/stream-peer.ts";

setDefaultTimeout(60_000); // on a busy machine

const startData = () => {
  const gate = new Gate(null, warn);
  const store = storeOf(gate);
  const publisher = new Publisher(gate, store);
  const stream = new StreamPort(store, gate);
  publisher.bind("tcp://127.0.0.1:*");
  stream.bind({ host: "127.0.0.1", port: freePorts(1), socket: null });
  return {
    store,
    ports: { publications: publisher.endpoint, stream: stream.endpoint },
    put: (topic: string, value: number) => publisher.put(topic, `{"data":${value},"pack":${value}.5}`),
    flush: () => stream.flush(),
    [Symbol.dispose]: () => {
      store.close();
      stream.close();
      gate[Symbol.dispose]();
    },
  };
};

const names = Array.from({ length: 40 }, (_, index) => `topic${index}`);
const namesIn = ({ store }: ReturnType<typeof startData>): string[] => [...store.topics].map(({ name }) => name).sort();

test("a second data worker gets its topics with their values from the first, and newer ones stay", async () => {
  using first = startData();
  using second = startData();
  for (const name of names) for (let value = 1; value <= 3; value++) first.put(name, value);
  using peer = localPeer(first.ports.stream);
  await peer.ask("SUBSCRIBE", "s", { prefixes: [""], credit: 1_000_000 });
  const all = [first.ports, second.ports];
  first.store.share(all, first.ports.publications);
  second.store.share(all, second.ports.publications);
  first.flush();
  const moving = names.filter((name) => second.store.owners.owns(name));
  expect(moving.length).toBeGreaterThan(5);
  const [newer = ""] = moving;
  second.put(newer, 9);
  const give = () => handOver({ store: first.store, valueBytesMax: dataBytesMax, dial: localStream });
  expect(await give()).toBe(0);
  await until("all taken", () => second.store.topics.size === moving.length);
  expect(namesIn(second)).toEqual(moving.toSorted());
  expect(namesIn(first)).toEqual(names.filter((name) => !moving.includes(name)).sort());
  using reader = localPeer(second.ports.stream);
  const history = async (topic: string): Promise<unknown[]> => {
    reader.arrived.length = 0;
    await reader.ask("CONTROL", topic, { command: "history", topic, lastMs: 60_000 });
    return reader.values.map(({ payload, meta }) => [payload, meta.pack, meta.seq]);
  };
  expect(await history(newer)).toEqual([[9, 9.5, 1]]);
  expect(await history(moving[1] ?? "")).toEqual([
    [1, 1.5, 1],
    [2, 2.5, 2],
    [3, 3.5, 3],
  ]);
  expect(peer.repliesOf("MOVED")).toMatchObject([{ meta: { serial: "s" }, payload: { data: { dataWorkers: all } } }]);
  peer.publish(newer, "10", null, "moved");
  await until("the answer", () => peer.repliesOf("MOVED").some(({ meta }) => meta.serial === "moved"));
  expect(second.store.topics.get(newer)?.seq).toBe(1);
});

test("topics that nobody takes stay, and are counted", async () => {
  using first = startData();
  for (const name of names) first.put(name, 1);
  const gone = { publications: "tcp://127.0.0.1:1", stream: "tcp://127.0.0.1:2" };
  first.store.share([gone], first.ports.publications);
  expect(await handOver({ store: first.store, valueBytesMax: dataBytesMax, dial: () => null })).toBe(names.length);
  expect(first.store.topics.size).toBe(names.length);
});

test("of a history that is too long for one message the newest values go over", async () => {
  using first = startData();
  using second = startData();
  for (let value = 1; value <= 3_000; value++) first.put("long", value);
  first.store.share([second.ports], first.ports.publications);
  expect(await handOver({ store: first.store, valueBytesMax: 1_000, dial: localStream })).toBe(0);
  await until("taken", () => second.store.topics.get("long") !== undefined);
  using reader = localPeer(second.ports.stream);
  await reader.ask("CONTROL", "h", { command: "history", topic: "long", lastMs: 60_000 });
  const values = reader.values.map(({ payload }) => Number(payload));
  expect(values.at(-1)).toBe(3_000);
  expect(values.length).toBeLessThan(3_000);
  expect(values).toEqual(Array.from(values, (_, index) => 3_000 - values.length + 1 + index));
});

test("values whose META does not begin with its brace, where their place is written, are not taken over", () => {
  using data = startData();
  const meta = (start: string): string => `${start}{"version":0.3,"type":"DATA","pack":1.5}`;
  expect(data.store.takeOver(null, ["a", meta(" "), "1"])).toEqual({
    code: "BAD_FRAME",
    message: "META: does not begin with {",
  });
  expect(data.store.takeOver(null, ["b", meta(""), "1"])).toBeNull();
  expect(namesIn(data)).toEqual(["b"]);
});
