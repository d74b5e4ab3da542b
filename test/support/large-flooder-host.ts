/**
 * Clients that flood an engine with requests of the largest kind: `bun large-flooder-host.ts ENDPOINT CLIENTS MS`, over ZeroMQ as fast as
 * their sockets take them. Prints how many requests they have sent.
 */
import { frameBytesMax } from "../../src/limits.ts";
import { encodeTaskRequest } from "../../src/protocol/encode-request.ts";
import { Dealer } from "../../src/transport/zmq/socket.ts";

const [endpoint = "", clients = "1", ms = "0"] = process.argv.slice(2);
const argument = "x".repeat(frameBytesMax - 1024);
const request = encodeTaskRequest({ id: "flooder", serial: "large" }, "count", [argument], {}, {});
const frames = ["", ...request].map((frame) => Buffer.from(frame));

const sockets = Array.from({ length: Number(clients) }, () => {
  const socket = new Dealer({ sendHighWaterMark: 20 });
  socket.connect(endpoint);
  socket.onReadable(() => {
    while (socket.tryReceive() !== null);
  });
  return socket;
});

let sent = 0;
for (const endAt = performance.now() + Number(ms); performance.now() < endAt; ) {
  const before = sent;
  for (const socket of sockets) if (socket.trySend(frames) === "sent") sent++;
  await Bun.sleep(sent === before ? 1 : 0);
}
process.stdout.write(`${sent}\n`);
process.exit(0);
