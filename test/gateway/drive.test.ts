/** Driving over the gateway: a page that is late, hangs or is gone moves nothing, and the robot stops in time. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync, readlinkSync } from "node:fs";
import { createConnection, createServer, type Socket } from "node:net";
import { type Served, startServed } from "../support/gateway.ts";
import { Motor } from "../support/motor.ts";

setDefaultTimeout(60_000);

const deadmanMs = 300;
const tasks = readFileSync(new URL("../support/drive-tasks.ts", import.meta.url), "utf8").replaceAll(
  'process.env.MOTOR ?? "motor"',
  '"motor"',
);

let served: Served;
let motor: Motor;
beforeAll(async () => {
  served = await startServed({ "tasks/drive.ts": tasks, motor: "0" });
  motor = new Motor(`${readlinkSync(`/proc/${served.engine.pid}/cwd`)}/motor`);
});
afterAll(async () => {
  await served[Symbol.asyncDispose]();
});

interface Message {
  readonly type: string;
  readonly tick?: number;
  readonly call?: number;
  readonly code?: string | null;
}

/** A page that drives: it answers each tick while it `isPresent`. */
class Page implements Disposable {
  readonly messages: Message[] = [];
  readonly socket: WebSocket;
  isPresent = true;
  tick = 0;

  constructor(port = served.port) {
    this.socket = new WebSocket(`ws://127.0.0.1:${port}/api/drive`);
    this.socket.onmessage = ({ data }) => {
      const message = JSON.parse(String(data)) as Message;
      if (message.type !== "tick") this.messages.push(message);
      else if (this.isPresent) {
        this.tick = message.tick ?? 0;
        this.send({ type: "alive", tick: this.tick });
      }
    };
  }

  send(message: object): void {
    this.socket.send(JSON.stringify(message));
  }

  /** The first message of this type. */
  async heard(type: string): Promise<Message> {
    for (let left = 2_000; left > 0; left--) {
      const found = this.messages.find((message) => message.type === type);
      if (found !== undefined) return found;
      await Bun.sleep(5);
    }
    throw new Error(`no ${type} in ${JSON.stringify(this.messages)}`);
  }

  async start(): Promise<void> {
    while (this.socket.readyState !== WebSocket.OPEN) await Bun.sleep(5);
    this.send({ type: "start", task: "drive", deadmanMs });
    await this.heard("ready");
    while (this.tick === 0) await Bun.sleep(5);
  }

  drive(speed: number, tick = this.tick): void {
    this.send({ type: "drive", tick, args: [30, speed] });
  }

  [Symbol.dispose](): void {
    this.socket.close();
  }
}

test("a page drives on while it answers ticks, changes its course, and stops at its end", async () => {
  using page = new Page();
  await page.start();
  page.drive(1);
  await motor.turns();
  await Bun.sleep(3 * deadmanMs);
  expect(motor.speed).not.toBe(0);
  page.drive(2);
  while (motor.speed !== 2) await Bun.sleep(5);
  expect(page.messages.filter(({ type }) => type === "refused")).toEqual([]);
  page.send({ type: "end" });
  await motor.stands();
});

test("there is one driver, and the next one after its end", async () => {
  using first = new Page();
  await first.start();
  using second = new Page();
  while (second.socket.readyState !== WebSocket.OPEN) await Bun.sleep(5);
  second.send({ type: "start", task: "drive", deadmanMs });
  expect(await second.heard("refused")).toMatchObject({ code: "UNAVAILABLE" });
  first.send({ type: "end" });
  await Bun.sleep(50);
  second.send({ type: "start", task: "drive", deadmanMs });
  await second.heard("ready");
});

test("a driver who has not answered for the dead man's time loses the task to the next one", async () => {
  using cutOff = new Page();
  await cutOff.start();
  cutOff.isPresent = false;
  using back = new Page();
  while (back.socket.readyState !== WebSocket.OPEN) await Bun.sleep(5);
  while (!back.messages.some(({ type }) => type === "ready")) {
    back.send({ type: "start", task: "drive", deadmanMs });
    await Bun.sleep(50);
  }
  // Whoever lost it cannot move the robot, whatever comes of it later.
  cutOff.drive(1);
  expect(await cutOff.heard("refused")).toMatchObject({ code: "BAD_ARGS" });
  back.send({ type: "end" });
});

test("a page that is there no more, or whose socket ends, stops the robot", async () => {
  for (const isCut of [false, true]) {
    using page = new Page();
    await page.start();
    page.drive(1);
    await motor.turns();
    if (isCut) page.socket.terminate();
    else page.isPresent = false;
    await motor.stands();
    if (!isCut)
      expect(await page.heard("result")).toMatchObject({ call: 1, code: expect.stringMatching(/CANCELLED|DEADMAN/) });
  }
});

test("what names an old tick, one that never was, or none moves nothing", async () => {
  using page = new Page();
  await page.start();
  const old = page.tick;
  await Bun.sleep(deadmanMs + 100);
  for (const tick of [old, page.tick + 1_000, -1, 0.5, Number.NaN]) page.drive(1, tick);
  page.send({ type: "drive", args: [30, 1] });
  page.send({ type: "nonsense" });
  for (let left = 1_000; left > 0 && page.messages.filter(({ type }) => type === "refused").length < 7; left--) {
    await Bun.sleep(5);
  }
  expect(page.messages.filter(({ type }) => type === "refused")).toHaveLength(7);
  expect(motor.speed).toBe(0);
});

test("bytes that lay in a proxy do not move the robot when they come late", async () => {
  let isHeld = false;
  const held: [Socket, Buffer][] = [];
  const proxy = createServer((near) => {
    const far = createConnection(served.port, "127.0.0.1");
    far.pipe(near);
    near.on("data", (bytes: Buffer) => (isHeld ? void held.push([far, bytes]) : void far.write(bytes)));
    const end = (): void => {
      near.destroy();
      far.destroy();
    };
    for (const socket of [near, far]) socket.on("error", end).on("close", end);
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  try {
    using page = new Page((proxy.address() as { port: number }).port);
    await page.start();
    page.drive(1);
    await motor.turns();
    isHeld = true;
    page.drive(3);
    await motor.stands();
    isHeld = false;
    for (const [socket, bytes] of held) socket.write(bytes);
    await page.heard("refused");
    await Bun.sleep(100);
    expect(motor.speed).toBe(0);
  } finally {
    proxy.close();
  }
});

test("a gateway that hangs loses its driver's job to the engine's own dead man", async () => {
  using page = new Page();
  await page.start();
  page.drive(1);
  await motor.turns();
  const [pid = 0] = served.engine.pidsOf("gateway");
  process.kill(pid, "SIGSTOP");
  await motor.stands();
  process.kill(pid, "SIGCONT");
  await Bun.sleep(100);
  expect(motor.speed).toBe(0);
});
