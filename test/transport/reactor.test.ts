import { expect, setDefaultTimeout, test } from "bun:test";
import { reactor, waitHereMs } from "../../src/transport/reactor.ts";
import { Dealer, Router } from "../../src/transport/zmq/socket.ts";

setDefaultTimeout(60_000); // on a busy machine

/** A real socket whose next message is announced by nothing, as if another call had swallowed the word of it. */
class Unannounced extends Router {
  looks = 0;
  readableAtLook = Number.POSITIVE_INFINITY;

  override get isKnownEmpty(): boolean {
    return false;
  }

  override get readable(): boolean {
    return ++this.looks === this.readableAtLook;
  }
}

const pair = (): { router: Router; dealer: Dealer } & Disposable => {
  const room = { sendHighWaterMark: 10_000, receiveHighWaterMark: 10_000 };
  const router = new Router({ mandatory: true, ...room });
  router.bind("tcp://127.0.0.1:*");
  const dealer = new Dealer(room);
  dealer.connect(router.lastEndpoint);
  return {
    router,
    dealer,
    [Symbol.dispose]() {
      router.close();
      dealer.close();
    },
  };
};

test("a message whose arrival was swallowed by a send outside the reactor's turn is found at once", async () => {
  using socket = new Unannounced();
  using other = pair();
  const found = Promise.withResolvers<void>();
  socket.onReadable(() => found.resolve());
  other.router.onReadable(() => other.router.tryReceive());
  await Bun.sleep(20);
  socket.readableAtLook = socket.looks + 1;
  other.dealer.trySend(["", "swallows"]);
  await found.promise;
});

test("20,000 round trips lose no message while both ends also send at other times", async () => {
  using sockets = pair();
  const { router, dealer } = sockets;
  const rounds = 20_000;
  let echoed = 0;
  let received = 0;
  let extra = 0;
  const done = Promise.withResolvers<void>();
  router.onReadable(() => {
    for (let message = router.tryReceive(); message !== null; message = router.tryReceive()) {
      echoed++;
      expect(router.trySend(message)).toBe("sent");
    }
  });
  dealer.onReadable(() => {
    for (let message = dealer.tryReceive(); message !== null; message = dealer.tryReceive()) {
      received++;
      if (received < rounds) expect(dealer.trySend(["", "ping"])).toBe("sent");
      // From a promise and a timer: uses of the socket that are no part of a turn.
      if (received % 20 === 0 && received < rounds) {
        extra++;
        queueMicrotask(() => dealer.trySend(["", "extra"]));
      }
      if (received === rounds + extra) done.resolve();
    }
  });
  dealer.trySend(["", "ping"]);
  await done.promise;
  expect(echoed).toBe(received);
}, 30_000);

test("a process that waits for its messages by itself loses none, and timers have their turn among them", async () => {
  using sockets = pair();
  const { router, dealer } = sockets;
  const rounds = 5_000;
  let received = 0;
  let ticks = 0;
  const done = Promise.withResolvers<void>();
  router.onReadable(() => {
    for (let message = router.tryReceive(); message !== null; message = router.tryReceive()) router.trySend(message);
  });
  dealer.onReadable(() => {
    for (let message = dealer.tryReceive(); message !== null; message = dealer.tryReceive()) {
      received++;
      if (received === rounds) done.resolve();
      // Now and then by a timer: then nothing is on its way, and this process is to sleep.
      else if (received % 500 === 0) setTimeout(() => dealer.trySend(["", "ping"]), 3);
      else dealer.trySend(["", "ping"]);
    }
  });
  const timer = setInterval(() => ticks++, 1);
  reactor.mayWait(() => waitHereMs);
  try {
    dealer.trySend(["", "ping"]);
    await done.promise;
  } finally {
    reactor.mayWait(() => 0);
    clearInterval(timer);
  }
  expect(received).toBe(rounds);
  expect(ticks).toBeGreaterThan(10);
}, 30_000);

test("a socket that nobody receives from leaves its messages to libzmq, and gives them when asked", async () => {
  using sockets = pair();
  sockets.dealer.trySend(["", "one"]);
  expect((await sockets.router.receive()).at(-1)).toEqual(Buffer.from("one"));
  for (const text of ["two", "three"]) sockets.dealer.trySend(["", text]);
  await Bun.sleep(10);
  expect(Buffer.from((await sockets.router.receive()).at(-1) ?? []).toString()).toBe("two");
  expect(Buffer.from((await sockets.router.receive()).at(-1) ?? []).toString()).toBe("three");
});

test("a process ends by itself once its last socket is closed", async () => {
  const script = `
    import { Dealer, Router } from ${JSON.stringify(`${import.meta.dir}/../../src/transport/zmq/socket.ts`)};
    const router = new Router(); router.bind("tcp://127.0.0.1:*");
    const dealer = new Dealer(); dealer.connect(router.lastEndpoint);
    dealer.trySend(["", "hello"]);
    console.log((await router.receive()).length);
    dealer.close(); router.close();`;
  await using child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe" });
  expect(await new Response(child.stdout).text()).toBe("3\n");
  expect(await child.exited).toBe(0);
});

test("what a handler throws ends the process, and is not swallowed", async () => {
  const script = `
    import { Dealer, Router } from ${JSON.stringify(`${import.meta.dir}/../../src/transport/zmq/socket.ts`)};
    const router = new Router(); router.bind("tcp://127.0.0.1:*");
    router.onReadable(() => { router.tryReceive(); throw new Error("a bug of ours"); });
    const dealer = new Dealer(); dealer.connect(router.lastEndpoint);
    setTimeout(() => dealer.trySend(["", "hello"]), 20);`;
  await using child = Bun.spawn([process.execPath, "-e", script], { stderr: "pipe" });
  expect(await new Response(child.stderr).text()).toContain("a bug of ours");
  expect(await child.exited).not.toBe(0);
});

test("sockets can be opened again after all were closed", async () => {
  for (let round = 0; round < 5; round++) {
    using sockets = pair();
    sockets.dealer.trySend(["", "again"]);
    expect(await sockets.router.receive()).toHaveLength(3);
  }
});

test("a source that is gone before the process first sleeps is never listened to", async () => {
  using socket = new Dealer();
  let listened = 0;
  const source = {
    descriptor: 0,
    isKnownEmpty: true,
    readable: false,
    expect: () => undefined,
    listen: () => {
      listened++;
      return { pause: () => undefined, resume: () => undefined, end: () => undefined };
    },
  };
  reactor.watch(source, () => undefined);
  reactor.unwatch(source);
  socket.onReadable(() => undefined);
  await Bun.sleep(20);
  expect(listened).toBe(0);
  reactor.watch(source, () => undefined);
  await Bun.sleep(20);
  expect(listened).toBe(1);
  reactor.unwatch(source);
});
