import { expect, setDefaultTimeout, spyOn, test } from "bun:test";
import { closeSync, openSync, readdirSync } from "node:fs";
import { localBytesMax, localRingBytes, localStallMsMax } from "../../../src/limits.ts";
import { reactor, waitHereMs } from "../../../src/transport/reactor.ts";
import { ShmDealer } from "../../../src/transport/shm/dealer.ts";
import { ringsOf } from "../../../src/transport/shm/ring.ts";
import { closeLine } from "../../../src/transport/shm/unix.ts";
import { dialled, heardBy, KeepingPort, ring, startPeer } from "../../support/local-router.ts";
import { tempFolder } from "../../support/temp-folder.ts";

setDefaultTimeout(60_000); // on a busy machine

test("messages arrive in their order with their frames as they were, empty and large ones too", async () => {
  using folder = tempFolder();
  using router = new KeepingPort(folder.at("s"));
  const dealer = new ShmDealer(folder.at("s"), "hello");
  const answered = Promise.withResolvers<readonly string[]>();
  dealer.onReadable(() => answered.resolve((dealer.tryReceive() ?? []).map(String)));
  const large = "ä".repeat(1024 * 1024);
  dealer.trySend(["one", "", Buffer.from("two")]);
  dealer.trySend([large, Buffer.from(large)]);
  dealer.trySend(["last"]);
  const [, ...messages] = (await router.until(({ length }) => length === 4)).map(([, ...frames]) => frames);
  expect(messages).toEqual([["one", "", "two"], [large, large], ["last"]]);
  const [[key = ""] = []] = router.received;
  expect(router.send(key, ["", large])).toBe("sent");
  expect(await answered.promise).toEqual(["", large]);
  dealer.close();
});

test("a message that is read in several steps needs no more than the one ring", async () => {
  using folder = tempFolder();
  using router = new KeepingPort(folder.at("s"));
  const dealer = new ShmDealer(folder.at("s"), "hello");
  for (let count = 1; count <= 20; count++) {
    dealer.trySend([Buffer.alloc(count * 9_000)]);
    await router.until(({ length }) => length === count + 1);
  }
  dealer.close();
});

test("who does not read is not waited for, costs no more than a bound, and gets all of it in order once it reads", async () => {
  using folder = tempFolder();
  using router = new KeepingPort(folder.at("s"));
  const dealer = new ShmDealer(folder.at("s"), "hello");
  const [[key = ""] = []] = await router.until(({ length }) => length === 1);
  const rest = Buffer.alloc(2 * 1024 * 1024);
  let sent = 0;
  while (router.send(key, [`${sent}`, rest]) === "sent") sent++;
  expect(sent).toBe(Math.ceil(localBytesMax / rest.length) + 1);
  const heard: number[] = [];
  const all = Promise.withResolvers<void>();
  dealer.onReadable(() => {
    for (let message = dealer.tryReceive(); message !== null; message = dealer.tryReceive()) {
      heard.push(Number(message[0]));
      expect(message[1]?.length).toBe(rest.length);
    }
    if (heard.length === sent) all.resolve();
  });
  await all.promise;
  expect(heard).toEqual(Array.from({ length: sent }, (_, index) => index));
  expect(router.send(key, ["again"])).toBe("sent");
  dealer.close();
});

test("small messages that wait for who does not read stay what they are, whatever is sent to others meanwhile", async () => {
  using folder = tempFolder();
  using router = new KeepingPort(folder.at("s"));
  const dealers = [new ShmDealer(folder.at("s"), "hello"), new ShmDealer(folder.at("s"), "hello")];
  const keys = (await router.until(({ length }) => length === 2)).map(([key]) => key);
  const count = 1_000;
  const text = (index: number, side: number): string => `${index} for ${side} `.repeat(50);
  for (let index = 0; index < count; index++) {
    for (const [side, key] of keys.entries()) expect(router.send(key, [text(index, side)])).toBe("sent");
  }
  for (const [side, dealer] of dealers.entries()) {
    const all = Promise.withResolvers<void>();
    const heard = heardBy(dealer, ({ length }) => length === count && all.resolve());
    await all.promise;
    expect(heard).toEqual(Array.from({ length: count }, (_, index) => text(index, side)));
    dealer.close();
  }
});

test("what was written last is read although nobody was woken by it, and then the end", async () => {
  using folder = tempFolder();
  using router = new KeepingPort(folder.at("s"));
  const line = dialled(folder.at("s"));
  await Bun.sleep(20);
  // As who is killed between the two.
  const { writer } = ringsOf(line.memory, line.isMaker);
  writer.add(["DONE"]);
  writer.show();
  closeLine(line);
  expect((await router.until(({ length }) => length === 2)).map(([, text]) => text)).toEqual(["DONE", "\0lost"]);
});

/** On a machine that lets the reader wait for `localStallMs` it is as one that never reads. */
const onBusyMachine = { retry: 5 };

test(
  "what is unsent goes out at the close, and who never reads does not hold that up for long",
  onBusyMachine,
  async () => {
    using folder = tempFolder();
    const router = new KeepingPort(folder.at("s"));
    await using reader = startPeer(folder.at("s"), "tell");
    await using _ = startPeer(folder.at("s"), "deaf");
    const keys = (await router.until(({ length }) => length === 2)).map(([key]) => key);
    const large = Buffer.alloc(1024 * 1024, "x");
    for (const key of keys) for (let count = 0; count < 3; count++) router.send(key, [large]);
    router.port.close();
    let told = "";
    for await (const piece of reader.child.stdout) {
      told += Buffer.from(piece).toString();
      if (told.endsWith("lost\n")) break;
    }
    expect(told.split("\n")).toEqual([...Array(3).fill(`${large.length}`), "lost", ""]);
  },
);

test("no descriptor stays open of lines that have ended, at either end", async () => {
  using folder = tempFolder();
  using router = new KeepingPort(folder.at("s"));
  const open = (): number => readdirSync("/proc/self/fd").length;
  const before = open();
  for (let round = 1; round <= 20; round++) {
    const dealer = new ShmDealer(folder.at("s"), "hello");
    if (round % 2 === 0) dealer.onReadable(() => undefined);
    await router.until((all) => all.length === 2 * round - 1);
    dealer.close();
    await router.until((all) => all.length === 2 * round);
  }
  while (open() > before) await Bun.sleep(5);
});

test("while a process waits for messages by itself it loses none, and timers have their turn among them", async () => {
  using folder = tempFolder();
  using router = new KeepingPort(folder.at("s"));
  await using _ = startPeer(folder.at("s"), "echo");
  const [[key = ""] = []] = await router.until(({ length }) => length === 1);
  const rounds = 5_000;
  let ticks = 0;
  const ticking = setInterval(() => ticks++, 1);
  reactor.mayWait(() => waitHereMs);
  try {
    router.onMessage = () => {
      const round = router.received.length - 1;
      if (round < rounds) router.send(key, [`${round}`]);
    };
    router.send(key, ["0"]);
    const received = await router.until(({ length }) => length > rounds);
    expect(received.slice(1).map(([, text]) => Number(text))).toEqual(
      Array.from({ length: rounds }, (_, index) => index),
    );
    expect(ticks).toBeGreaterThan(0);
  } finally {
    clearInterval(ticking);
    reactor.mayWait(() => 0);
  }
});

test("a large message goes both ways while the process would wait for messages by itself", async () => {
  using folder = tempFolder();
  using router = new KeepingPort(folder.at("s"));
  await using _ = startPeer(folder.at("s"), "echo");
  const [[key = ""] = []] = await router.until(({ length }) => length === 1);
  reactor.mayWait(() => waitHereMs);
  try {
    const large = Buffer.alloc(8 * 1024 * 1024, "x");
    router.send(key, ["small"]);
    expect(router.send(key, [large])).toBe("sent");
    const [, small, back] = await router.until(({ length }) => length === 3);
    expect(small?.[1]).toBe("small");
    expect(back?.[1] === String(large)).toBe(true);
  } finally {
    reactor.mayWait(() => 0);
  }
});

test("a bell that has ended keeps its number until its connection is read to the end: it must not become another's", async () => {
  using folder = tempFolder();
  using router = new KeepingPort(folder.at("s"));
  router.onMessage = (from) => {
    if (router.received.length === 1) reactor.pause(from);
  };
  const line = dialled(folder.at("s"));
  const { writer } = ringsOf(line.memory, line.isMaker);
  writer.add(["first"]);
  writer.show();
  ring(line);
  await router.until(({ length }) => length === 1);
  const [connection] = router.connections;
  if (connection === undefined) throw new Error("nobody is there");
  writer.add(["last"]);
  writer.show();
  closeLine(line);
  connection.expect();
  await Bun.sleep(50);
  const others = Array.from({ length: 50 }, () => openSync("/dev/null", "r"));
  expect(others).not.toContain(connection.descriptor);
  for (const other of others) closeSync(other);
  reactor.resume(connection);
  expect((await router.until(({ length }) => length === 3)).at(-1)?.[1]).toBe("\0lost");
});

test("who reads a byte at a time is not waited for longer than anybody else", async () => {
  using folder = tempFolder();
  using router = new KeepingPort(folder.at("s"));
  const line = dialled(folder.at("s"));
  const { reader, writer } = ringsOf(line.memory, line.isMaker);
  writer.add(["hello"]);
  writer.show();
  ring(line);
  const [[key = ""] = []] = await router.until(({ length }) => length === 1);
  const byte = Buffer.alloc(1);
  const sleep = spyOn(Bun, "sleepSync").mockImplementation((ms) => {
    reader.read(byte, 0);
    const untilMs = performance.now() + ms;
    while (performance.now() < untilMs);
  });
  try {
    router.port.gather(key, [Buffer.alloc(4 * localRingBytes)]);
    router.port.flush(true);
    expect(sleep.mock.calls.length).toBeLessThanOrEqual(localStallMsMax + 1);
  } finally {
    sleep.mockRestore();
    closeLine(line);
  }
});
