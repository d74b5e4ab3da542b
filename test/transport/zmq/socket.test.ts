import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { errno, ZmqError } from "../../../src/transport/zmq/library.ts";
import { Dealer, Router, Socket, Subscriber, XPublisher } from "../../../src/transport/zmq/socket.ts";
import { describeBindError } from "../../../src/transport/zmq/start.ts";

setDefaultTimeout(60_000); // on a busy machine

const text = (frames: readonly Uint8Array[]): string[] => frames.map((frame) => Buffer.from(frame).toString());

test("a message arrives with its frames as they were, empty and large ones too", async () => {
  using router = new Router();
  router.bind("tcp://127.0.0.1:*");
  using dealer = new Dealer({ routingId: "me" });
  dealer.connect(router.lastEndpoint);
  const large = Buffer.alloc(1_000_000, "x");
  dealer.trySend(["", large, "", "ü"]);
  const message = await router.receive();
  expect(message.map((frame) => frame.length)).toEqual([2, 0, 1_000_000, 0, 2]);
  expect(Buffer.from(message[2] ?? []).equals(large)).toBe(true);
});

test("a REQ socket talks to a ROUTER", async () => {
  using router = new Router();
  router.bind("tcp://127.0.0.1:*");
  using request = new Socket("req");
  request.connect(router.lastEndpoint);
  request.trySend(["question"]);
  const [id, delimiter, question] = await router.receive();
  router.trySend([id ?? "", delimiter ?? "", `${Buffer.from(question ?? [])}!`]);
  expect(text(await request.receive())).toEqual(["question!"]);
});

test("frames beyond the asked-for number are not kept, and the next message is whole", async () => {
  using router = new Router();
  router.bind("tcp://127.0.0.1:*");
  using dealer = new Dealer();
  dealer.connect(router.lastEndpoint);
  dealer.trySend(Array<string>(5000).fill("x"));
  dealer.trySend(["next"]);
  while (!router.readable) await Bun.sleep(1);
  expect(router.tryReceive(10)).toHaveLength(10);
  while (!router.readable) await Bun.sleep(1);
  expect(router.tryReceive(10)).toHaveLength(2);
});

test("sending to a peer that is not there, or does not read, is said and not waited for", async () => {
  using router = new Router({ mandatory: true, sendHighWaterMark: 5 });
  router.bind("tcp://127.0.0.1:*");
  expect(router.trySend(["nobody", "", "x"])).toBe("unreachable");
  using dealer = new Dealer({ receiveHighWaterMark: 5 });
  dealer.connect(router.lastEndpoint);
  dealer.trySend(["", "hello"]);
  const [id = new Uint8Array()] = await router.receive();
  const big = Buffer.alloc(1_000_000);
  const results = new Set<string>();
  for (let count = 0; count < 100; count++) results.add(router.trySend([id, "", big]));
  expect(results).toEqual(new Set(["sent", "full"]));
});

test("a queue that has been read from takes messages again, however quickly it is asked", async () => {
  using router = new Router();
  router.bind("tcp://127.0.0.1:*");
  using dealer = new Dealer({ sendHighWaterMark: 100 });
  dealer.connect(router.lastEndpoint);
  router.onReadable(() => router.tryReceive());
  let sent = 0;
  while (sent < 50_000) {
    if (dealer.trySend(["", "x"]) === "sent") sent++;
    else await Bun.sleep(0);
  }
  expect(sent).toBe(50_000);
});

test("a signal in the middle of sending or receiving is no error", async () => {
  using router = new Router();
  router.bind("tcp://127.0.0.1:*");
  using dealer = new Dealer();
  dealer.connect(router.lastEndpoint);
  const onSignal = (): void => undefined;
  process.on("SIGUSR2", onSignal);
  await using storm = Bun.spawn(["sh", "-c", `for i in $(seq 3000); do kill -USR2 ${process.pid} || exit; done`]);
  let received = 0;
  router.onReadable(() => {
    while (router.tryReceive() !== null) received++;
  });
  let sent = 0;
  while (storm.exitCode === null) {
    for (let count = 0; count < 100; count++) if (dealer.trySend(["", "x"]) === "sent") sent++;
    await Bun.sleep(0);
  }
  while (received < sent) await Bun.sleep(1);
  process.off("SIGUSR2", onSignal);
  expect(received).toBe(sent);
});

test("closing a socket rejects those who wait for a message, and a second close does nothing", async () => {
  const router = new Router();
  router.bind("tcp://127.0.0.1:*");
  const waiting = router.receive();
  router.close();
  router.close();
  expect(waiting).rejects.toThrow("the socket was closed");
  expect(router.receive()).rejects.toThrow("the socket is closed");
});

test("a socket that is closed gives no more messages, to a reader that waits for one either", async () => {
  const router = new Router();
  router.bind("tcp://127.0.0.1:*");
  using dealer = new Dealer();
  dealer.connect(router.lastEndpoint);
  dealer.trySend(["", "one"]);
  expect(await router.receive()).toHaveLength(3);
  const waiting = router.receive();
  router.close();
  expect(waiting).rejects.toThrow("closed");
  expect(router.receive()).rejects.toThrow("closed");
});

test("a router is told when a peer's connection is gone, and a dealer says hello at each connection", async () => {
  using router = new Router({ disconnectMessage: "gone" });
  router.bind("tcp://127.0.0.1:*");
  const dealer = new Dealer({ helloMessage: "hello" });
  dealer.connect(router.lastEndpoint);
  expect(text(await router.receive()).at(-1)).toBe("hello");
  dealer.close();
  expect(text(await router.receive()).at(-1)).toBe("gone");
});

test("in manual mode a publisher can send to the newest subscriber alone", async () => {
  using publisher = new XPublisher({ manual: true });
  publisher.bind("tcp://127.0.0.1:*");
  const subscribe = async (): Promise<Subscriber> => {
    const subscriber = new Subscriber();
    subscriber.connect(publisher.lastEndpoint);
    subscriber.subscribe("t");
    await publisher.receive();
    publisher.set({ subscribe: "t" });
    publisher.set({ manualLastValue: true });
    publisher.trySend(["t", "last"]);
    publisher.set({ manualLastValue: false, manual: true });
    return subscriber;
  };
  using first = await subscribe();
  using second = await subscribe();
  publisher.trySend(["t", "new"]);
  for (const subscriber of [first, second]) {
    expect(text(await subscriber.receive())).toEqual(["t", "last"]);
    expect(text(await subscriber.receive())).toEqual(["t", "new"]);
  }
});

describe("a port that cannot be had", () => {
  const problem = (endpoint: string): unknown => {
    using socket = new Router();
    try {
      socket.bind(endpoint);
      return null;
    } catch (error) {
      return error;
    }
  };

  test("because it is taken is said in one line with what to do", () => {
    using first = new Router();
    first.bind("tcp://127.0.0.1:*");
    const error = problem(first.lastEndpoint);
    expect(error).toBeInstanceOf(ZmqError);
    expect((error as ZmqError).code).toBe(errno.EADDRINUSE);
    expect(describeBindError(error, "the router", "127.0.0.1:9000")).toBe(
      "the router cannot use 127.0.0.1:9000: the port is taken; stop what uses it (an engine that runs already?) or choose another",
    );
  });

  test("because the address is not this machine's is said too", () => {
    expect(describeBindError(problem("tcp://192.0.2.1:9000"), "x", "192.0.2.1:9000")).toContain("no such address");
  });
});

test("the options that libzmq does not take are named", () => {
  using router = new Router();
  expect(() => router.set({ sendHighWaterMark: -5 })).toThrow("cannot set sendHighWaterMark to -5");
});
