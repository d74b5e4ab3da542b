/** Values of plain PUB sockets. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { PlainPort } from "../../src/data/plain-port.ts";
import { dataBytesMax } from "../../src/limits.ts";
import { encodePublicationMeta, type PayloadType } from "../../src/protocol/values.ts";
import { curveClient } from "../../src/security/curve.ts";
import { Gate, type Security } from "../../src/security/gate.ts";
import { makeKeyPair } from "../../src/security/keys.ts";
import { Socket } from "../../src/transport/zmq/socket.ts";
import { until } from "../support/connections.ts";
import { storeOf } from "../support/store.ts";

setDefaultTimeout(60_000); // on a busy machine

const startPort = (security: Security | null = null) => {
  const lines: string[] = [];
  const gate = new Gate(security, (line) => lines.push(line));
  const store = storeOf(gate);
  const port = new PlainPort(store, gate, dataBytesMax, () => undefined);
  port.bind("tcp://127.0.0.1:*");
  return {
    store,
    endpoint: port.endpoint,
    lines,
    refused: () => store.drops.plainValueRefused ?? 0,
    [Symbol.dispose]: () => {
      store.close();
      gate[Symbol.dispose]();
    },
  };
};

const publish = (socket: Socket, topic: string, payload: string | Buffer, type: PayloadType | null = null): void => {
  socket.trySend([topic, encodePublicationMeta(type), payload]);
};

test("a PUB socket publishes what is right, and what is not is counted and logged once", async () => {
  using port = startPort();
  using pub = new Socket("pub");
  pub.connect(port.endpoint);
  await until("connected", () => {
    publish(pub, "start", "0");
    return port.store.topics.size > 0;
  });
  for (let value = 1; value <= 10; value++) publish(pub, "distance", `${value}`);
  publish(pub, "camera", Buffer.from([0xff, 0xd8]), { contentType: "image/jpeg" });
  for (let count = 0; count < 3; count++) publish(pub, "distance", "{");
  publish(pub, "$engine/jobs", "1");
  pub.trySend(["distance", "junk", "1"]);
  pub.trySend(["distance"]);
  pub.trySend(["", "a", "b", "c"]);
  publish(pub, "end", "1");
  await until("the end", () => port.store.topics.get("end") !== undefined);
  expect([...port.store.topics].map(({ name, seq }) => [name, name === "start" ? 0 : seq])).toEqual([
    ["start", 0],
    ["distance", 10],
    ["camera", 1],
    ["end", 1],
  ]);
  expect(port.refused()).toBe(7);
  expect(port.lines).toHaveLength(1);
  expect(port.lines[0]).toContain("BAD_FRAME: payload: not JSON");
});

test("with keys a PUB socket publishes what its user may write", async () => {
  const [engine, arm] = [makeKeyPair(), makeKeyPair()];
  using port = startPort({ engine, authorized: `${arm.publicKey} arm write:arm/\n` });
  using pub = new Socket("pub", curveClient(engine.publicKey, arm));
  pub.connect(port.endpoint);
  await until("both", () => {
    publish(pub, "cam/x", "1");
    publish(pub, "arm/x", "1");
    return port.store.topics.size > 0 && port.refused() > 0;
  });
  expect([...port.store.topics].map(({ name, publisher }) => [name, publisher])).toEqual([["arm/x", "arm"]]);
  expect(port.lines[0]).toContain("Refused a value of arm at tcp://127.0.0.1");
});
