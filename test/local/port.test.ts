import { expect, test } from "bun:test";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { localBytesMax, workersMax } from "../../src/limits.ts";
import type { LocalConnection } from "../../src/local/connection.ts";
import { LocalDealer } from "../../src/local/dealer.ts";
import { encodeMessage } from "../../src/local/framing.ts";
import { LocalPort } from "../../src/local/port.ts";
import { dial } from "../../src/local/unix.ts";
import { libc } from "../../src/zmq/library.ts";
import { reactor } from "../../src/zmq/reactor.ts";
import { tempFolder } from "../support/temp-folder.ts";

type Received = readonly [key: string, ...frames: string[]];

/** A port that keeps what comes; `until` waits for so many messages. */
class Router implements Disposable {
  readonly received: Received[] = [];
  readonly port: LocalPort;
  onMessage: (connection: LocalConnection) => void = () => undefined;
  #wanted: (() => void) | null = null;

  constructor(path: string, silenceMs?: number) {
    const joined = (connection: LocalConnection, key: string): void =>
      connection.onReadable(() => {
        for (let message = connection.tryReceive(); message !== null; message = connection.tryReceive()) {
          this.received.push([key, ...message.map(String)]);
          this.onMessage(connection);
        }
        this.#wanted?.();
      });
    this.port = new LocalPort(path, joined, silenceMs);
  }

  async until(isEnough: (received: readonly Received[]) => boolean): Promise<readonly Received[]> {
    while (!isEnough(this.received)) {
      await new Promise<void>((resolve) => {
        this.#wanted = resolve;
      });
    }
    return this.received;
  }

  [Symbol.dispose](): void {
    this.port.close();
  }
}

const isLost = ([, text]: Received): boolean => text === "\0lost";
const peer = join(import.meta.dir, "../support/local-peer.ts");

const startPeer = (path: string, behaviour: string) => {
  const child = Bun.spawn([process.execPath, peer, path, behaviour], { stdio: ["ignore", "pipe", "inherit"] });
  return {
    child,
    // One that is halted dies of nothing less.
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
};

test("messages arrive in their order with their frames as they were, empty and large ones too", async () => {
  using folder = tempFolder();
  using router = new Router(folder.at("s"));
  const dealer = new LocalDealer(folder.at("s"), "hello");
  const large = "ä".repeat(1024 * 1024);
  dealer.trySend(["one", "", Buffer.from("two")]);
  dealer.trySend([large, Buffer.from(large)]);
  dealer.trySend(["last"]);
  const [, ...messages] = (await router.until(({ length }) => length === 4)).map(([, ...frames]) => frames);
  expect(messages).toEqual([["one", "", "two"], [large, large], ["last"]]);
  const [[key = ""] = []] = router.received;
  const { promise, resolve } = Promise.withResolvers<readonly string[]>();
  dealer.onReadable(() => resolve((dealer.tryReceive() ?? []).map(String)));
  expect(router.port.trySend(key, ["", large])).toBe("sent");
  expect(await promise).toEqual(["", large]);
  dealer.close();
});

test("a message that is read in several steps needs no more than the one ring", async () => {
  using folder = tempFolder();
  using router = new Router(folder.at("s"));
  const dealer = new LocalDealer(folder.at("s"), "hello");
  for (let count = 1; count <= 20; count++) {
    dealer.trySend([Buffer.alloc(count * 9_000)]);
    await router.until(({ length }) => length === count + 1);
  }
  dealer.close();
});

test("a worker says hello at each connection, is told when one is lost, and sends later what it was given meanwhile", async () => {
  using folder = tempFolder();
  const heard: string[] = [];
  const dealer = new LocalDealer(folder.at("s"), "hello");
  dealer.onReadable(() => {
    for (let message = dealer.tryReceive(); message !== null; message = dealer.tryReceive())
      heard.push(String(message));
  });
  expect(dealer.trySend(["before"])).toBe("sent");
  const first = new Router(folder.at("s"));
  expect((await first.until(({ length }) => length === 2)).map(([, text]) => text)).toEqual(["hello", "before"]);
  first.port.close();
  while (heard.length === 0) await Bun.sleep(5);
  expect(heard).toEqual(["\0lost"]);
  expect(dealer.trySend(["between"])).toBe("sent");
  using second = new Router(folder.at("s"));
  expect((await second.until(({ length }) => length === 2)).map(([, text]) => text)).toEqual(["hello", "between"]);
  dealer.close();
  expect((await second.until((received) => received.some(isLost))).length).toBe(3);
});

test("what a worker has said before it was killed is heard before its end, be there something that it has not read", async () => {
  using folder = tempFolder();
  using router = new Router(folder.at("s"));
  await using _ = startPeer(folder.at("s"), "die talking");
  const [[key = ""] = []] = await router.until(({ length }) => length === 1);
  for (let count = 0; count < 100; count++) router.port.trySend(key, ["unread"]);
  const received = await router.until((all) => all.some(isLost));
  expect(received.map(([, text]) => text)).toEqual([
    "hello",
    ...Array.from({ length: 100 }, (_, index) => `${index + 1}`),
    "\0lost",
  ]);
  expect(router.port.trySend(key, ["gone"])).toBe("unreachable");
});

test("who does not read is not waited for, costs no more than a bound, and gets all of it in order once it reads", async () => {
  using folder = tempFolder();
  using router = new Router(folder.at("s"));
  const dealer = new LocalDealer(folder.at("s"), "hello");
  const [[key = ""] = []] = await router.until(({ length }) => length === 1);
  const rest = Buffer.alloc(2 * 1024 * 1024);
  let sent = 0;
  while (router.port.trySend(key, [`${sent}`, rest]) === "sent") sent++;
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
  expect(router.port.trySend(key, ["again"])).toBe("sent");
  dealer.close();
});

test("small messages that wait for who does not read stay what they are, whatever is sent to others meanwhile", async () => {
  using folder = tempFolder();
  using router = new Router(folder.at("s"));
  const dealers = [new LocalDealer(folder.at("s"), "hello"), new LocalDealer(folder.at("s"), "hello")];
  const keys = (await router.until(({ length }) => length === 2)).map(([key]) => key);
  const count = 1_000;
  const text = (index: number, side: number): string => `${index} for ${side} `.repeat(50);
  for (let index = 0; index < count; index++) {
    for (const [side, key] of keys.entries()) expect(router.port.trySend(key, [text(index, side)])).toBe("sent");
  }
  for (const [side, dealer] of dealers.entries()) {
    const heard: string[] = [];
    const all = Promise.withResolvers<void>();
    dealer.onReadable(() => {
      for (let message = dealer.tryReceive(); message !== null; message = dealer.tryReceive())
        heard.push(String(message));
      if (heard.length === count) all.resolve();
    });
    await all.promise;
    expect(heard).toEqual(Array.from({ length: count }, (_, index) => text(index, side)));
    dealer.close();
  }
});

test("a line whose messages are read after its bell has ended comes to its end, too", async () => {
  using folder = tempFolder();
  using router = new Router(folder.at("s"));
  const line = dial(folder.at("s"));
  await Bun.sleep(20);
  // As who is killed between the two.
  libc.send(line?.messages ?? -1, encodeMessage(["DONE"]), 12, 0);
  libc.close(line?.messages ?? -1);
  libc.close(line?.bell ?? -1);
  expect((await router.until(({ length }) => length === 2)).map(([, text]) => text)).toEqual(["DONE", "\0lost"]);
});

test("a line that was given up before it was taken in is none", async () => {
  using folder = tempFolder();
  using router = new Router(folder.at("s"));
  const stale = dial(folder.at("s"));
  libc.send(stale?.messages ?? -1, encodeMessage(["stale"]), 13, 0);
  libc.close(stale?.messages ?? -1);
  libc.close(stale?.bell ?? -1);
  const dealer = new LocalDealer(folder.at("s"), "hello");
  expect((await router.until(({ length }) => length === 1))[0]?.[1]).toBe("hello");
  dealer.close();
});

test("what a worker says is out before a task blocks it, be it more than the kernel takes at once", async () => {
  using folder = tempFolder();
  using router = new Router(folder.at("s"));
  await using blocked = startPeer(folder.at("s"), "say much and block");
  const received = await router.until(({ length }) => length === 2);
  expect(received[1]?.[1]?.length).toBe(4 * 1024 * 1024);
  expect(blocked.child.exitCode).toBeNull();
});

test("what is unsent goes out at the close, and who never reads does not hold that up for long", async () => {
  using folder = tempFolder();
  const router = new Router(folder.at("s"));
  await using reader = startPeer(folder.at("s"), "tell");
  await using _ = startPeer(folder.at("s"), "deaf");
  const keys = (await router.until(({ length }) => length === 2)).map(([key]) => key);
  const large = Buffer.alloc(1024 * 1024, "x");
  for (const key of keys) for (let count = 0; count < 3; count++) router.port.trySend(key, [large]);
  router.port.close();
  let told = "";
  for await (const piece of reader.child.stdout) {
    told += Buffer.from(piece).toString();
    if (told.endsWith("lost\n")) break;
  }
  expect(told.split("\n")).toEqual([...Array(3).fill(`${large.length}`), "lost", ""]);
});

test("who sends what is no message is cut off, and others are served on", async () => {
  using folder = tempFolder();
  using router = new Router(folder.at("s"));
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
  using router = new Router(folder.at("s"), 50);
  const ended = Promise.withResolvers<void>();
  const socket = { data: () => undefined, close: () => ended.resolve() };
  await Bun.connect({ unix: folder.at("s"), socket });
  await ended.promise;
  const dealer = new LocalDealer(folder.at("s"), "hello");
  expect((await router.until(({ length }) => length === 1))[0]?.[1]).toBe("hello");
  dealer.close();
});

test("no descriptor stays open of lines that have ended, at either end", async () => {
  using folder = tempFolder();
  using router = new Router(folder.at("s"));
  const open = (): number => readdirSync("/proc/self/fd").length;
  const before = open();
  for (let round = 1; round <= 20; round++) {
    const dealer = new LocalDealer(folder.at("s"), "hello");
    if (round % 2 === 0) dealer.onReadable(() => undefined);
    await router.until((all) => all.length === 2 * round - 1);
    dealer.close();
    await router.until((all) => all.length === 2 * round);
  }
  while (open() > before) await Bun.sleep(5);
});

test("the file is for its user alone, whatever the umask, and takes the place of one that was left behind", () => {
  using folder = tempFolder({ s: "left behind" });
  const before = process.umask(0);
  try {
    using _ = new Router(folder.at("s"));
    expect(statSync(folder.at("s")).isSocket()).toBe(true);
    expect(statSync(folder.at("s")).mode & 0o777).toBe(0o600);
    expect(process.umask()).toBe(0);
  } finally {
    process.umask(before);
  }
});

test("there is room for so many, and again once somebody has gone", async () => {
  using folder = tempFolder();
  using router = new Router(folder.at("s"));
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
  using router = new Router(folder.at("s"), 100);
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

test("a router that does not answer two beats is left, and one that answers is not, be it seen late", async () => {
  using folder = tempFolder();
  let hellos = 0;
  const again = Promise.withResolvers<void>();
  const silent = Bun.listen({
    unix: folder.at("silent"),
    socket: {
      data: (_, bytes) => {
        if (String(bytes).includes("hello") && ++hellos === 2) again.resolve();
      },
    },
  });
  const forlorn = new LocalDealer(folder.at("silent"), "hello", 50);
  const told: string[] = [];
  forlorn.onReadable(() => {
    for (let message = forlorn.tryReceive(); message !== null; message = forlorn.tryReceive())
      told.push(String(message));
  });
  await again.promise;
  expect(told).toEqual(["\0lost"]);
  forlorn.close();
  silent.stop(true);

  using router = new Router(folder.at("s"));
  router.onMessage = (connection) => connection.trySend(["BEAT"]);
  const patient = new LocalDealer(folder.at("s"), "hello", 50);
  const heard: string[] = [];
  patient.onReadable(() => {
    for (let message = patient.tryReceive(); message !== null; message = patient.tryReceive())
      heard.push(String(message));
  });
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

test("while a process waits for messages by itself it loses none, and timers have their turn among them", async () => {
  using folder = tempFolder();
  using router = new Router(folder.at("s"));
  await using _ = startPeer(folder.at("s"), "echo");
  const [[key = ""] = []] = await router.until(({ length }) => length === 1);
  const rounds = 5_000;
  let ticks = 0;
  const ticking = setInterval(() => ticks++, 1);
  reactor.mayWaitHere = () => true;
  try {
    router.onMessage = () => {
      const round = router.received.length - 1;
      if (round < rounds) router.port.trySend(key, [`${round}`]);
    };
    router.port.trySend(key, ["0"]);
    const received = await router.until(({ length }) => length > rounds);
    expect(received.slice(1).map(([, text]) => Number(text))).toEqual(
      Array.from({ length: rounds }, (_, index) => index),
    );
    expect(ticks).toBeGreaterThan(0);
  } finally {
    clearInterval(ticking);
    reactor.mayWaitHere = () => false;
  }
});

test("a large message goes both ways while the process would wait for messages by itself", async () => {
  using folder = tempFolder();
  using router = new Router(folder.at("s"));
  await using _ = startPeer(folder.at("s"), "echo");
  const [[key = ""] = []] = await router.until(({ length }) => length === 1);
  reactor.mayWaitHere = () => true;
  try {
    const large = Buffer.alloc(8 * 1024 * 1024, "x");
    router.port.trySend(key, ["small"]);
    expect(router.port.trySend(key, [large])).toBe("sent");
    const [, small, back] = await router.until(({ length }) => length === 3);
    expect(small?.[1]).toBe("small");
    expect(back?.[1] === String(large)).toBe(true);
  } finally {
    reactor.mayWaitHere = () => false;
  }
});
