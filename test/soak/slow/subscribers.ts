/** Subscribers that flood a data worker, and one that is gone without a word: what `publisher.ts` has no time for. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { Publisher } from "../../../src/data/publisher.ts";
import { warn } from "../../../src/process/log.ts";
import { Gate } from "../../../src/security/gate.ts";
import { Subscriber } from "../../../src/transport/zmq/socket.ts";
import { until } from "../../support/connections.ts";
import { memoryMib } from "../../support/proc.ts";
import { rawPeer, subscribing } from "../../support/raw-peer.ts";
import { json } from "../../support/raw-requestor.ts";
import { storeOf } from "../../support/store.ts";

const startPublisher = () => {
  const gate = new Gate(null, warn);
  const publisher = new Publisher(gate, storeOf(gate));
  publisher.bind("tcp://127.0.0.1:*");
  let value = 0;
  return {
    endpoint: publisher.endpoint,
    put: (topic: string): void => {
      publisher.put(topic, json({ data: ++value, pack: 1 }));
    },
    [Symbol.dispose]: () => {
      publisher.close();
      gate[Symbol.dispose]();
    },
  };
};

test("a subscriber that is there no more, without a word, is closed", async () => {
  using publisher = startPublisher();
  // It answers no PING.
  using gone = await rawPeer(publisher.endpoint, "SUB");
  await gone.send([subscribing("arm/")]);
  await until("closed", () => !gone.isOpen);
}, 40_000);

test("a flood of subscriptions keeps values from nobody", async () => {
  using publisher = startPublisher();
  using honest = new Subscriber();
  honest.connect(publisher.endpoint);
  honest.subscribe("arm/");
  let received = 0;
  honest.onReadable(() => {
    while (honest.tryReceive() !== null) received++;
  });
  const beforeMib = memoryMib(process.pid);
  const floodMs = 10_000;
  await using flood = Bun.spawn(
    [process.execPath, join(import.meta.dir, "../../support/flood-host.ts"), publisher.endpoint, String(floodMs)],
    { stdin: "ignore", stdout: "pipe", stderr: "inherit" },
  );
  await flood.stdout.values().next();
  for (const endMs = performance.now() + floodMs / 2; performance.now() < endMs; await Bun.sleep(20)) {
    publisher.put("arm/left");
  }
  // Else this thread would only have come back when the flood was over.
  expect(flood.exitCode).toBeNull();
  expect(received).toBeGreaterThan(3);
  expect(memoryMib(process.pid) - beforeMib).toBeLessThan(500);
  flood.kill("SIGKILL");
}, 60_000);
