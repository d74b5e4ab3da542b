import { expect, test } from "bun:test";
import { statSync } from "node:fs";
import { workersMax } from "../../src/limits.ts";
import type { LocalConnection } from "../../src/local/connection.ts";
import { LocalDealer } from "../../src/local/dealer.ts";
import { connectTo, dial, isDead } from "../../src/local/unix.ts";
import { libc } from "../../src/zmq/libc.ts";
import { encodeMessage, isLost, KeepingPort, startPeer } from "../support/local-router.ts";
import { tempFolder } from "../support/temp-folder.ts";

test("a line that was given up before it was taken in is none", async () => {
  using folder = tempFolder();
  using router = new KeepingPort(folder.at("s"));
  const stale = dial(folder.at("s"));
  libc.send(stale?.messages ?? -1, encodeMessage(["stale"]), 13, 0);
  libc.close(stale?.messages ?? -1);
  libc.close(stale?.bell ?? -1);
  const dealer = new LocalDealer(folder.at("s"), "hello");
  expect((await router.until(({ length }) => length === 1))[0]?.[1]).toBe("hello");
  dealer.close();
});

test("who sends what is no message is cut off, and others are served on", async () => {
  using folder = tempFolder();
  using router = new KeepingPort(folder.at("s"));
  const line = dial(folder.at("s"));
  if (line === null) throw new Error("nobody listens");
  const text = Buffer.from("GET / HTTP/1.1\r\n\r\n");
  libc.send(line.messages, text, text.length, 0);
  libc.send(line.bell, text, 1, 0);
  while (!isDead(line.messages)) await Bun.sleep(1);
  expect(router.received.filter((message) => !isLost(message))).toEqual([]);
  const dealer = new LocalDealer(folder.at("s"), "hello");
  expect((await router.until((all) => all.length === 2)).at(-1)?.[1]).toBe("hello");
  dealer.close();
});

test("who does not say by a name which line it is of is turned away, and others are served on", async () => {
  using folder = tempFolder();
  using router = new KeepingPort(folder.at("s"));
  const ended = Promise.withResolvers<void>();
  const socket = { data: () => undefined, close: () => ended.resolve() };
  await Bun.connect({ unix: folder.at("s"), socket });
  await ended.promise;
  const dealer = new LocalDealer(folder.at("s"), "hello");
  expect((await router.until(({ length }) => length === 1))[0]?.[1]).toBe("hello");
  dealer.close();
});

test("the file is for its user alone, whatever the umask, and takes the place of one that was left behind", () => {
  using folder = tempFolder({ s: "left behind" });
  const before = process.umask(0);
  try {
    using _ = new KeepingPort(folder.at("s"));
    expect(statSync(folder.at("s")).isSocket()).toBe(true);
    expect(statSync(folder.at("s")).mode & 0o777).toBe(0o600);
    expect(process.umask()).toBe(0);
  } finally {
    process.umask(before);
  }
});

test("lines are told apart, in whatever order the sockets of one process come", async () => {
  using folder = tempFolder();
  using router = new KeepingPort(folder.at("s"));
  const own = (name: string): string => `\0test-${process.pid}-${name}`;
  const [first, second] = [connectTo(folder.at("s"), own("1")), connectTo(folder.at("s"), own("2"))];
  const [secondBell, firstBell] = [connectTo(folder.at("s"), own("2/bell")), connectTo(folder.at("s"), own("1/bell"))];
  const descriptors = [first, second, firstBell, secondBell].map((descriptor) => descriptor ?? -1);
  const message = encodeMessage(["by the first"]);
  libc.send(descriptors[0] ?? -1, message, message.length, 0);
  libc.send(descriptors[2] ?? -1, message, 1, 0);
  expect((await router.until(({ length }) => length === 1))[0]?.[1]).toBe("by the first");
  for (const descriptor of descriptors) libc.close(descriptor);
  await router.until((all) => all.filter(isLost).length === 2);
});

test("a name without a file is one port's alone, and free again as soon as that is closed", async () => {
  const name = `\0test-${process.pid}-port`;
  for (let round = 0; round < 3; round++) {
    using router = new KeepingPort(name);
    expect(() => new KeepingPort(name)).toThrow(expect.objectContaining({ code: "EADDRINUSE" }));
    const dealer = new LocalDealer(name, "hello");
    expect((await router.until(({ length }) => length === 1))[0]?.[1]).toBe("hello");
    dealer.close();
  }
});

test("there is room for so many, and again once somebody has gone", async () => {
  using folder = tempFolder();
  using router = new KeepingPort(folder.at("s"));
  const dealers = Array.from({ length: workersMax }, () => new LocalDealer(folder.at("s"), "hello"));
  await router.until(({ length }) => length === workersMax);
  const lostAt = Promise.withResolvers<void>();
  const late = new LocalDealer(folder.at("s"), "late");
  late.onReadable(() => {
    if (late.tryReceive() !== null) lostAt.resolve();
  });
  await lostAt.promise;
  expect(router.received.length).toBe(workersMax);
  dealers[0]?.close();
  await router.until((all) => all.some(([, text]) => text === "late"));
  for (const dealer of [...dealers, late]) dealer.close();
});

test("who does not read is waited for once, and not again for each message", async () => {
  using folder = tempFolder();
  using router = new KeepingPort(folder.at("s"));
  await using _ = startPeer(folder.at("s"), "deaf");
  const [[key = ""] = []] = await router.until(({ length }) => length === 1);
  const large = Buffer.alloc(1024 * 1024);
  const send = (): number => {
    const startedMs = performance.now();
    router.port.gather(key, [large]);
    router.port.flush(true);
    return performance.now() - startedMs;
  };
  const once = send();
  let again = 0;
  for (let count = 0; count < 40; count++) again += send();
  expect(again).toBeLessThan(10 * once);
});

test("what comes right after a message that was more than the kernel takes is out as soon as that is", async () => {
  using folder = tempFolder();
  using router = new KeepingPort(folder.at("s"));
  await using _ = startPeer(folder.at("s"), "tell");
  let connection: LocalConnection | null = null;
  router.onMessage = (from) => {
    connection = from;
  };
  const [[key = ""] = []] = await router.until(({ length }) => length === 1);
  const sendOut = (frame: Uint8Array): boolean => {
    router.port.gather(key, [frame]);
    router.port.flush(true);
    return (connection as LocalConnection | null)?.needsEventLoop === false;
  };
  expect(sendOut(Buffer.alloc(4 * 1024 * 1024))).toBe(true);
  expect(sendOut(Buffer.alloc(1))).toBe(true);
});

test("a peer that is halted for a moment is not lost, however long it has been silent before", async () => {
  using folder = tempFolder();
  using router = new KeepingPort(folder.at("s"));
  await using peer = startPeer(folder.at("s"), "deaf");
  let connection: LocalConnection | null = null;
  router.onMessage = (from) => {
    connection = from;
  };
  await router.until(({ length }) => length === 1);
  const look = (): void => (connection as LocalConnection | null)?.endIfHalted(1_000);
  const isLostNow = (): boolean => router.received.some(isLost);
  for (let count = 0; count < 15; count++) {
    await Bun.sleep(100);
    look();
  }
  peer.child.kill("SIGSTOP");
  await Bun.sleep(50);
  look();
  await Bun.sleep(50);
  expect(isLostNow()).toBe(false);
  peer.child.kill("SIGCONT");
  await Bun.sleep(50);
  look();
  peer.child.kill("SIGSTOP");
  await Bun.sleep(1_100);
  look();
  await router.until((all) => all.some(isLost));
});

test("a peer that is halted is lost once it has been silent, and one that is only silent is not", async () => {
  using folder = tempFolder();
  using router = new KeepingPort(folder.at("s"), 100);
  await using halted = startPeer(folder.at("s"), "deaf");
  await using _ = startPeer(folder.at("s"), "deaf");
  await router.until(({ length }) => length === 2);
  await Bun.sleep(500);
  expect(router.received.filter(isLost)).toEqual([]);
  halted.child.kill("SIGSTOP");
  await router.until((all) => all.some(isLost));
  await Bun.sleep(500);
  expect(router.received.filter(isLost).length).toBe(1);
});
