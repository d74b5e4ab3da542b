/** What wears a gateway out, and takes seconds by its nature: slow senders, slow readers, guesses. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import { createConnection, type Socket } from "node:net";
import { connect } from "../../../src/client/client.ts";
import { type Served, startServed } from "../../support/gateway.ts";

setDefaultTimeout(240_000);

let served: Served;
beforeAll(async () => {
  served = await startServed({}, { anna: "send read write observe" });
});
afterAll(async () => {
  await served[Symbol.asyncDispose]();
});

const opened = (first: string): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = createConnection(served.port, "127.0.0.1", () => {
      socket.write(first);
      resolve(socket);
    });
    socket.on("error", reject);
  });

const closed = (socket: Socket): Promise<void> =>
  new Promise((resolve) => {
    socket.on("error", () => undefined).on("close", () => resolve());
    socket.resume();
  });

const bearer = (): string => `Host: localhost\r\nAuthorization: Bearer ${served.tokens.anna}\r\n`;

test("headers and bodies that come byte by byte are cut, and others are answered meanwhile", async () => {
  const drips: Timer[] = [];
  const slow = await Promise.all(
    Array.from({ length: 200 }, async (_, index) => {
      const head = `POST /api/tasks/count HTTP/1.1\r\n${bearer()}`;
      const body = "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{";
      const socket = await opened(index % 2 === 0 ? head : head + body);
      const drip = (): void => void socket.write(index % 2 === 0 ? "X: y\r\n" : " ");
      drips.push(setInterval(drip, 1_000));
      return closed(socket);
    }),
  );
  const { status } = await served.ask("GET", "/api/tasks", { token: served.tokens.anna ?? "" });
  expect(status).toBe(200);
  // Quiet ones end, and those that drip a body.
  await Promise.race([Promise.all(slow.filter((_, index) => index % 2 === 1)), Bun.sleep(60_000)]);
  for (const drip of drips) clearInterval(drip);
  await Promise.all(slow);
});

test("a thousand viewers that read nothing cost the gateway bounded memory, and the robot nothing", async () => {
  const [pid = 0] = served.engine.pidsOf("gateway");
  const memory = (): number => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;
  await using engine = connect(served.engine.endpoint, { state: served.engine.state, key: "none" });
  const before = memory();
  const viewers = await Promise.all(
    Array.from({ length: 1_000 }, async () => {
      const socket = await opened(`GET /api/events?prefix=load/&topic=$engine/jobs HTTP/1.1\r\n${bearer()}\r\n`);
      socket.pause();
      socket.on("error", () => undefined);
      return socket;
    }),
  );
  const picture = "x".repeat(20_000);
  for (let round = 0; round < 100; round++) {
    await engine.publish(`load/${round % 5}`, { round, picture }, { confirm: true });
    expect(await engine.call("count", [round, 1])).toBe(round + 1);
    await Bun.sleep(50);
  }
  // What the kernel holds for them is not the gateway's.
  expect(memory() - before).toBeLessThan(400);
  expect(await served.ask("GET", "/api/tasks", { token: served.tokens.anna ?? "" })).toMatchObject({ status: 200 });
  for (const viewer of viewers) viewer.destroy();
});

test("guesses of tokens wait, and delay nobody who has one", async () => {
  const guesses = Array.from({ length: 200 }, () => served.ask("GET", "/api/status", { token: "te_guess" }));
  expect(await served.ask("GET", "/api/tasks", { token: served.tokens.anna ?? "" })).toMatchObject({ status: 200 });
  const codes = new Set((await Promise.all(guesses)).map(({ json }) => json.code));
  expect([...codes].sort()).toEqual(["NO_TOKEN", "QUEUE_FULL"]);
});
