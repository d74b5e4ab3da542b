import { expect, setDefaultTimeout, test } from "bun:test";
import { ShmDealer } from "../../../src/transport/shm/dealer.ts";
import { heardBy, isLost, KeepingPort, startPeer } from "../../support/local-router.ts";
import { tempFolder } from "../../support/temp-folder.ts";

setDefaultTimeout(60_000); // on a busy machine

test("a worker says hello at each connection, is told when one is lost, and sends later what it was given meanwhile", async () => {
  using folder = tempFolder();
  const heard: string[] = [];
  const dealer = new ShmDealer(folder.at("s"), "hello");
  dealer.onReadable(() => {
    for (let message = dealer.tryReceive(); message !== null; message = dealer.tryReceive())
      heard.push(String(message));
  });
  expect(dealer.trySend(["before"])).toBe("sent");
  const first = new KeepingPort(folder.at("s"));
  expect((await first.until(({ length }) => length === 2)).map(([, text]) => text)).toEqual(["hello", "before"]);
  first.port.close();
  while (heard.length === 0) await Bun.sleep(5);
  expect(heard).toEqual(["\0lost"]);
  expect(dealer.trySend(["between"])).toBe("sent");
  using second = new KeepingPort(folder.at("s"));
  expect((await second.until(({ length }) => length === 2)).map(([, text]) => text)).toEqual(["hello", "between"]);
  dealer.close();
  expect((await second.until((received) => received.some(isLost))).length).toBe(3);
});

test("what a worker has said before it was killed is heard before its end, be there something that it has not read", async () => {
  using folder = tempFolder();
  using router = new KeepingPort(folder.at("s"));
  await using _ = startPeer(folder.at("s"), "die talking");
  const [[key = ""] = []] = await router.until(({ length }) => length === 1);
  for (let count = 0; count < 100; count++) router.send(key, ["unread"]);
  const received = await router.until((all) => all.some(isLost));
  expect(received.map(([, text]) => text)).toEqual([
    "hello",
    ...Array.from({ length: 100 }, (_, index) => `${index + 1}`),
    "\0lost",
  ]);
  expect(router.send(key, ["gone"])).toBe("unreachable");
});

test("what a worker says is out before a task blocks it, be it more than there is room for at once", async () => {
  using folder = tempFolder();
  using router = new KeepingPort(folder.at("s"));
  await using blocked = startPeer(folder.at("s"), "say much and block");
  const received = await router.until(({ length }) => length === 2);
  expect(received[1]?.[1]?.length).toBe(1024 * 1024);
  expect(blocked.child.exitCode).toBeNull();
});

test("a router that does not answer two beats is left, and one that answers is not, be it seen late", async () => {
  using folder = tempFolder();
  let opened = 0;
  const again = Promise.withResolvers<void>();
  const silent = Bun.listen({
    unix: folder.at("silent"),
    socket: {
      // Two sockets a line.
      open: () => {
        if (++opened === 4) again.resolve();
      },
      data: () => undefined,
    },
  });
  const forlorn = new ShmDealer(folder.at("silent"), "hello", 50);
  const told = heardBy(forlorn);
  await again.promise;
  expect(told).toEqual(["\0lost"]);
  forlorn.close();
  silent.stop(true);

  using router = new KeepingPort(folder.at("s"));
  router.onMessage = (connection) => connection.trySend(["BEAT"]);
  const patient = new ShmDealer(folder.at("s"), "hello", 50);
  const heard = heardBy(patient);
  for (let beat = 0; beat < 20; beat++) {
    patient.trySend(["BEAT"]);
    // A task that lets nothing else run.
    if (beat % 5 === 0) Bun.sleepSync(200);
    await Bun.sleep(25);
  }
  expect(heard).toContain("BEAT");
  expect(heard).not.toContain("\0lost");
  patient.close();
});
