/** A process that binds a ROUTER and reads it: prints its endpoint, and each frame that comes. For tests of what it costs. */
import { warn } from "../../src/process/log.ts";
import { admission } from "../../src/transport/zmq/admission.ts";
import { Router } from "../../src/transport/zmq/socket.ts";

const socket = new Router();
socket.bind("tcp://127.0.0.1:*");
admission.start(warn);
process.stdout.write(`${socket.lastEndpoint}\n`);
for (;;) {
  const [, frame] = await socket.receive();
  process.stdout.write(`${Buffer.from(frame ?? [])}\n`);
}
