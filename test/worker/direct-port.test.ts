/** A task worker's own port with keys, on real sockets: who may run what there. */
import { expect, test } from "bun:test";
import { directJobsPerClientMax } from "../../src/limits.ts";
import { warn } from "../../src/process/log.ts";
import type { KeyPair } from "../../src/security/certificate.ts";
import { curveClient } from "../../src/security/curve.ts";
import { Gate } from "../../src/security/gate.ts";
import { makeKeyPair } from "../../src/security/keys.ts";
import { Dealer } from "../../src/transport/zmq/socket.ts";
import { DirectPort } from "../../src/worker/direct-port.ts";
import { Executor } from "../../src/worker/executor.ts";
import { Restrictions } from "../../src/worker/restrictions.ts";
import { registryOf, type TestTask } from "../support/executor.ts";
import { freePorts } from "../support/ports.ts";
import { metaFrame, type RawReply, readReply, taskFrame } from "../support/raw-requestor.ts";

const [engine, laptop, phone] = [makeKeyPair(), makeKeyPair(), makeKeyPair()];
const lineOf = (key: KeyPair, name: string, rights: string): string => `${key.publicKey} ${name} ${rights}\n`;

const startPort = (authorized: string) => {
  const begun: string[] = [];
  const released = Promise.withResolvers<void>();
  const aborted = Promise.withResolvers<string>();
  const tasks: Record<string, TestTask> = {
    hold: () => released.promise,
    count: ([a, b]) => Number(a) + Number(b),
    drive: async (_args, _kwargs, { signal }) => {
      begun.push("drive");
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      aborted.resolve(String(signal.reason.message));
      throw signal.reason;
    },
  };
  const registry = registryOf(tasks);
  const restrictions = new Restrictions();
  const hooks = { tag: "[TEST]", publish: () => true };
  const executor = new Executor(registry, hooks, restrictions);
  const gate = new Gate({ engine, authorized }, warn);
  const port = new DirectPort({
    id: "TASK-1",
    gate,
    executor,
    registry,
    restrictions,
    ended: () => undefined,
    log: null,
  });
  const number = freePorts(1);
  const endpoint = `tcp://127.0.0.1:${number}`;
  port.bind("127.0.0.1", number);
  return {
    endpoint,
    gate,
    begun,
    restrictions,
    release: released.resolve,
    aborted: aborted.promise,
    [Symbol.asyncDispose]: async () => {
      await executor.drain();
      port.close();
      gate[Symbol.dispose]();
    },
  };
};

const clientOf = (endpoint: string, key: KeyPair) => {
  const socket = new Dealer({ ...curveClient(engine.publicKey, key), linger: 0 });
  socket.connect(endpoint);
  return {
    ask: (serial: string, ...names: string[]): void => {
      const parts = names.map((task) => taskFrame([2, 3], { task }));
      socket.trySend(["", metaFrame({ version: 0.2, serial }), ...parts]);
    },
    reply: async (): Promise<RawReply> => readReply(await socket.receive()),
    [Symbol.dispose]: () => socket.close(),
  };
};

test("everybody runs there what his key may run, and is told the right that is missing else", async () => {
  await using port = startPort(lineOf(laptop, "laptop", "send:count") + lineOf(phone, "phone", "read control"));
  using mine = clientOf(port.endpoint, laptop);
  using other = clientOf(port.endpoint, phone);
  mine.ask("a", "count");
  expect(await mine.reply()).toMatchObject({ meta: { type: "ACK", serial: "a" }, data: 5 });
  mine.ask("b", "count", "drive");
  const unauthorized = (message: string) => ({ meta: { type: "ERR" }, data: { code: "UNAUTHORIZED", message } });
  expect(await mine.reply()).toMatchObject(unauthorized("client laptop lacks the right send:drive"));
  // Whether there is such a task is not for everybody to know.
  other.ask("c", "no-such-task");
  expect(await other.reply()).toMatchObject(unauthorized("client phone lacks the right send:no-such-task"));
  other.ask("ping");
  expect(await other.reply()).toMatchObject({ meta: { type: "ACK" } });
  expect(port.begun).toEqual([]);
});

test("what runs there ends when the right to it is taken back, and what waits never begins", async () => {
  await using port = startPort(lineOf(laptop, "laptop", "send"));
  using mine = clientOf(port.endpoint, laptop);
  mine.ask("runs", "drive");
  mine.ask("waits", "drive");
  mine.ask("ping");
  // The ping overtakes both.
  expect(await mine.reply()).toMatchObject({ meta: { type: "ACK", serial: "ping" } });
  port.gate.admit(lineOf(laptop, "laptop", "send:count"));
  expect(await port.aborted).toBe("UNAUTHORIZED: client laptop lacks the right send:drive");
  // It is the same name, and another's key.
  port.gate.admit(lineOf(phone, "laptop", "send"));
  expect(port.begun).toEqual(["drive"]);
  const replies = [await mine.reply(), await mine.reply()];
  expect(replies.map(({ meta }) => meta.serial).sort()).toEqual(["runs", "waits"]);
  const unauthorized = { code: "UNAUTHORIZED", message: "client laptop lacks the right send:drive" };
  for (const { data } of replies) expect(data).toEqual(unauthorized);
});

test("a task that is closed there has no job that begins, be it that it waits, and what runs goes on", async () => {
  await using port = startPort(lineOf(laptop, "laptop", "send"));
  using mine = clientOf(port.endpoint, laptop);
  mine.ask("runs", "hold");
  mine.ask("waits", "hold");
  mine.ask("ping");
  expect(await mine.reply()).toMatchObject({ meta: { serial: "ping" } });
  port.restrictions.quarantine([{ task: "hold", since: 1_700_000_000, deaths: 3, how: "ended by SIGSEGV" }]);
  const message =
    "hold is quarantined since 2023-11-14T22:13:20.000Z: 3 workers died of its jobs within 60 s, " +
    "the last of which ended by SIGSEGV; fix it, then run task-engine reload";
  expect(await mine.reply()).toMatchObject({ meta: { serial: "waits" }, data: { code: "UNAVAILABLE", message } });
  mine.ask("batch", "count", "hold");
  expect(await mine.reply()).toMatchObject({ meta: { serial: "batch" }, data: { code: "UNAVAILABLE", message } });
  port.release();
  expect(await mine.reply()).toMatchObject({ meta: { type: "ACK", serial: "runs" } });
  port.restrictions.quarantine([]);
  mine.ask("again", "hold");
  expect(await mine.reply()).toMatchObject({ meta: { type: "ACK", serial: "again" } });
});

test("one client cannot fill the port for the others, and has room again once it is answered", async () => {
  await using port = startPort(lineOf(laptop, "laptop", "send") + lineOf(phone, "phone", "send"));
  using mine = clientOf(port.endpoint, laptop);
  using mineToo = clientOf(port.endpoint, laptop);
  using other = clientOf(port.endpoint, phone);
  mine.ask("hold", "hold");
  mine.ask("most", ...Array<string>(directJobsPerClientMax - 24).fill("count"));
  mine.ask("ping");
  expect(await mine.reply()).toMatchObject({ meta: { serial: "ping" } });
  mineToo.ask("more", ...Array<string>(24).fill("count"));
  expect(await mineToo.reply()).toMatchObject({
    data: {
      code: "QUEUE_FULL",
      message: expect.stringContaining(`client laptop has ${directJobsPerClientMax - 23} jobs`),
    },
  });
  other.ask("other", "count");
  port.release();
  expect(await other.reply()).toMatchObject({ meta: { type: "ACK", serial: "other" } });
  mineToo.ask("again", ...Array<string>(24).fill("count"));
  expect(await mineToo.reply()).toMatchObject({ meta: { type: "ACK", serial: "again" } });
});
