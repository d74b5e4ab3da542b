/** A message that never ends: what `security/gate.test.ts` has no time for. */
import { expect, test } from "bun:test";
import { frameBytesHardMax } from "../../../src/limits.ts";
import { warn } from "../../../src/process/log.ts";
import { Gate } from "../../../src/security/gate.ts";
import { Router } from "../../../src/transport/zmq/socket.ts";
import { until } from "../../support/connections.ts";
import { rawFrame, rawPeer } from "../../support/raw-peer.ts";

test("who sends a message that never ends is cut off, and who sends many long ones is not", async () => {
  using gate = new Gate(null, warn);
  using port = new Router({ maxMessageSize: frameBytesHardMax });
  port.bind("tcp://127.0.0.1:*");
  gate.guard(port, 0);
  let messages = 0;
  port.onReadable(() => {
    while (port.tryReceive() !== null) messages++;
    gate.userOf(port);
  });
  using endless = await rawPeer(port.lastEndpoint, "DEALER");
  using busy = await rawPeer(port.lastEndpoint, "DEALER");
  const mebibyte = new Uint8Array(1024 * 1024);
  let sent = 0;
  await until("cut off", async () => {
    // Not as fast as it goes: what it sends between two looks, libzmq keeps.
    for (let count = 0; count < 4; count++) await endless.send([rawFrame(mebibyte, true)]);
    await busy.send([...Array(4).fill(rawFrame(mebibyte, true)), rawFrame("end")]);
    sent++;
    return !endless.isOpen;
  });
  await until("all read", () => messages === sent);
  expect(sent).toBeGreaterThan(8);
  expect(busy.isOpen).toBe(true);
}, 30_000);
