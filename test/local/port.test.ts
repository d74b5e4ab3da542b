import { expect, test } from "bun:test";
import { statSync } from "node:fs";
import { workersMax } from "../../src/limits.ts";
import { LocalDealer } from "../../src/local/dealer.ts";
import { dial } from "../../src/local/unix.ts";
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
  const ended = Promise.withResolvers<void>();
  const socket = { data: () => undefined, close: () => ended.resolve() };
  const messages = await Bun.connect({ unix: folder.at("s"), socket });
  const bell = await Bun.connect({ unix: folder.at("s"), socket: { data: () => undefined } });
  messages.write("GET / HTTP/1.1\r\n\r\n");
  bell.write("ring");
  await ended.promise;
  expect(router.received.filter((message) => !isLost(message))).toEqual([]);
  const dealer = new LocalDealer(folder.at("s"), "hello");
  expect((await router.until((all) => all.length === 2)).at(-1)?.[1]).toBe("hello");
  dealer.close();
});

test("who connects once and says no more is cut off, and others are served on", async () => {
  using folder = tempFolder();
  using router = new KeepingPort(folder.at("s"), 50);
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
