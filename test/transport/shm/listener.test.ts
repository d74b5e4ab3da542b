import { expect, setDefaultTimeout, test } from "bun:test";
import { statSync } from "node:fs";
import { workersMax } from "../../../src/limits.ts";
import { libc, nameOf } from "../../../src/transport/libc.ts";
import { ShmDealer } from "../../../src/transport/shm/dealer.ts";
import { ShmListener } from "../../../src/transport/shm/listener.ts";
import { makeMemory, mapMemory } from "../../../src/transport/shm/memory.ts";
import { sendDescriptor } from "../../../src/transport/shm/passing.ts";
import { ringsOf } from "../../../src/transport/shm/ring.ts";
import { closeLine, connectTo, isDead } from "../../../src/transport/shm/unix.ts";
import { dialled, isLost, KeepingPort, ring, startPeer } from "../../support/local-router.ts";
import { tempFolder } from "../../support/temp-folder.ts";

setDefaultTimeout(60_000); // on a busy machine

test("a line that was given up before it was taken in is none", async () => {
  using folder = tempFolder();
  using router = new KeepingPort(folder.at("s"));
  const stale = dialled(folder.at("s"));
  const { writer } = ringsOf(stale.memory, stale.isMaker);
  writer.add(["stale"]);
  writer.show();
  closeLine(stale);
  const dealer = new ShmDealer(folder.at("s"), "hello");
  expect((await router.until(({ length }) => length === 1))[0]?.[1]).toBe("hello");
  dealer.close();
});

test("who sends what is no message is cut off, and others are served on", async () => {
  using folder = tempFolder();
  using router = new KeepingPort(folder.at("s"));
  const line = dialled(folder.at("s"));
  const { writer } = ringsOf(line.memory, line.isMaker);
  writer.write(Buffer.from("GET / HTTP/1.1\r\n\r\n"));
  writer.show();
  ring(line);
  while (!isDead(line.bell)) await Bun.sleep(1);
  expect(router.received.filter((message) => !isLost(message))).toEqual([]);
  const dealer = new ShmDealer(folder.at("s"), "hello");
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
  const dealer = new ShmDealer(folder.at("s"), "hello");
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
  const connected = (name: string): number => connectTo(folder.at("s"), own(name)) ?? -1;
  const memories = [makeMemory() ?? -1, makeMemory() ?? -1];
  const handovers = memories.map((memory, index) => {
    const handover = connected(`${index}`);
    expect(sendDescriptor(handover, memory)).toBe(true);
    return handover;
  });
  const bells = [connected("1/bell"), connected("0/bell")].reverse();
  for (const [index, memory] of memories.entries()) {
    const mapped = mapMemory(memory);
    if (mapped === null) throw new Error("no memory");
    const { writer } = ringsOf(mapped, true);
    writer.add([`by line ${index}`]);
    writer.show();
    libc.send(bells[index] ?? -1, Buffer.from("!"), 1, 0);
    await router.until(({ length }) => length === index + 1);
    mapped.unmap();
  }
  expect(router.received.map(([, text]) => text)).toEqual(["by line 0", "by line 1"]);
  for (const descriptor of [...memories, ...handovers, ...bells]) libc.close(descriptor);
  await router.until((all) => all.filter(isLost).length === 2);
});

test("a name without a file is one port's alone, and free again as soon as that is closed", async () => {
  const name = `\0test-${process.pid}-port`;
  for (let round = 0; round < 3; round++) {
    using router = new KeepingPort(name);
    expect(() => new KeepingPort(name)).toThrow(expect.objectContaining({ code: "EADDRINUSE" }));
    const dealer = new ShmDealer(name, "hello");
    expect((await router.until(({ length }) => length === 1))[0]?.[1]).toBe("hello");
    dealer.close();
  }
});

test("each line has a name of its own, be it that the sockets by which earlier ones were made are closed", () => {
  using folder = tempFolder();
  using _ = new KeepingPort(folder.at("s"));
  const lines = Array.from({ length: 100 }, () => dialled(folder.at("s")));
  expect(new Set(lines.map(({ bell }) => nameOf(libc.getsockname, bell))).size).toBe(lines.length);
  for (const line of lines) closeLine(line);
});

test("there is room for so many, and again once somebody has gone", async () => {
  using folder = tempFolder();
  using router = new KeepingPort(folder.at("s"));
  const dealers = Array.from({ length: workersMax }, () => new ShmDealer(folder.at("s"), "hello"));
  await router.until(({ length }) => length === workersMax);
  const lostAt = Promise.withResolvers<void>();
  const late = new ShmDealer(folder.at("s"), "late");
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

/** On a machine that lets the peer wait for `localStallMs` it is as one that does not read. */
const onBusyMachine = { retry: 5 };

test(
  "what comes right after a message that was more than there is room for is out as soon as that is",
  onBusyMachine,
  async () => {
    using folder = tempFolder();
    using router = new KeepingPort(folder.at("s"));
    await using _ = startPeer(folder.at("s"), "tell");
    const [[key = ""] = []] = await router.until(({ length }) => length === 1);
    const sendOut = (frame: Uint8Array): boolean => {
      router.port.gather(key, [frame]);
      router.port.flush(true);
      return router.connections[0]?.isBehind === false;
    };
    expect(sendOut(Buffer.alloc(4 * 1024 * 1024))).toBe(true);
    expect(sendOut(Buffer.alloc(1))).toBe(true);
  },
);

test.concurrent("a peer that is halted for a moment is not lost, however long it has been silent before", async () => {
  using folder = tempFolder();
  using router = new KeepingPort(folder.at("s"));
  await using peer = startPeer(folder.at("s"), "deaf");
  await router.until(({ length }) => length === 1);
  const look = (): void => router.connections[0]?.endIfHalted(1_000);
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

test.concurrent("a peer that is halted is lost once it has been silent, and one that is only silent is not", async () => {
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

test("a long message that is not whole in time ends its connection, and the reason is known", async () => {
  using folder = tempFolder();
  const reasons: (string | null)[] = [];
  const port = new ShmListener({
    path: folder.at("s"),
    connectionsMax: 4,
    silenceMs: 20,
    unfinishedBytesMax: 1024 * 1024,
    unfinishedMs: 50,
  });
  port.onReadable((connection) => {
    if (connection.tryReceive()?.[0] === "\0lost") reasons.push(connection.cutReason);
  });
  const line = dialled(folder.at("s"));
  const { writer } = ringsOf(line.memory, line.isMaker);
  const begun = Buffer.alloc(128 * 1024);
  begun.writeUInt32LE(200 * 1024);
  writer.write(begun);
  writer.show();
  ring(line);
  while (reasons.length === 0) await Bun.sleep(1);
  expect(reasons).toEqual(["a message of it was not whole in time"]);
  closeLine(line);
  port.close();
});

test("what peers have not read takes no more than all of them may, and one that reads is served on", async () => {
  using folder = tempFolder();
  const keys: string[] = [];
  const port = new ShmListener({
    path: folder.at("s"),
    connectionsMax: 4,
    unsentBytesMax: 2 * 1024 * 1024,
  });
  port.onReadable((connection) => {
    if (connection.tryReceive()?.[0] === "hello") keys.push(connection.peer);
  });
  const lines = [dialled(folder.at("s")), dialled(folder.at("s"))];
  for (const line of lines) {
    const { writer } = ringsOf(line.memory, line.isMaker);
    writer.add(["hello"]);
    writer.show();
    ring(line);
  }
  while (keys.length < 2) await Bun.sleep(1);
  const [deaf = "", other = ""] = keys;
  const large = Buffer.alloc(1024 * 1024);
  const results = Array.from({ length: 5 }, () => port.gather(deaf, [large]));
  expect(results).toEqual(["sent", "sent", "full", "full", "full"]);
  expect(port.gather(other, [large])).toBe("full");
  expect(port.gather(other, ["what there is room for in its memory"])).toBe("sent");
  for (const line of lines) closeLine(line);
  port.close();
});
