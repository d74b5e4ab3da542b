/** Who loses a connection: whose key is revoked, who sends without end, and nobody else. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { handshakeMs } from "../../src/limits.ts";
import { warn } from "../../src/process/log.ts";
import { curveClient } from "../../src/security/curve.ts";
import { Gate } from "../../src/security/gate.ts";
import { makeKeyPair } from "../../src/security/keys.ts";
import { Dealer, Router } from "../../src/transport/zmq/socket.ts";
import { connectMany, until } from "../support/connections.ts";
import { makeKeys } from "../support/keys.ts";
import { openFiles } from "../support/proc.ts";

setDefaultTimeout(60_000); // on a busy machine

test("who has connected anew, under the descriptor of its last connection, stays when another's key is revoked", async () => {
  const { engine, laptop, security } = makeKeys();
  const phoneLine = `${makeKeyPair().publicKey} phone send\n`;
  using gate = new Gate({ ...security, authorized: security.authorized + phoneLine }, warn);
  using port = new Router(gate.serverOptions);
  port.bind("tcp://127.0.0.1:*");
  gate.guard(port, 0);
  const sayHello = async (dealer: Dealer): Promise<number> => {
    dealer.connect(port.lastEndpoint);
    dealer.trySend(["", "hello"]);
    await until("hello", () => port.tryReceive() !== null);
    expect(gate.userOf(port)).toBe("laptop");
    return port.lastPeer.descriptor;
  };
  const options = { ...curveClient(engine.publicKey, laptop), hiccupMessage: "lost" };
  const used = new Set<number>();
  let dealer = new Dealer(options);
  // The kernel gives the lowest number that is free.
  for (let descriptor = await sayHello(dealer); !used.has(descriptor); descriptor = await sayHello(dealer)) {
    used.add(descriptor);
    const open = openFiles(process.pid);
    dealer.close();
    await until("closed on both sides", () => openFiles(process.pid) <= open - 2);
    dealer = new Dealer(options);
  }
  gate.admit(security.authorized);
  dealer.trySend(["", "still there"]);
  await until("the same connection", () => port.tryReceive() !== null);
  expect(dealer.tryReceive()).toBeNull();
  dealer.close();
});

const older = [0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f];

test.each([
  ["one byte", [0x05]],
  ["another byte", [0x01]],
  ["HTTP", Buffer.from("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")],
  ["TLS", [0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]],
  ["ZMTP 1", [...older, 0, 5]],
  ["ZMTP 2", [...older, 1, 5]],
] as const)(
  "a connection that begins with %s is closed at once: libzmq would keep memory of it",
  async (_, greeting) => {
    using gate = new Gate(null, warn);
    using port = new Router(gate.routerOptions);
    port.bind("tcp://127.0.0.1:*");
    gate.guard(port, 0);
    await using stranger = await connectMany(Number(port.lastEndpoint.split(":").at(-1)), 1, Uint8Array.from(greeting));
    await until("closed", () => stranger.open === 0, handshakeMs / 2);
  },
);
