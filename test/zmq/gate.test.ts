/** Revoked keys lose their connections; those of everybody else must not end with them. */
import { expect, test } from "bun:test";
import { Gate } from "../../src/zmq/gate.ts";
import { curveClient, makeKeyPair } from "../../src/zmq/keys.ts";
import { Dealer, Router } from "../../src/zmq/socket.ts";
import { until } from "../support/connections.ts";
import { makeKeys } from "../support/keys.ts";
import { openFiles } from "../support/proc.ts";

test("who has connected anew, under the descriptor of its last connection, stays when another's key is revoked", async () => {
  const { engine, laptop, security } = makeKeys();
  const phoneLine = `${makeKeyPair().publicKey} phone send\n`;
  using gate = new Gate({ ...security, authorized: security.authorized + phoneLine });
  using port = new Router(gate.serverOptions);
  port.bind("tcp://127.0.0.1:*");
  gate.guard(port);
  const sayHello = async (dealer: Dealer): Promise<number> => {
    dealer.connect(port.lastEndpoint);
    dealer.trySend(["", "hello"]);
    await until("hello", () => port.tryReceive() !== null);
    expect(gate.userOf(port)).toBe("laptop");
    return port.lastPeer.descriptor;
  };
  const options = { ...curveClient(engine.publicKey, laptop), hiccupMessage: "lost" };
  const first = new Dealer(options);
  const descriptor = await sayHello(first);
  const open = openFiles(process.pid);
  first.close();
  await until("closed on both sides", () => openFiles(process.pid) <= open - 2);
  // The kernel gives the lowest number that is free.
  using second = new Dealer(options);
  expect(await sayHello(second)).toBe(descriptor);
  gate.admit(security.authorized);
  second.trySend(["", "still there"]);
  await until("the same connection", () => port.tryReceive() !== null);
  expect(second.tryReceive()).toBeNull();
});
