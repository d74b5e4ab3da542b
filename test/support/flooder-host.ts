/**
 * A client that floods an engine: `bun flooder-host.ts ENDPOINT TASK`, a process of its own. A line on stdin turns it on, the next one
 * off; meanwhile it sends as fast as its socket takes it, whatever comes back. Prints `floods` once it gets answers, and
 * `calm` when the engine has read all that it has sent.
 */
import { createInterface } from "node:readline";
import { encodePing, encodeTaskRequest } from "../../src/protocol/encode-request.ts";
import { decodeReply } from "../../src/protocol/replies.ts";
import { Dealer } from "../../src/transport/zmq/socket.ts";

const [, , endpoint = "", task = ""] = process.argv;
const socket = new Dealer();
socket.connect(endpoint);
/** requests between two looks at what has come */
const burst = 64;
const lastSerial = "last";

let isOn = false;
let sent = 0;
let heard = Promise.withResolvers<void>();
let isCalm = false;

socket.onReadable(() => {
  for (let frames = socket.tryReceive(); frames !== null; frames = socket.tryReceive()) {
    const reply = decodeReply(frames.slice(1));
    if ("meta" in reply && reply.meta.serial === lastSerial) isCalm = true;
  }
  heard.resolve();
});

const sendBurst = (): boolean => {
  for (let count = 0; count < burst; count++) {
    const request = encodeTaskRequest({ id: "flooder", serial: `${sent}` }, task, [], {}, {});
    if (socket.trySend(["", ...request]) !== "sent") return false;
    sent++;
  }
  return true;
};

/** Answers come in between. */
const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

const flood = async (): Promise<void> => {
  heard = Promise.withResolvers();
  void heard.promise.then(() => process.stdout.write("floods\n"));
  while (isOn) await (sendBurst() ? turn() : Bun.sleep(1));
  // The engine drops answers to who does not read as fast as it asks, be it this one.
  for (isCalm = false; !isCalm; await Bun.sleep(20)) {
    socket.trySend(["", ...encodePing({ id: "flooder", serial: lastSerial })]);
  }
  process.stdout.write("calm\n");
};

for await (const _ of createInterface({ input: process.stdin })) {
  isOn = !isOn;
  if (isOn) void flood();
}
process.exit(0);
